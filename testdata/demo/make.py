"""Makes the demo's inputs again: photo.png, readings.csv, rows.json, tone.wav (Python's standard library only).

photo.png and tone.wav come out the same each time. readings.csv is a measurement: it differs on every run.
"""

import csv, datetime, hashlib, json, math, statistics, struct, time, wave, zlib
from pathlib import Path

HERE = Path(__file__).parent
W, H = 208, 136


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def add(a, b, k=1.0):
    return tuple(x + k * y for x, y in zip(a, b))


def unit(a):
    length = math.sqrt(dot(a, a))
    return tuple(x / length for x in a)


BALLS = [  # centre, radius, colour, mirror
    ((0.0, 1.0, 4.2), 1.0, (0.86, 0.18, 0.14), 0.18),
    ((-2.0, 0.7, 5.2), 0.7, (0.16, 0.42, 0.78), 0.35),
    ((1.75, 0.55, 3.4), 0.55, (0.93, 0.72, 0.16), 0.12),
    ((0.75, 0.25, 2.6), 0.25, (0.30, 0.62, 0.28), 0.05),
]
SUN = unit((-0.6, 0.9, -0.7))


def hit(origin, ray):
    """The nearest surface: distance, point, normal, colour, mirror."""
    best = None
    for centre, radius, colour, mirror in BALLS:
        to = add(origin, centre, -1)
        b = dot(to, ray)
        disc = b * b - dot(to, to) + radius * radius
        if disc > 0 and (t := -b - math.sqrt(disc)) > 1e-4 and (best is None or t < best[0]):
            point = add(origin, ray, t)
            best = (t, point, unit(add(point, centre, -1)), colour, mirror)
    if ray[1] < -1e-4 and (t := -origin[1] / ray[1]) > 1e-4 and (best is None or t < best[0]):
        point = add(origin, ray, t)
        light = (math.floor(point[0]) + math.floor(point[2])) % 2
        best = (t, point, (0, 1, 0), (0.78, 0.74, 0.68) if light else (0.34, 0.30, 0.28), 0.08)
    return best


def shade(origin, ray, depth=0):
    """The colour seen along one ray."""
    found = hit(origin, ray)
    if found is None:
        k = max(0.0, ray[1])
        return (0.72 - 0.42 * k, 0.82 - 0.32 * k, 0.94 - 0.14 * k)
    t, point, normal, colour, mirror = found
    lit = 0.0 if hit(add(point, normal, 1e-3), SUN) else max(0.0, dot(normal, SUN))
    out = tuple(c * (0.25 + 0.8 * lit) for c in colour)
    if depth < 2:
        back = shade(add(point, normal, 1e-3), add(ray, normal, -2 * dot(ray, normal)), depth + 1)
        out = tuple(o * (1 - mirror) + b * mirror for o, b in zip(out, back))
    haze = 1 - math.exp(-t / 40)
    return tuple(o * (1 - haze) + h * haze for o, h in zip(out, (0.72, 0.82, 0.94)))


def photo():
    """Four balls on a tiled floor, ray-traced with four rays to a pixel."""
    rows = []
    for y in range(H):
        line = bytearray()
        for x in range(W):
            total = (0.0, 0.0, 0.0)
            for dx, dy in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
                ray = unit(((x + dx - W / 2) / H, (H / 2 - y - dy) / H - 0.12, 1.0))
                total = add(total, shade((0.0, 1.1, -0.6), ray))
            line += bytes(min(255, round(255 * (c / 4) ** (1 / 2.2))) for c in total)
        rows.append(line)

    def paeth(i, line, above):
        a, b, c = (line[i - 3] if i > 2 else 0), above[i], (above[i - 3] if i > 2 else 0)
        p = a + b - c
        return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]

    raw, above = bytearray(), bytes(3 * W)
    for line in rows:
        raw += b"\x04" + bytes((line[i] - paeth(i, line, above)) % 256 for i in range(3 * W))
        above = line

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", W, H, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(raw), 9)) + chunk(b"IEND", b"")
    (HERE / "photo.png").write_bytes(png)


def tone():
    """Half a second of 440 Hz with a soft start and end, 8 kHz, 16 bit, one channel."""
    count = 4000
    with wave.open(str(HERE / "tone.wav"), "wb") as out:
        out.setparams((1, 2, 8000, count, "NONE", ""))
        for n in range(count):
            loud = 12000 * math.sin(math.pi * n / count)
            out.writeframesraw(struct.pack("<h", round(loud * math.sin(2 * math.pi * 440 * n / 8000))))


def readings():
    """How long five digests take over eight block sizes, five times each, and a summary of it."""
    table, start = [], time.time()
    for run in range(1, 6):
        for name in ("md5", "sha1", "sha256", "blake2b", "sha3_256"):
            for power in range(8):
                size = 256 * 4**power
                block = bytes(size)
                began = time.perf_counter()
                hashlib.new(name, block).digest()
                took = time.perf_counter() - began
                at = datetime.datetime.fromtimestamp(time.time(), datetime.timezone.utc)
                note = "first use, cold" if run == 1 and power == 0 else ""
                table.append((at.strftime("%Y-%m-%dT%H:%M:%SZ"), run, name, size, took, size / took / 1e6, note))
                time.sleep(0.02)
    with open(HERE / "readings.csv", "w", newline="") as out:
        sheet = csv.writer(out, lineterminator="\n")
        sheet.writerow(("measured_at", "run", "digest", "block_bytes", "seconds", "mb_per_s", "note"))
        for at, run, name, size, took, rate, note in table:
            sheet.writerow((at, run, name, size, f"{took:.9f}", f"{rate:.3f}", note))
    rows = []
    for name in dict.fromkeys(row[2] for row in table):
        rates = [row[5] for row in table if row[2] == name and row[3] >= 65536]
        rows.append({
            "digest": name,
            "runs": len(rates),
            "median_mb_per_s": round(statistics.median(rates), 3),
            "bytes_hashed": sum(row[3] for row in table if row[2] == name),
            "still_safe": name not in ("md5", "sha1"),
            "remark": {"md5": "nur Prüfsumme", "sha1": None, "sha3_256": "海绵结构"}.get(name, ""),
        })
    (HERE / "rows.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    photo()
    tone()
    readings()
