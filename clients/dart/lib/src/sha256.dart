/// SHA-256 as bytes come, in 32-bit arithmetic that JavaScript's numbers hold too.
library natsbridge.sha256;

import 'dart:typed_data';

import 'text.dart';

/// The digest of [data], as lower-case hexadecimal text
String sha256Hex(Uint8List data) => (Sha256()..add(data)).hex();

/// A digest that is fed piece by piece
class Sha256 {
  final _hash = Uint32List.fromList(_start);
  final _words = Uint32List(64);
  final _pending = Uint8List(64);
  var _held = 0;
  var _total = 0;

  void add(List<int> piece) {
    final data = piece is Uint8List ? piece : Uint8List.fromList(piece);
    _total += data.length;
    var at = 0;
    if (_held > 0) {
      while (_held < 64 && at < data.length) {
        _pending[_held++] = data[at++];
      }
      if (_held < 64) return;
      _block(_pending, 0);
      _held = 0;
    }
    for (; at + 64 <= data.length; at += 64) {
      _block(data, at);
    }
    while (at < data.length) {
      _pending[_held++] = data[at++];
    }
  }

  /// Ends the digest; nothing can be added afterwards
  String hex() {
    final bits = _total * 8;
    final tail = Uint8List(_held < 56 ? 64 : 128)..setRange(0, _held, _pending);
    tail[_held] = 0x80;
    // Two words: JavaScript has no 64-bit integers.
    final view = ByteData.sublistView(tail);
    view.setUint32(tail.length - 8, bits ~/ 0x100000000);
    view.setUint32(tail.length - 4, bits % 0x100000000);
    for (var at = 0; at < tail.length; at += 64) {
      _block(tail, at);
    }
    return hexOf([
      for (final word in _hash)
        for (final shift in const [24, 16, 8, 0]) (word >> shift) & 0xff
    ]);
  }

  void _block(Uint8List data, int start) {
    final words = _words, hash = _hash;
    for (var i = 0, at = start; i < 16; i++, at += 4) {
      words[i] = data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3];
    }
    for (var i = 16; i < 64; i++) {
      final a = words[i - 15], b = words[i - 2];
      final s0 = ((a >> 7 | a << 25) ^ (a >> 18 | a << 14) ^ (a >> 3)) & 0xffffffff;
      final s1 = ((b >> 17 | b << 15) ^ (b >> 19 | b << 13) ^ (b >> 10)) & 0xffffffff;
      words[i] = (words[i - 16] + s0 + words[i - 7] + s1) & 0xffffffff;
    }
    var a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4], f = hash[5], g = hash[6], h = hash[7];
    for (var i = 0; i < 64; i++) {
      final s1 = ((e >> 6 | e << 26) ^ (e >> 11 | e << 21) ^ (e >> 25 | e << 7)) & 0xffffffff;
      final t1 = h + s1 + ((e & f) ^ (~e & 0xffffffff & g)) + _rounds[i] + words[i];
      final s0 = ((a >> 2 | a << 30) ^ (a >> 13 | a << 19) ^ (a >> 22 | a << 10)) & 0xffffffff;
      final t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = (d + t1) & 0xffffffff;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) & 0xffffffff;
    }
    hash[0] = (hash[0] + a) & 0xffffffff;
    hash[1] = (hash[1] + b) & 0xffffffff;
    hash[2] = (hash[2] + c) & 0xffffffff;
    hash[3] = (hash[3] + d) & 0xffffffff;
    hash[4] = (hash[4] + e) & 0xffffffff;
    hash[5] = (hash[5] + f) & 0xffffffff;
    hash[6] = (hash[6] + g) & 0xffffffff;
    hash[7] = (hash[7] + h) & 0xffffffff;
  }
}

const _start = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19, //
];
const _rounds = [
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, //
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];
