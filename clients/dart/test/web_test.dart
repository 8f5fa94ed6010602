/// The web's way through the package: without `dart:io`, and without integers that JavaScript has not.
import 'dart:io';

import 'runner.dart';

/// What a file imports and exports, once as a web compiler sees it
List<String> linksOf(String text) => [
      for (final found in RegExp(r'''^(?:import|export)\s+'([^']+)'(\s+if\s*\(dart\.library\.io\)\s*'[^']+')?''', multiLine: true).allMatches(text))
        found[1]!
    ];

void imports() {
  final root = Platform.script.resolve('../lib/');
  final seen = <String>{};
  final next = ['natsbridge.dart'];
  while (next.isNotEmpty) {
    final path = next.removeLast();
    if (!seen.add(path)) continue;
    final text = File.fromUri(root.resolve(path)).readAsStringSync();
    final links = linksOf(text);
    same(RegExp(r'^(?:import|export)', multiLine: true).allMatches(text).length, links.length, '$path: every import is understood');
    for (final link in links) {
      if (link.startsWith('dart:')) {
        holds(const ['dart:async', 'dart:collection', 'dart:convert', 'dart:math', 'dart:typed_data'].contains(link), '$path imports $link');
      } else {
        next.add(root.resolve(path).resolve(link).path.substring(root.path.length));
      }
    }
    final odd = RegExp(r'[gs]etU?[iI]nt64|U?[iI]nt64List|\b0x[0-9a-fA-F]{15,}|\b[1-9][0-9]{16,}\b').allMatches(text);
    same([for (final found in odd) found[0]], <String>[], '$path has 64-bit integers that JavaScript has not');
  }
  holds(seen.length > 15, 'the way has its files: ${seen.length}');
  holds(seen.contains('src/nats_none.dart') && !seen.contains('src/nats_io.dart'), 'the way without sockets');
  // What the desktop adds has the same names.
  for (final name in ['arrow', 'links', 'nats', 'platform']) {
    holds(File.fromUri(root.resolve('src/${name}_none.dart')).existsSync() && File.fromUri(root.resolve('src/${name}_io.dart')).existsSync(), name);
  }
}

void lengths() {
  final root = Directory.fromUri(Platform.script.resolve('../'));
  for (final file in root.listSync(recursive: true).whereType<File>().where((file) => file.path.endsWith('.dart'))) {
    final lines = file.readAsLinesSync();
    holds(lines.length < 600, '${file.path}: ${lines.length} lines');
    holds(lines.first.startsWith('///') || lines.first.startsWith('//'), '${file.path} begins by what lives there');
  }
}

final groups = {'imports on the web': imports, 'files': lengths};
