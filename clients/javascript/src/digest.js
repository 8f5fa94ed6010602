/** SHA-256 and MD5 that take bytes as they pass, for platforms without an incremental digest of their own. */

const K = new Uint32Array(64);
const MD5_K = new Uint32Array(64);
const MD5_SHIFTS = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21];
const INITIAL = new Uint32Array(8);

/** The first 32 bits of the fractions of roots of primes, as FIPS 180-4 defines its constants */
function constants() {
  const fraction = (root) => Math.floor((root - Math.floor(root)) * 2 ** 32);
  const primes = [];
  for (let number = 2; primes.length < 64; number += 1) if (primes.every((prime) => number % prime)) primes.push(number);
  primes.forEach((prime, at) => {
    K[at] = fraction(Math.cbrt(prime));
    MD5_K[at] = Math.floor(Math.abs(Math.sin(at + 1)) * 2 ** 32);
    if (at < 8) INITIAL[at] = fraction(Math.sqrt(prime));
  });
}
constants();

/** Blocks of 64 bytes, and the padding at the end that both digests share */
class Digest {
  constructor(state, isBig) {
    Object.assign(this, { state, isBig, length: 0, filled: 0 });
    this.block = new Uint8Array(64);
    this.blockView = new DataView(this.block.buffer);
  }

  update(bytes) {
    this.length += bytes.length;
    let at = 0;
    if (this.filled > 0) {
      at = Math.min(64 - this.filled, bytes.length);
      this.block.set(bytes.subarray(0, at), this.filled);
      this.filled += at;
      if (this.filled < 64) return this;
      this.mix(this.blockView, 0);
      this.filled = 0;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (; at + 64 <= bytes.length; at += 64) this.mix(view, at);
    this.block.set(bytes.subarray(at));
    this.filled = bytes.length - at;
    return this;
  }

  hex() {
    const { length } = this;
    const padding = new Uint8Array(this.filled < 56 ? 64 - this.filled : 128 - this.filled);
    padding[0] = 0x80;
    const view = new DataView(padding.buffer);
    const [high, low] = [Math.floor(length / 2 ** 29), (length * 8) % 2 ** 32];
    view.setUint32(padding.length - (this.isBig ? 8 : 4), high, !this.isBig);
    view.setUint32(padding.length - (this.isBig ? 4 : 8), low, !this.isBig);
    this.update(padding);
    const out = new DataView(new ArrayBuffer(this.state.length * 4));
    this.state.forEach((word, at) => out.setUint32(at * 4, word, !this.isBig));
    return hex(new Uint8Array(out.buffer));
  }
}

/** SHA-256 */
export class Sha256 extends Digest {
  constructor() {
    super(INITIAL.slice(), true);
    this.words = new Int32Array(64);
  }

  mix(view, at) {
    const { words, state } = this;
    for (let i = 0; i < 16; i += 1) words[i] = view.getInt32(at + i * 4, false);
    for (let i = 16; i < 64; i += 1) {
      const x = words[i - 15];
      const y = words[i - 2];
      const first = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const second = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      words[i] = (words[i - 16] + first + words[i - 7] + second) | 0;
    }
    let a = state[0] | 0, b = state[1] | 0, c = state[2] | 0, d = state[3] | 0;
    let e = state[4] | 0, f = state[5] | 0, g = state[6] | 0, h = state[7] | 0;
    for (let i = 0; i < 64; i += 1) {
      const big = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const one = (h + big + ((e & f) ^ (~e & g)) + K[i] + words[i]) | 0;
      const small = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const two = (small + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + one) | 0;
      d = c;
      c = b;
      b = a;
      a = (one + two) | 0;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
  }
}

/** MD5, which Plik's answer to an upload has; no protection against anybody */
export class Md5 extends Digest {
  constructor() {
    super(new Uint32Array([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476]), false);
  }

  mix(view, at) {
    const { state } = this;
    let a = state[0] | 0, b = state[1] | 0, c = state[2] | 0, d = state[3] | 0;
    for (let i = 0; i < 64; i += 1) {
      let mixed = 0;
      let word = i;
      if (i < 16) mixed = (b & c) | (~b & d);
      else if (i < 32) {
        mixed = (d & b) | (~d & c);
        word = 5 * i + 1;
      } else if (i < 48) {
        mixed = b ^ c ^ d;
        word = 3 * i + 5;
      } else {
        mixed = c ^ (b | ~d);
        word = 7 * i;
      }
      const sum = (a + mixed + MD5_K[i] + view.getInt32(at + (word & 15) * 4, true)) | 0;
      const shift = MD5_SHIFTS[((i >> 4) << 2) | (i & 3)];
      a = d;
      d = c;
      c = b;
      b = (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
  }
}

const digits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Bytes as lower-case hexadecimal */
export const hex = (bytes) => Array.from(bytes, (byte) => digits[byte]).join("");
