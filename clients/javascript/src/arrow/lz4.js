/** LZ4's frame format, which apache-arrow leaves to its user. */

/** LZ4's frame format into a buffer of the right size */
export function unpackLz4(source, target) {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  const flags = source[4];
  if (view.getUint32(0, true) !== 0x184d2204 || flags >> 6 !== 1) throw new Error("not an LZ4 frame");
  let at = 7 + (flags & 8 ? 8 : 0) + (flags & 1 ? 4 : 0);
  let out = 0;
  const copy = (from, start, count) => {
    if (start < 0 || count > from.length - start || count > target.length - out) throw new Error("an LZ4 block that leaves its buffer");
    // A match may overlap what it writes, so it goes byte by byte.
    if (from !== target) target.set(from.subarray(start, start + count), out);
    else for (let i = 0; i < count; i += 1) target[out + i] = target[start + i];
    out += count;
  };
  const count = (nibble, end) => {
    let total = nibble;
    if (nibble < 15) return total;
    for (let byte = 255; byte === 255; total += byte) {
      if (at >= end) throw new Error("an LZ4 block without end");
      byte = source[at++];
    }
    return total;
  };
  for (;;) {
    const size = view.getUint32(at, true);
    at += 4;
    if (size === 0) break;
    const end = at + (size & 0x7fffffff);
    if (end > source.length) throw new Error("an LZ4 block without end");
    if (size >>> 31) copy(source, at, end - at);
    else {
      while (at < end) {
        const token = source[at++];
        const literals = count(token >> 4, end);
        copy(source, at, literals);
        at += literals;
        if (at >= end) break;
        const back = source[at] | (source[at + 1] << 8);
        at += 2;
        if (back === 0) throw new Error("an LZ4 match without distance");
        copy(target, out - back, count(token & 15, end) + 4);
      }
    }
    at = end + (flags & 16 ? 4 : 0);
  }
  if (out !== target.length) throw new Error("an LZ4 frame of another length");
  return target;
}
