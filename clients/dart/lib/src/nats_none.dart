/// Where there is no dart:io there is no socket: publish and subscribe with a package of your own.
// ignore_for_file: non_constant_identifier_names
library natsbridge.nats;

import 'dart:typed_data';

import 'errors.dart';
import 'log.dart';

NATSBridgeException _none() => NATSBridgeException('unsupported', 'without dart:io there is no connection; use a NATS package');

class NatsMessage {
  const NatsMessage(this.subject, this.data, {this.reply = '', this.status = ''});

  final String subject;
  final Uint8List data;
  final String reply;
  final String status;
}

class NatsSubscription {
  String get subject => throw _none();
  int get lost => throw _none();
  int get pending => throw _none();
  Stream<NatsMessage> get messages => throw _none();
  void unsubscribe() => throw _none();
}

class Nats {
  static Future<Nats> connect(String url,
          {String user = '', String password = '', String token = '', String name = '', Object? tls, Log? log}) async =>
      throw _none();

  int get max_payload => throw _none();
  bool get isConnected => throw _none();
  Future<void> connected({Duration timeout = const Duration(seconds: 10)}) => throw _none();
  NatsSubscription subscribe(String subject, {String queue = ''}) => throw _none();
  void publish(String subject, List<int> data, {String reply = ''}) => throw _none();
  Future<void> flush({Duration timeout = const Duration(seconds: 10)}) => throw _none();
  String inbox() => throw _none();
  Future<NatsMessage> request(String subject, List<int> data, {Duration timeout = const Duration(seconds: 5)}) => throw _none();
  Future<void> drain() => throw _none();
  Future<void> close() => throw _none();
}
