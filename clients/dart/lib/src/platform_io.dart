/// What dart:io knows of the program's surroundings.
library natsbridge.platform;

import 'dart:io';

/// A variable of the environment, read when it is asked for
String? variable(String name) => Platform.environment[name];

void complain(String text) => stderr.writeln(text);
