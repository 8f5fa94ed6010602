"""Tests of natsbridge.py that need its own language: addresses, refusals of the sender, what may leave the library."""

import asyncio
import datetime
import http.server
import json
import os
import sys
import threading
import unittest

sys.dont_write_bytecode = True  # the checkout stays as it is

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
