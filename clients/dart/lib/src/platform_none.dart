/// The same where there is no dart:io: a browser has no environment, and prints to its console.
library natsbridge.platform;

String? variable(String name) => null;

// ignore: avoid_print
void complain(String text) => print(text);
