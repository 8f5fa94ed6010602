"""A NATS client for MicroPython: the plain text protocol over one blocking socket, which is made again when it breaks."""

import gc
import json
import select
import socket
import time
from collections import namedtuple

import natsbridge_mpy as nb

# What `next` gives. `data` is None where the message had no room; `reply` is NATS' own reply subject; `status` is "503"
# for the server's word that nobody listens.
Message = namedtuple("Message", ("subject", "size", "data", "reply", "status"))

SILENCE = 20000  # milliseconds without a byte after which the server is asked whether it is there
LONGEST_PAUSE = 5000  # milliseconds between two attempts to connect


class Refused(OSError):
    """The server does not let this client in; another attempt would not change that."""


class Nats:
    """A connection; `max_payload` is the most bytes that the server takes in one message.

    `on_event(word, error)`, where given, is told "disconnected" and "reconnected". What others publish while the
    connection is away is lost, as always with NATS itself; `deliver` repeats until it is acknowledged.
    """

    def __init__(
        self,
        url=None,
        user=None,
        password=None,
        token=None,
        biggest=100000,
        waiting=8,
        remember=16,
        max_reconnects=-1,
        on_event=None,
        new_id=None,
        now=None,
    ):
        """Connects, as the variable NATS_URL says where no `url` is given.

        Messages beyond `biggest` bytes are read past. `waiting` messages at most are kept while an answer is waited for;
        further ones are counted in `dropped`. `remember` is how many handled messages `handle` knows again.
        `max_reconnects` is how often in a row connecting again may fail: -1 is without end, 0 is never again.
        """
        self.biggest, self.waiting, self.remember = biggest, waiting, remember
        self.max_reconnects, self.on_event = max_reconnects, on_event
        self.dropped = self.max_payload = 0
        self.socket = None
        self._poll = None
        self._kept = []
        self._handled = []
        self._subs = {}
        self._sids = 0
        self._inbox = None
        self._options = {}
        for name, value in (("new_id", new_id), ("now", now)):
            if value:
                self._options[name] = value
        url = nb.variable("NATS_URL", nb.BROKER_URL, url)
        scheme, _, rest = url.rpartition("://")
        if scheme not in ("", "nats"):
            raise ValueError("%s:// is not spoken here: a URL is nats://host:port, without TLS" % scheme)
        secrets, _, host = rest.split("/")[0].rpartition("@")
        self._host, _, port = host.partition(":")
        try:
            self._port = int(port or 4222)
        except ValueError:
            raise ValueError("no port: %r; a URL is nats://host:port" % port)
        self.url = "nats://%s:%d" % (self._host, self._port)
        if secrets and (user or token):
            raise ValueError("credentials twice: in the URL and as arguments")
        if secrets:
            user, mark, password = secrets.partition(":")
            if not mark:
                user, token = None, user
        if user and token:
            raise ValueError("a user or a token, not both")
        self._login = {"user": user, "pass": password or ""} if user else {"auth_token": token} if token else {}
        self._connect()

    # --- the connection

    def _connect(self):
        self.close()
        self.socket = socket.socket()
        try:
            self.socket.connect(socket.getaddrinfo(self._host, self._port)[0][-1])
        except OSError as error:
            raise OSError("no NATS server at %s (%s); start a nats-server there, or name another" % (self.url[7:], error))
        if hasattr(self.socket, "settimeout"):
            self.socket.settimeout(30)  # a message that stops half-way
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)
        info = json.loads(self._line()[5:])
        self.max_payload = info["max_payload"]
        options = {"verbose": False, "pedantic": False, "lang": "micropython", "version": "1", "protocol": 1}
        options["headers"] = options["no_responders"] = bool(info.get("headers"))
        options.update(self._login)
        self.socket.write(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        while self._read() != b"PONG":
            pass
        for sid, (subject, queue) in self._subs.items():
            self._write_sub(sid, subject, queue)

    def _again(self, error, end=None):
        """Connects again, with pauses that double and differ from device to device; until `end`, where it is given."""
        if isinstance(error, Refused) or self.socket is None:
            raise error
        self._tell("disconnected", error)
        pause, tries = 100, 0
        while tries != self.max_reconnects and not _is_over(end):
            time.sleep_ms(pause // 2 + time.ticks_us() % (pause // 2))
            pause, tries = min(2 * pause, LONGEST_PAUSE), tries + 1
            try:
                self._connect()
                self._tell("reconnected", None)
                return
            except Refused:
                raise
            except OSError as failed:
                error = failed
        raise error

    def _tell(self, word, error):
        if self.on_event:
            self.on_event(word, error)

    def close(self):
        """Ends the connection; nothing connects it again."""
        if self.socket:
            self.socket.close()
        self.socket = None

    def _persist(self, work, end=None):
        """Does something that writes, again after a connection that broke."""
        while True:
            if self.socket is None:
                raise OSError("the connection was closed")
            try:
                return work()
            except OSError as error:
                self._again(error, end)

    # --- NATS

    def subscribe(self, subject, queue=""):
        """Messages to this subject come by `next`; with `queue`, each goes to one member of that group.

        Returns a number for `unsubscribe`. `*` matches one token, `>` one or more trailing tokens.
        """
        _check(subject)
        if queue:
            _check(queue)
        self._sids += 1
        sid = self._sids
        # Not in the list before it is written: connecting again would subscribe twice.
        self._persist(lambda: self._write_sub(sid, subject, queue))
        self._subs[sid] = (subject, queue)
        return sid

    def _write_sub(self, sid, subject, queue):
        self.socket.write(b"SUB %s %s %d\r\n" % (bytes(subject, "utf8"), bytes(queue, "utf8"), sid))

    def unsubscribe(self, sid):
        if self._subs.pop(sid, None):
            self._persist(lambda: self.socket.write(b"UNSUB %d\r\n" % sid))

    def publish(self, subject, data, reply="", end=None):
        """Sends bytes; a subject that came in a message is checked, so that it can't be a command."""
        head = b"PUB %s %s %d\r\n" % (_check(subject), _check(reply) if reply else b"", len(data))

        def write():
            self.socket.write(head)
            self.socket.write(data)
            self.socket.write(b"\r\n")

        self._persist(write, end)

    def flush(self):
        """Returns when the server has everything that was sent; an OSError says that some of it may be lost."""
        try:
            self.socket.write(b"PING\r\n")
            while True:
                got = self._read()
                if got == b"PONG":
                    return
                self._keep(got)
        except OSError as error:
            self._again(error)
            raise

    def next(self, timeout=None):
        """The next message, waiting for it; None where there is none within `timeout` seconds."""
        end = None if timeout is None else time.ticks_add(time.ticks_ms(), int(timeout * 1000))
        return self._next(end)

    def _next(self, end):
        while not self._kept:
            if self.socket is None:
                raise OSError("the connection was closed")
            try:
                if not self._is_readable(end):
                    return None
                got = self._read()
                if isinstance(got, Message):
                    return got
            except OSError as error:
                self._again(error, end)
        return self._kept.pop(0)

    def has_waiting(self):
        """Whether `next` gives a message without reading."""
        return bool(self._kept)

    def inbox(self):
        """A new subject for answers, subscribed to."""
        subject = "_INBOX." + self._token()
        self.subscribe(subject)
        return subject

    # --- NATSBridge

    def send(self, subject, parts, **options):
        """Publishes a message; `parts` and `options` are those of smartsend. Returns its envelope."""
        envelope, text = self._smartsend(subject, parts, options)
        self.publish(subject, text)
        return envelope

    def request(self, subject, parts, timeout=10, **options):
        """Sends a message and returns the answer as smartreceive does."""
        options["reply_to"] = answers = self._answers()
        envelope, text = self._smartsend(subject, parts, options)
        end = time.ticks_add(time.ticks_ms(), int(timeout * 1000))
        self.publish(subject, text, answers, end)
        text = None
        got = self._answer(answers, envelope["msg_id"], end, True)
        if got is None:
            raise nb.NATSBridgeError("timeout", "no answer within %s s" % timeout).about(envelope)
        return got

    def deliver(self, subject, parts, timeout=30, acks=1, **options):
        """Repeats a message until `acks` receivers have acknowledged it; returns their sender_ids."""
        options["reply_to"] = answers = self._answers()
        envelope, text = self._smartsend(subject, parts, options)
        end = time.ticks_add(time.ticks_ms(), int(timeout * 1000))
        who, refused, pause = [], None, 1000
        while not _is_over(end):
            self.publish(subject, text, answers, end)
            again = time.ticks_add(time.ticks_ms(), min(pause, max(0, time.ticks_diff(end, time.ticks_ms()))))
            pause = min(2 * pause, 8000)
            while True:
                got = self._answer(answers, envelope["msg_id"], again)
                if got is None:
                    break
                if got["msg_purpose"] == "ACK" and got["sender_id"] not in who:
                    who.append(got["sender_id"])
                    if len(who) >= acks:
                        return who
                if got["msg_purpose"] == "NACK":
                    told = got["metadata"]
                    refused = nb.NATSBridgeError(_plain(told.get("code"), "handler"), "refused: " + _plain(told.get("reason"), ""))
                    refused.about(envelope)
                    if told.get("retryable") is not True:
                        raise refused
        if refused:
            raise refused
        missing = "%d of %d receivers acknowledged within %s s" % (len(who), acks, timeout)
        raise nb.NATSBridgeError("timeout", missing).about(envelope)

    def handle(self, message, handler):
        """Reads a message, calls handler(received), and acknowledges where that is asked for; returns what it returned.

        A repeat of a message that was handled is acknowledged and not handled again. What can't be read, or what the
        handler raises, is answered with a NACK and raised.
        """
        received = None
        try:
            if message.data is None:
                raise nb.NATSBridgeError("too_large", "a message of %d bytes does not fit this device" % message.size)
            received = nb.smartreceive(message.data)
            known = received["sender_id"] + received["msg_id"]
            result = None
            if known in self._handled:
                self._handled.remove(known)
            else:
                result = handler(received)
            self._handled.append(known)
            while len(self._handled) > self.remember:
                self._handled.pop(0)
        except Exception as error:
            self._reply(received or getattr(error, "header", None), message.reply, error)
            raise
        self._reply(received, message.reply)
        return result

    def _reply(self, received, reply, error=None):
        """An ACK, or a NACK with the error; nothing where nobody asks for it or it can't be sent."""
        if not received or received.get("msg_purpose") in ("ACK", "NACK") or not (received.get("reply_to") or reply):
            return
        options = dict(self._options)
        options["reply_subject"], options["broker_url"] = reply, self.url
        try:
            if error is None:
                self.publish(*nb.ack(received, **options))
            else:
                code, retryable = getattr(error, "code", "handler"), getattr(error, "retryable", False)
                self.publish(*nb.nack(received, str(error)[:200], code, retryable, **options))
        except (nb.NATSBridgeError, ValueError):
            pass

    def _smartsend(self, subject, parts, options):
        for name, value in self._options.items():
            options.setdefault(name, value)
        options.setdefault("broker_url", self.url)
        options.setdefault("max_message_size", self.max_payload)
        gc.collect()
        return nb.smartsend(subject, parts, **options)

    def _token(self):
        return (self._options.get("new_id") or nb.uuid4)().replace("-", "")

    def _answers(self):
        """A subject that nobody can guess, for the answers to one message."""
        if self._inbox is None:
            self._inbox = "_INBOX." + self._token()
            self.subscribe(self._inbox + ".*")
        return "%s.%s" % (self._inbox, self._token())

    def _answer(self, subject, msg_id, end, alone=False):
        """The next answer to this message; others are kept for `next`."""
        while True:
            got = None
            for index, message in enumerate(self._kept):
                if message.subject == subject:
                    got = self._kept.pop(index)
                    break
            if got is None:
                kept, self._kept = self._kept, []
                try:
                    got = self._next(end)
                finally:
                    self._kept = kept + self._kept
                if got is None:
                    return None
                if got.subject != subject:
                    if not (self._inbox and got.subject.startswith(self._inbox)):  # an answer that came too late
                        self._keep(got)
                    continue
            if got.status == "503":
                if alone:
                    raise nb.NATSBridgeError("unreachable", "nobody listens to this subject")
                continue
            if got.data is None:
                raise nb.NATSBridgeError("too_large", "an answer of %d bytes does not fit this device" % got.size)
            received = nb.smartreceive(got.data)
            if received["reply_to_msg_id"] == msg_id:
                return received

    # --- the protocol

    def _keep(self, got):
        if not isinstance(got, Message):
            return
        if len(self._kept) < self.waiting:
            self._kept.append(got)
        else:
            self.dropped += 1

    def _is_readable(self, end):
        """Whether a byte comes before `end`; asks a server that has been silent for long whether it is there."""
        asked = False
        while True:
            left = SILENCE if end is None else max(0, time.ticks_diff(end, time.ticks_ms()))
            if self._poll.poll(min(left, SILENCE)):
                return True
            if left <= SILENCE and end is not None:
                return False
            if asked:
                raise OSError("the NATS server does not answer")
            self.socket.write(b"PING\r\n")
            asked = True

    def _line(self):
        line = self.socket.readline()
        if not line or line[-1:] != b"\n":
            raise OSError("the NATS server closed the connection")
        return line.rstrip()

    def _read(self):
        """A message, or another line of the server."""
        line = self._line()
        words = line.split()
        if words and (words[0] == b"MSG" or words[0] == b"HMSG"):
            size = int(words[-1])
            head = int(words[-2]) if words[0] == b"HMSG" else 0
            start = self._some(min(head, 16))
            self._skip(head - len(start))
            data = self._data(size - head)
            self._skip(2)
            reply = str(words[3], "utf8") if len(words) == (6 if head else 5) else ""
            status = str(start[9:12], "utf8") if start[:9] == b"NATS/1.0 " else ""
            return Message(str(words[1], "utf8"), size - head, data, reply, status)
        if line == b"PING":
            self.socket.write(b"PONG\r\n")
        elif line[:4] == b"-ERR":
            said = str(line[5:], "utf8").strip("'")
            if "uthoriz" in said or "uthentic" in said:
                raise Refused("NATS: " + said)
            if "Permissions" not in said:  # those leave the connection as it is
                raise OSError("NATS: " + said)
            self._tell("refused", OSError("NATS: " + said))
        return line

    def _some(self, size):
        data = self.socket.read(size) if size else b""
        if data is None or len(data) != size:
            raise OSError("the NATS server closed the connection")
        return data

    def _data(self, size):
        if size <= self.biggest:
            try:
                return self._some(size)
            except MemoryError:
                gc.collect()
        self._skip(size)
        return None

    def _skip(self, size):
        while size > 0:
            size -= len(self._some(min(size, 1024)))


def _is_over(end):
    return end is not None and time.ticks_diff(end, time.ticks_ms()) <= 0


def _plain(text, otherwise):
    """Strangers' text for an error: cut, without control characters."""
    if not isinstance(text, str) or not text:
        return otherwise
    return "".join(char if " " <= char != "\x7f" else "?" for char in text[:200])


def _check(subject):
    raw = bytes(subject, "utf8")
    if not raw or min(raw) <= 0x20:
        raise ValueError("not a subject: %r" % subject)
    return raw
