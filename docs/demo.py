#!/usr/bin/python3
"""`./dev demo`: spawnd's main job on real work, with a private daemon. Every step checks itself; the table says what was seen."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
CTL = str(ROOT / "build" / "bin" / "spawnctl")
SOCKET = ""
RESULTS = []


def ctl(*args, **kwargs):
    return subprocess.run([CTL, "--socket", SOCKET, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)


def step(title):
    """Runs a step, shows what it does, keeps what it returns for the table. A step that is wrong ends the demo."""
    def decorate(function):
        def run():
            print(f"\n\033[1m{title}\033[0m", flush=True)
            RESULTS.append((title, function()))
        STEPS.append(run)
        return run
    return decorate


STEPS = []


def expect(condition, what):
    if not condition:
        sys.exit(f"demo: {what}")


def shown(*command):
    print("$ spawnctl " + " ".join(f"'{word}'" if set(word) & set(" ;$&|") else word for word in command), flush=True)


@step("A command, streamed as it runs")
def streamed():
    script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done; echo done >&2; exit 7"
    shown("exec", script)
    child = subprocess.Popen([CTL, "--socket", SOCKET, "exec", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stamps = []
    for line in child.stdout:
        stamps.append(time.monotonic())
        print("  " + line.decode().rstrip(), flush=True)
    status = child.wait()
    expect(len(stamps) == 5 and stamps[-1] - stamps[0] > 0.2, "lines did not arrive one by one")
    expect(status == 7 and child.stderr.read() == b"done\n", "status or stderr was lost")
    return "5 lines live, stderr apart, exit status 7"


@step("Bytes through a child, there and back")
def bytes_through():
    size = 256 << 20
    shown("run", "--", "cat")
    block, sent, got = os.urandom(1 << 20), hashlib.sha256(), hashlib.sha256()
    begin = time.monotonic()
    child = subprocess.Popen([CTL, "--socket", SOCKET, "run", "--", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if os.fork() == 0:
        for _ in range(size >> 20):
            child.stdin.write(block)
        child.stdin.close()
        os._exit(0)
    child.stdin.close()
    for _ in range(size >> 20):
        sent.update(block)
    while piece := child.stdout.read(1 << 18):
        got.update(piece)
    expect(child.wait() == 0 and os.wait()[1] == 0, "cat failed")
    expect(sent.digest() == got.digest(), "bytes differ")
    return f"{size >> 20} MiB identical, {size / (time.monotonic() - begin) / 1e6:.0f} MB/s"


@step("A process that outlives its client, read later from any place")
def background():
    shown("run", "-d", "--name", "counter", "--", "sh", "-c", "seq 1 100000; exit 3")
    number = ctl("run", "-d", "--name", "counter", "--", "sh", "-c", "seq 1 100000; exit 3").stdout.decode().strip()
    status = ctl("wait", "counter").returncode
    shown("logs", "--since", "1:588888", "counter")
    tail = ctl("logs", "--since", "1:588888", "counter").stdout
    record = json.loads(ctl("--json", "inspect", "counter").stdout)
    print("  " + tail.decode().strip().replace("\n", " "))
    expect(status == 3, f"wait said {status}")
    expect(tail == b"100000\n" and record["exit"]["output"][0]["bytes"] == 588895, "the log is not what was written")
    return f"process {number}: exit 3, {record['exit']['output'][0]['bytes']} bytes accounted for"


@step("A timeout takes the whole tree, also what hid in a session of its own")
def tree():
    script = "setsid sleep 4242 & sleep 4242 & wait"
    shown("exec", "--timeout", "0.3", script)
    status = ctl("exec", "--timeout", "0.3", script).returncode
    left = [p for p in pathlib.Path("/proc").glob("[0-9]*/cmdline") if readable(p) == b"sleep\x004242\0"]
    method = json.loads(ctl("--json", "run", "-d", "--", "sleep", "1000").stdout or b"{}")
    stopped = json.loads(ctl("--json", "stop", str(method["id"] if isinstance(method, dict) else method)).stdout)
    expect(status == 124 and not left, f"status {status}, {len(left)} processes left")
    return f"exit status 124, nothing left (by {stopped['method']})"


def readable(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


@step("A spawn that fails says why, in Node's words")
def failure():
    shown("run", "--", "/no/such/program")
    done = ctl("run", "--", "/no/such/program")
    print("  " + done.stderr.decode().rstrip())
    expect(done.returncode == 127 and b"spawn /no/such/program ENOENT" in done.stderr, "the error is wrong")
    return "exit status 127, spawn /no/such/program ENOENT"


@step("A forked child: JSON messages there and back")
def forked():
    module = pathlib.Path(SOCKET).parent / "echo.js"
    module.write_text("process.on('message', (m) => process.send({ got: m, pid: process.pid }));\n")
    shown("fork", module.name)
    letters = [{"hello": "child"}, [1, 2, 3], "grüße", None]
    done = ctl("fork", str(module), input="".join(json.dumps(letter) + "\n" for letter in letters).encode())
    print("  " + done.stdout.decode().rstrip().replace("\n", "\n  "))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    expect(done.returncode == 0 and [answer["got"] for answer in answers] == letters, "messages were lost or changed")
    return f"{len(answers)} messages each way through Node's own process.send, exit status 0"


@step("A client that is killed leaves nothing behind")
def killed_client():
    client = subprocess.Popen([CTL, "--socket", SOCKET, "run", "--", "sh", "-c", "echo up; exec sleep 4343"], stdout=subprocess.PIPE)
    client.stdout.readline()
    client.kill()
    client.wait()
    deadline = time.monotonic() + 20
    while any(readable(p) == b"sleep\x004343\0" for p in pathlib.Path("/proc").glob("[0-9]*/cmdline")):
        expect(time.monotonic() < deadline, "its child still runs")
    return "its child was stopped"


def main():
    global SOCKET
    directory = tempfile.mkdtemp(prefix="spawnd-demo-")
    SOCKET = os.path.join(directory, "spawnd.sock")
    expect(ctl("daemon", "start").returncode == 0, "the daemon did not start")
    try:
        for run in STEPS:
            run()
        status = json.loads(ctl("--json", "daemon", "status").stdout)
        RESULTS.append(("The daemon", f"version {status['version']}, {status['rss_bytes'] + status['keeper_rss_bytes'] >> 10} KiB resident in engine and keeper"))
    finally:
        ctl("daemon", "stop")
        shutil.rmtree(directory, ignore_errors=True)
    width = max(len(title) for title, _ in RESULTS)
    print("\n" + "\n".join(f"{title:<{width}}  {seen}" for title, seen in RESULTS))


if __name__ == "__main__":
    main()
