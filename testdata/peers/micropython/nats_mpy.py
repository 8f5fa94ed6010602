"""A NATS client for MicroPython: the plain text protocol over one blocking socket."""

import json
import os
import socket


class Nats:
    """A connection; `max_payload` is the most bytes that the server takes in one message.

    Reconnecting is the program's: an OSError says that the connection is gone.
    """

    def __init__(self, url="nats://localhost:4222", biggest=100000):
        """Connects. Messages beyond `biggest` bytes are read past, and `next` gives None as their data."""
        self.biggest = biggest
        self._sids = 0
        self._waiting = []
        scheme, _, rest = url.rpartition("://")
        if scheme not in ("", "nats"):
            raise ValueError("a URL nats://…, without TLS")
        secrets, _, host = rest.split("/")[0].rpartition("@")
        host, _, port = host.partition(":")
        self.socket = socket.socket()
        self.socket.connect(socket.getaddrinfo(host, int(port or 4222))[0][-1])
        info = json.loads(self._line()[5:])
        self.max_payload = info["max_payload"]
        options = {"verbose": False, "pedantic": False, "lang": "micropython", "version": "1", "protocol": 1}
        options["headers"] = options["no_responders"] = bool(info.get("headers"))
        if secrets:
            user, mark, password = secrets.partition(":")
            options.update({"user": user, "pass": password} if mark else {"auth_token": user})
        self.socket.write(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        self.flush()

    def subscribe(self, subject):
        self._sids += 1
        self.socket.write(b"SUB %s %d\r\n" % (_subject(subject), self._sids))

    def publish(self, subject, data):
        """Sends bytes; a subject that came in a message is checked, so that it can't be a command."""
        self.socket.write(b"PUB %s %d\r\n" % (_subject(subject), len(data)))
        self.socket.write(data)
        self.socket.write(b"\r\n")

    def flush(self):
        """Returns when the server has everything that was sent."""
        self.socket.write(b"PING\r\n")
        while True:
            got = self._read()
            if got == b"PONG":
                return
            if got:
                self._waiting.append(got)

    def next(self):
        """The next message as (subject, size, data), waiting for it; None where the server said something else."""
        if self._waiting:
            return self._waiting.pop(0)
        got = self._read()
        return got if isinstance(got, tuple) else None

    def has_waiting(self):
        """Whether `next` gives a message without reading."""
        return bool(self._waiting)

    def inbox(self):
        """A new subject for answers, subscribed to."""
        subject = "_INBOX." + "".join("%02x" % byte for byte in os.urandom(11))
        self.subscribe(subject)
        return subject

    def close(self):
        self.socket.close()

    def _line(self):
        line = self.socket.readline()
        if not line:
            raise OSError("the NATS server closed the connection")
        return line.rstrip()

    def _read(self):
        line = self._line()
        words = line.split()
        if words[0] == b"MSG" or words[0] == b"HMSG":
            size = int(words[-1])
            head = int(words[-2]) if words[0] == b"HMSG" else 0
            self._skip(head)
            data = self._data(size - head)
            self._skip(2)
            return str(words[1], "utf8"), size - head, data
        if words[0] == b"PING":
            self.socket.write(b"PONG\r\n")
        elif words[0] == b"-ERR":
            raise OSError("NATS: " + str(line, "utf8"))
        return line if words[0] == b"PONG" else None

    def _data(self, size):
        if size <= self.biggest:
            try:
                return self.socket.read(size) if size else b""
            except MemoryError:
                pass
        self._skip(size)
        return None

    def _skip(self, size):
        while size > 0:
            size -= len(self.socket.read(min(size, 1024)))


def _subject(subject):
    raw = bytes(subject, "utf8")
    if not raw or min(raw) <= 0x20:
        raise ValueError("not a subject: %r" % subject)
    return raw
