"""Tests of natsbridge.py that need its own language: addresses, refusals of the sender, what may leave the library."""

import asyncio
import datetime
import glob
import http.server
import json
import logging
import os
import random
import sys
import threading
import time
import unittest
from email.utils import formatdate
from unittest import mock

sys.dont_write_bytecode = True  # the checkout stays as it is

import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402

import natsbridge  # noqa: E402
from natsbridge import NATSBridgeError, smartreceive, smartsend  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "..", "..", "addresses.json"), encoding="utf-8") as file:
    ADDRESSES = json.load(file)
ID = "7a512910-bf40-4c64-a088-d2975d3d09ed"


def run(work):
    return asyncio.run(work)


def linked(url):
    return json.dumps({"payloads": [{"dataname": "x", "payload_type": "text", "transport": "link", "data": url}]})


def direct(kind, body):
    encoded = natsbridge.base64.b64encode(body).decode("ascii")
    return json.dumps({"payloads": [{"dataname": "x", "payload_type": kind, "transport": "direct", "data": encoded}]})


def send(value, kind="dictionary", **options):
    return run(smartsend("lab.x", [("x", value, kind)], **options))


class Plik:
    """A file server that keeps nothing: uploads meet `troubles` in turn, downloads the `answers`, then all is well"""

    def __init__(self, troubles=(), config=None, created=None, answers=()):
        self.troubles, self.answers, self.uploads = list(troubles), list(answers), 0
        self.seen, self.wishes, self.tokens = [], [], set()
        plik = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, status, body, **headers):
                body = body if isinstance(body, bytes) else (json.dumps(body) + "\n").encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/config":
                    return self.answer(200, config) if config is not None else self.answer(404, b"404 page not found")
                plik.seen.append(("GET", self.path))
                headers = dict(plik.answers.pop(0)) if plik.answers else {}
                return self.answer(headers.pop("status", 200), self.path.encode(), **headers)

            def do_DELETE(self):
                plik.seen.append(("DELETE", self.path))
                self.answer(200, b"ok")

            def do_POST(self):
                plik.seen.append(("POST", self.path))
                plik.tokens.add(self.headers.get("X-PlikToken"))
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path == "/upload":
                    plik.uploads += 1
                    plik.wishes.append(json.loads(body))
                    return self.answer(200, dict({"id": f"u{plik.uploads}", "uploadToken": "s"}, **(created or {})))
                trouble = plik.troubles.pop(0) if plik.troubles else ""
                if trouble == "break":
                    self.close_connection = True
                    return self.connection.shutdown(2)
                if trouble == "too big":
                    return self.answer(400, b"file is too big")
                if trouble.isdigit():
                    return self.answer(int(trouble), b"trouble")
                size = len(body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0])
                kept = {"id": "f", "fileName": "payload.bin", "fileSize": size + (trouble == "lie"), "status": "uploaded"}
                return self.answer(200, kept)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Check(unittest.TestCase):
    def refused(self, work, *codes):
        with self.assertRaises(NATSBridgeError) as caught:
            work() if callable(work) else run(work)
        if codes:
            self.assertIn(caught.exception.code, codes, str(caught.exception))
        return caught.exception

    def test_lists_of_networks_are_those_of_the_test_data(self):
        self.assertEqual([str(network) for network in natsbridge._FORBIDDEN], [row["network"] for row in ADDRESSES["forbidden"]])
        rows = [(row["network"], row["bit"], row["inverted"]) for row in ADDRESSES["embedding"]]
        self.assertEqual([(str(network), bit, bool(flip)) for network, bit, flip in natsbridge._EMBEDDING], rows)

    def test_hosts_are_judged_in_every_spelling(self):
        self.assertGreater(len(ADDRESSES["hosts"]), 150)
        for row in ADDRESSES["hosts"]:
            with self.subTest(row["host"]):
                url = f"http://{row['host']}/f"
                if row["judgement"] == "open":
                    self.assertFalse(natsbridge._is_forbidden(natsbridge._read_url(url).host))
                else:
                    self.refused(smartreceive(linked(url), fileserver_url=""), "blocked_origin")

    def test_links_are_followed_to_the_configured_origin_alone(self):
        for row in ADDRESSES["origins"]:
            try:
                same = natsbridge._read_url(row["link"]).origin == natsbridge._read_url(row["configured"]).origin
            except ValueError:
                same = False
            self.assertEqual(same, row["followed"], row)
        other = linked("http://127.0.0.1:9/f")
        for options in ({}, {"allowed_origins": []}, {"allowed_origins": "http://127.0.0.1:10"}, {"fileserver_url": "http://files.test"}):
            self.refused(smartreceive(other, **options), "blocked_origin")
        for odd in ("127.0.0.1:9", "*", ["x"], [1], 7, b"http://x", "http://u@x"):
            self.refused(smartreceive(other, allowed_origins=odd), "wrong_value")
        here = "http://127.0.0.1:9"
        for options in ({"allowed_origins": here}, {"fileserver_url": here}, {"fileserver_url": ""}, {"allowed_origins": ["http://[::1]:9/x"]}):
            self.refused(smartreceive(other, max_retries=0, **options), "download_retry_exceeded")

    def test_downloads_connect_to_what_was_checked(self):
        class Hello(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.path.encode())

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Hello)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            port = server.server_address[1]
            for host in ("localhost", "１２７。０．０.１", "2130706433", "0x7f.1"):
                received = run(smartreceive(linked(f"http://{host}:{port}/a%2Fb?c=é"), fileserver_url=""))
                self.assertEqual(received["payloads"][0][1], "/a%2Fb?c=%C3%A9")
        finally:
            server.shutdown()
            server.server_close()

    def test_broken_upload_is_made_again_from_the_start(self):
        with Plik(["break", "lie", "503"]) as plik:
            envelope, _ = send(bytes(9), "binary", fileserver_url=plik.url, size_threshold=0)
            self.assertEqual(envelope["payloads"][0]["data"], f"{plik.url}/file/u4/f/payload.bin")
            self.assertEqual([path for method, path in plik.seen if method == "DELETE"], ["/upload/u1", "/upload/u2", "/upload/u3"])
        for trouble, tries, code in (("break", 6, "unreachable"), ("503", 6, "rejected"), ("507", 1, "rejected"), ("403", 1, "refused"), ("too big", 1, "too_large")):
            with Plik([trouble] * 9) as plik:
                request = natsbridge.Upload(plik.url, "x", b"y", base_delay=1)
                self.refused(natsbridge.plik_upload(request), code)
                self.assertEqual(sum(path.startswith("/file/") for _, path in plik.seen), tries, trouble)

    def test_server_gives_what_it_has_and_its_domain_needs_no_scheme(self):
        with Plik(config={"maxTTL": 3600, "feature_one_shot": "disabled"}, created={"downloadDomain": "files.test/"}) as plik:
            envelope, _ = send("x", "text", fileserver_url=plik.url, size_threshold=0, receiver_id=ID)
            self.assertEqual(plik.wishes, [{"oneShot": False, "ttl": 3600}])
            self.assertEqual(envelope["payloads"][0]["data"], "http://files.test/file/u1/f/payload.bin")
        with Plik(config={"maxFileSize": 3}) as plik:
            self.refused(lambda: send("four", "text", fileserver_url=plik.url, size_threshold=0), "too_large")
        with Plik(created={"oneShot": True}) as plik:
            self.refused(lambda: send("x", "text", fileserver_url=plik.url, size_threshold=0), "rejected")
            self.assertIn(("DELETE", "/upload/u1"), plik.seen)

    def test_answers_to_a_download_decide(self):
        later = formatdate(time.time() + 6, usegmt=True)
        for headers, code, least in (
            ({"Content-Encoding": "gzip"}, "rejected", 0), ({"status": 503, "Retry-After": later}, None, 1), ({"status": 503, "Retry-After": "1"}, None, 1),
            ({"status": 503, "Retry-After": "1700"}, "download_retry_exceeded", 0), ({"status": 409}, "rejected", 0), ({"status": 409, "Retry-After": "0"}, None, 0),
            ({"status": 507}, "rejected", 0), ({"status": 501}, "rejected", 0), ({"status": 400}, "rejected", 0),
        ):  # fmt: skip
            with self.subTest(headers), Plik(answers=[headers]) as plik:
                began = time.monotonic()
                link = natsbridge.Link(f"{plik.url}/got", "x", fileserver_url=plik.url, base_delay=1)
                if code:
                    self.refused(natsbridge.fetch_with_backoff(link), code)
                    self.assertEqual(len(plik.seen), 1)
                else:
                    self.assertEqual(run(natsbridge.fetch_with_backoff(link)), b"/got")
                self.assertGreaterEqual(time.monotonic() - began, least)
        with Plik(answers=[{"status": 400}]) as plik:
            link = natsbridge.Link(f"{plik.url}/b?X-Amz-Date=20200101T000000Z&X-Amz-Expires=60", "x", fileserver_url=plik.url)
            self.refused(natsbridge.fetch_with_backoff(link), "expired")

    def test_variables_are_read_when_a_call_is_made(self):
        for text in ("500kB", "-1", "1e3", "0.5MB", "٣"):
            with mock.patch.dict(os.environ, SIZE_THRESHOLD=text):
                self.assertIn("SIZE_THRESHOLD", str(self.refused(lambda: send(1), "wrong_value")))
                send(1, size_threshold=5)
        with Plik() as plik, mock.patch.dict(os.environ, SIZE_THRESHOLD="0", FILESERVER_URL=plik.url, FILESERVER_TOKEN="t", NATS_URL="nats://u:p@n.test:1"):
            envelope, text = send("x", "text")
            self.assertEqual(envelope["broker_url"], "nats://n.test:1")
            self.assertTrue(envelope["payloads"][0]["data"].startswith(plik.url))
            self.assertEqual(plik.tokens, {"t"})
            self.assertEqual(run(smartreceive(linked(f"{plik.url}/got")))["payloads"], [("x", "/got", "text")])
        self.refused(smartreceive(linked(f"{plik.url}/got")), "blocked_origin")

    def test_errors_name_their_message(self):
        error = self.refused(lambda: send({1, 2}, msg_id="m", correlation_id="c"), "wrong_value")
        self.assertEqual((error.dataname, error.msg_id, error.correlation_id), ("x", "m", "c"))
        for message, code in (('{"msg_id":"m","correlation_id":"c","payloads":7}', "wrong_type"), (direct("text", b"\xff").replace("{", '{"msg_id":"m","correlation_id":"c",', 1), "undecodable")):
            error = self.refused(smartreceive(message), code)
            self.assertEqual((error.msg_id, error.correlation_id), ("m", "c"))
        self.assertIsNone(self.refused(smartreceive("7")).msg_id)

    def test_records_have_the_seven_fields(self):
        with self.assertLogs("natsbridge", "INFO") as logs:
            _, text = run(smartsend("lab.x", [("a", "b", "text"), ("c", 1, "dictionary")], sender_name="s\x1b[31m", receiver_name="r"))
            run(smartreceive(text))
        self.assertEqual([record.message.split()[0] for record in logs.records], ["sent"] * 2 + ["received"] * 2)
        for record, kind in zip(logs.records, ("text", "dictionary") * 2):
            fields = [getattr(record, name) for name in ("correlation_id", "msg_id", "timestamp", "sender_name", "receiver_name", "payload_type", "transport")]
            self.assertEqual(fields[3:], ["s\ufffd[31m", "r", kind, "direct"])
            self.assertTrue(all(fields))

    def test_answers_name_what_they_answer(self):
        asked = run(smartreceive(run(smartsend("lab.x", [], reply_to="lab.answers", sender_name="s"))[1]))
        subject, text = run(natsbridge.ack(asked))
        found = run(smartreceive(text))
        self.assertEqual((subject, found["msg_purpose"], found["payloads"]), ("lab.answers", "ACK", []))
        for field, wanted in (("reply_to_msg_id", "msg_id"), ("correlation_id", "correlation_id"), ("receiver_id", "sender_id"), ("receiver_name", "sender_name")):
            self.assertEqual(found[field], asked[wanted])
        found = run(smartreceive(run(natsbridge.nack(asked, "disk full", retryable=True))[1]))
        self.assertEqual((found["msg_purpose"], found["metadata"]), ("NACK", {"code": "handler", "reason": "disk full", "retryable": True}))
        subject, _, text = run(natsbridge.reply(asked, [("n", 7, "dictionary")]))
        self.assertEqual(run(smartreceive(text))["payloads"], [("n", 7, "dictionary")])
        silent = dict(asked, reply_to="")
        self.assertEqual(run(natsbridge.ack(silent, reply_subject="_INBOX.x"))[0], "_INBOX.x")
        for odd in (silent, found, dict(asked, reply_to="$SYS.x"), dict(asked, reply_to="a b"), dict(asked, reply_to=7), {}, None):
            self.refused(lambda odd=odd: run(natsbridge.ack(odd)), "wrong_value")

    def test_tables_of_every_kind_become_rows(self):
        structs = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array([{"a": 1}, {"a": 2}]))
        frame = pd.DataFrame({"a": [1, 2, 3]})
        keys = pa.MapArray.from_arrays(pa.array([0, 1]), pa.array(["k"], pa.string_view()), pa.array([1]))
        dates = pa.array([86_400_000 * 5 + 3_600_000, -1], pa.int64()).view(pa.date64())
        cases = (
            (pa.table({"d": structs}), [{"d": {"a": 1}}, {"d": {"a": 2}}, {"d": None}]),
            (frame[frame["a"] > 1], [{"a": 2}, {"a": 3}]),
            (frame.set_index(pd.Index([7, 8, 9], name="k")), [{"a": 1, "k": 7}, {"a": 2, "k": 8}, {"a": 3, "k": 9}]),
            (pa.table({"u": pa.array([2**64 - 1, None], pa.uint64())}), [{"u": 2**64 - 1}, {"u": None}]),
            (pa.table({"t": dates}), [{"t": "1970-01-06"}, {"t": "1969-12-31"}]),
            (pa.table({"m": keys}), [{"m": {"k": 1}}]),
        )
        for table, rows in cases:
            envelope, _ = send(table, "jsontable")
            self.assertEqual(json.loads(natsbridge.base64.b64decode(envelope["payloads"][0]["data"])), rows)
        for frame in (pd.DataFrame({"a": [object()]}), pd.DataFrame({"a": [1, "x"]}), pa.table([[1], [2]], names=["a", "a"])):
            self.refused(lambda frame=frame: send(frame, "jsontable"), "unconvertible")

    def test_dictionaries_are_one_for_all_batches(self):
        parts = [pa.table({"c": pa.array(values).dictionary_encode()}) for values in (["a", "b"], ["z", "b"])]
        envelope, _ = send(pa.concat_tables(parts), "arrowtable")
        table = pa.ipc.open_stream(natsbridge.base64.b64decode(envelope["payloads"][0]["data"])).read_all()
        self.assertEqual([chunk.dictionary.to_pylist() for chunk in table["c"].chunks], [["a", "b", "z"]] * 2)
        self.assertEqual(table["c"].to_pylist(), ["a", "b", "z", "b"])

    def test_invalid_vectors_and_changes_to_valid_ones_let_only_our_error_out(self):
        draw = random.Random(7)
        messages = []
        for folder in ("invalid", "valid"):
            for path in sorted(glob.glob(os.path.join(HERE, "..", "..", "receive", folder, "*.json"))):
                with open(path, encoding="utf-8") as file:
                    vector = json.load(file)
                message = json.dumps(vector["envelope"]).encode() if "envelope" in vector else natsbridge.base64.b64decode(vector.get("envelope_base64", ""))
                if len(message) < 20_000:
                    messages.append((message, vector.get("links") or {}, {"strict": True} if vector.get("given", {}).get("strict") else {}))
        self.assertGreater(len(messages), 200)

        async def receive(message, links, given):
            async def download(link):
                held = links.get(link.url) or {}
                return natsbridge.base64.b64decode(held["base64"]) if "base64" in held else b"PAR1"

            try:
                await smartreceive(message, fileserver_download_handler=download, **given)
            except NATSBridgeError as error:
                self.assertTrue(error.code)

        async def every():
            for message, links, given in messages:
                await receive(message, links, given)
            for _ in range(6_000):
                message, links, given = draw.choice(messages)
                changed = bytearray(message)
                for _ in range(draw.randint(1, 4)):
                    at = draw.randrange(len(changed) + 1)
                    how = draw.randrange(4)
                    changed[at : at + (0 if how == 0 else draw.choice((1, 2, 8)))] = draw.choice((b"", b"\xff", b"9" * 30, b"null", bytes([draw.randrange(256)])))
                await receive(bytes(changed), links, given)

        logging.getLogger("natsbridge").setLevel(logging.ERROR)
        run(every())
        logging.getLogger("natsbridge").setLevel(logging.NOTSET)

    def test_senders_refuse_what_receivers_refuse(self):
        subjects = ("lab.*", "lab..x", "", "a b", 7, None, "lab\0", "lab.\ud800", ".a", "a.>", "a" * 2001, b"lab", "lab.\u2003x")
        for subject in subjects:
            self.refused(smartsend(subject, [("x", "y", "text")]), "wrong_value")
        for name in (7, None, b"x", "\ud800", ("x",), object()):
            error = self.refused(smartsend("lab.x", [("a", "b", "text"), (name, "x", "text")]), "wrong_value")
            self.assertEqual(error.dataname, "#1")
        odd = (
            dict(reply_to="a.*"), dict(reply_to=5), dict(reply_to=None), dict(receiver_id=5), dict(receiver_id=None),
            dict(metadata=[1]), dict(metadata="x"), dict(metadata={1: "a", "1": "b"}), dict(metadata={"a": float("nan")}),
            dict(metadata={"a": {1}}), dict(msg_purpose=1), dict(receiver="toaster"), dict(size_threshold="500kB"),
            dict(correlation_id={}), dict(sender_name="\udc00"), dict(now=lambda: "today"), dict(new_id=lambda: 1 / 0),
            dict(max_message_size=None), dict(broker_url=7), dict(ttl=float("nan")), dict(metadata={"a": "\ud800"}),
        )  # fmt: skip
        for options in odd:
            with self.subTest(options):
                self.refused(lambda options=options: send(1, **options), "wrong_value")
        for kind in (7, None, "Text", [], {}):
            self.refused(lambda kind=kind: send("x", kind), "unknown_payload_type")
        for data in (None, 7, [7], [("x",)], [("x", "y")], "xyz", ["xyz"]):
            self.refused(smartsend("lab.x", data), "wrong_value")

    def test_keys_that_JSON_makes_one_are_refused(self):
        for value in (
            {1: "a", "1": "b"}, {"deep": [{True: 1, "true": 2}]}, {None: 1, "null": 2}, {1.5: 1, "1.5": 2}, {(1, 2): 3},
            {b"x": 1}, {float("nan"): 1}, {1e16: 1, "1e+16": 2},
        ):  # fmt: skip
            for kind, given in (("dictionary", value), ("jsontable", [value])):
                error = self.refused(lambda given=given, kind=kind: send(given, kind), "wrong_value")
                self.assertEqual(error.dataname, "x")
        for value, wanted in (({1: "a", "2": "b"}, {"1": "a", "2": "b"}), ({None: True}, {"null": True})):
            envelope, _ = send(value)
            self.assertEqual(json.loads(natsbridge.base64.b64decode(envelope["payloads"][0]["data"])), wanted)

    def test_numbers_that_would_become_others_are_refused(self):
        for value in (2**64, -(2**63) - 1, {"a": [10**30]}, 1e999):
            self.refused(lambda value=value: send(value), "wrong_value")
        for value in (2**64 - 1, -(2**63), {"a": [2**53 + 1]}, 5e-324):
            self.assertEqual(json.loads(natsbridge.base64.b64decode(send(value)[0]["payloads"][0]["data"])), value)
        for text in (b"1e400", b"[1e-400]", b"-0.1e-999"):
            self.refused(smartreceive(direct("dictionary", text)), "undecodable")

    def test_links_that_are_read_again_are_never_one_shot(self):
        uploads = []

        async def upload(given):
            uploads.append(given)
            return {"url": "http://f/x", "one_shot": given.one_shot}

        always = dict(fileserver_upload_handler=upload, size_threshold=0)
        for options, once in (
            ({}, False), (dict(receiver_id=ID), True), (dict(receiver_id=ID, awaits_ack=True), False),
            (dict(receiver_id=ID, reply_to="r"), False), (dict(receiver_id=ID, one_shot=False), False),
            (dict(receiver_id=ID, one_shot=True), True),
        ):  # fmt: skip
            envelope, _ = send("x", "text", **always, **options)
            self.assertEqual(envelope["payloads"][0]["metadata"].get("one_shot", False), once, options)
        uploads.clear()
        for options in (
            dict(one_shot=True), dict(one_shot=True, receiver_id=ID, awaits_ack=True), dict(one_shot=True, receiver_name="r"),
            dict(one_shot=True, receiver_id=ID, reply_to="r"),
        ):  # fmt: skip
            self.refused(lambda options=options: send("x", "text", **always, **options), "wrong_value")
        self.assertEqual(uploads, [])

    def test_damaged_arrow_files_are_the_librarys_error(self):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, pa.schema([("n", pa.int64())])) as writer:
            writer.write_table(pa.table({"n": [1, 2, 3]}))
        whole = sink.getvalue().to_pybytes()
        for end in range(len(whole)):
            self.refused(smartreceive(direct("arrowtable", whole[:end])), "undecodable", "too_large")
        for at in range(len(whole)):
            damaged = bytearray(whole)
            damaged[at] ^= 0xFF
            try:
                run(smartreceive(direct("arrowtable", bytes(damaged))))
            except NATSBridgeError as error:
                self.assertEqual(error.dataname, "x")

    def test_only_the_librarys_error_leaves(self):
        urls = (
            "http://a..b/x", "http://" + "a" * 64 + ".test/", "http://" + "a." * 200 + "test/", "http://[::1/", "http://xn--/", "http://xn--a/",
            "http://a:99999/", "http://a:-1/", "http://a:b/", "http://\ud800/", "http:///x", "http:/x", "x", "", "http://é..é/", "http://%ff/",
            "http://a/\ud800", "http://[v1.x]/", "//x", "http://\u0130.test/", "http://ß.test/", "http://a\nb/", "http://\U0001fbf0/",
        )  # fmt: skip
        for url in urls:
            with self.subTest(url):
                link = linked(url)
                self.refused(smartreceive(link))
                here = natsbridge.Link(url, "x", max_retries=0, allowed_origins=(url,))
                self.refused(natsbridge.fetch_with_backoff(here))
        for size in ("1e308", "1e400", "-1", "9" * 400, "9" * 5000, "18446744073709551616", "0.5", "true", '"1"'):
            self.refused(smartreceive(linked("http://files.test/").replace('"data"', f'"size": {size}, "data"')))
        for message in ("", "[]", "1", "null", '"x"', "[" * 100000, '{"a":' * 100000, b"\xff", '{"payloads":[7]}', '{"payloads":[null]}', '{"a":"\\ud800"}'):
            self.refused(smartreceive(message))
        for message in (None, 7, [], {}, object(), 10**12):
            self.refused(smartreceive(message), "wrong_value")

    def test_errors_of_handlers_are_the_librarys_too(self):
        def fails(error):
            async def handler(_):
                raise error

            return handler

        def answers(value):
            async def handler(_):
                return value

            return handler

        for handler in (fails(ValueError("mine")), fails(KeyError("k")), answers("text"), answers(None), answers(7), lambda _: 7):
            error = self.refused(smartreceive(linked("http://f/"), fileserver_download_handler=handler), "handler")
            self.assertEqual(error.dataname, "x")
        for handler in (fails(OSError("mine")), answers(7), answers({}), answers(None), answers({"url": 7})):
            error = self.refused(lambda handler=handler: send("x", "text", size_threshold=0, fileserver_upload_handler=handler))
            self.assertEqual(error.dataname, "x")
        with self.assertRaises(asyncio.CancelledError):
            run(smartreceive(linked("http://f/"), fileserver_download_handler=fails(asyncio.CancelledError())))

    def test_times_beyond_the_calendar_have_a_text(self):
        cases = (
            (pa.array([0, 3_000_000, -1_000_000, -719_529], pa.date32()), ["1970-01-01", "+010183-09-21", "-000768-02-04", "-000001-12-31"]),
            (pa.array([253_402_300_800, -62_135_596_801, -62_167_219_201], pa.int64()).cast(pa.timestamp("s")), ["+010000-01-01T00:00:00", "0000-12-31T23:59:59", "-000001-12-31T23:59:59"]),
            (pa.array([253_402_300_800], pa.int64()).cast(pa.timestamp("s", "UTC")), ["+010000-01-01T00:00:00Z"]),
        )  # fmt: skip
        for column, texts in cases:
            envelope, _ = send(pa.table({"t": column}), "jsontable")
            rows = json.loads(natsbridge.base64.b64decode(envelope["payloads"][0]["data"]))
            self.assertEqual([row["t"] for row in rows], texts)
        self.assertEqual(natsbridge._timestamp(datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)), "2026-01-02T00:00:00.000Z")


if __name__ == "__main__":
    unittest.main()
