/// A runner of a page: `package:test` comes from pub.dev, which tests of this package do not ask.
library runner;

import 'dart:async';
import 'dart:io';

import 'package:natsbridge/natsbridge.dart';

final failures = <String>[];
var checks = 0;

/// Compares two values by what they say
void same(Object? found, Object? wanted, Object? what) {
  checks++;
  if ('$found' != '$wanted') failures.add('$what: ${_cut('$found')}, not ${_cut('$wanted')}');
}

void holds(bool found, Object what) => same(found, true, what);

String _cut(String text) => text.length > 300 ? '${text.substring(0, 300)}…' : text;

/// The code of the error, which has to be the library's own
Future<String> codeOf(FutureOr<Object?> Function() run) => _said(run, (error) => error.code);

/// The error's own words: they tell a rule from another one that refuses the same bytes later with the same code
Future<String> wordsOf(FutureOr<Object?> Function() run) => _said(run, (error) => '${error.code}: ${error.message}');

Future<String> _said(FutureOr<Object?> Function() run, String Function(NATSBridgeException error) say) async {
  try {
    await run();
  } on NATSBridgeException catch (error) {
    return say(error);
  } catch (error, stack) {
    return 'crashed: $error $stack';
  }
  return 'taken';
}

/// Runs groups of tests; what a group throws is its failure
Future<void> run(Map<String, FutureOr<void> Function()> groups) async {
  for (final group in groups.entries) {
    final before = failures.length, counted = checks;
    try {
      await group.value();
    } catch (error, stack) {
      failures.add('${group.key}: $error\n$stack');
    }
    stderr.writeln('${failures.length == before ? 'ok  ' : 'FAIL'} ${group.key} (${checks - counted} checks)');
  }
}

/// Says how it went, and ends
Never end() {
  failures.forEach(stdout.writeln);
  stdout.writeln('${failures.isEmpty ? 'passed' : 'FAILED'}: $checks checks, ${failures.length} failures (Dart ${Platform.version.split(' ').first})');
  exit(failures.isEmpty ? 0 : 1);
}
