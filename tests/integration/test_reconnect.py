"""Clients in C whose connection is cut, or whose engine is killed: libspawnd comes back, and spawnctl does not notice."""
import hashlib
import json
import os
import random
import signal
import subprocess
import threading

import pytest

import ttrpc
from harness import SPAWNCTL
from proxy import Proxy
from ttrpc import admin, processes


def ctl(place, *args, **kwargs):
    return subprocess.Popen([SPAWNCTL, "--socket", str(place.socket), "--no-autostart", *map(str, args)], **kwargs)


def run(place, *args, input=None):
    """Exit status and outputs."""
    process = ctl(place, *args, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(input, timeout=100)
    return process.returncode, out, err


def kill_engine(daemon):
    [status] = daemon.ctl("daemon", "status", json_lines=True, check=0)
    os.kill(status["engine_pid"], signal.SIGKILL)


KEPT = ["--transport", "kept", "--retain", "4M"]  # what a proxy loses with a connection must still be there


@pytest.mark.parametrize("sign", [1, -1], ids=["from the daemon", "from the client"])
def test_cat_through_twenty_cuts(daemon, sign):
    rng = random.Random(sign)
    data = rng.randbytes(50 << 20)
    with Proxy(daemon, [sign * rng.randrange(100, 4 << 20) for _ in range(20)]) as proxy:
        status, out, err = run(proxy, "run", *KEPT, "--", "cat", input=data)
        assert proxy.cut == 20
    assert (status, err) == (0, b"")
    assert len(out) == len(data) and hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
    assert daemon.zombies() == []


@pytest.mark.parametrize("at", [*range(1, 60), 100, 200, 400])
def test_every_byte_of_a_short_conversation(daemon, at):
    with Proxy(daemon, [at] * 3) as proxy:
        done = run(proxy, "run", *KEPT, "--", "sh", "-c", "read x; echo got $x; echo err >&2; exit 5", input=b"it\n")
        assert done == (5, b"got it\n", b"err\n")


class Killer:
    """Kills the engine whenever it is called, so many times. The keeper takes its time with an engine that dies again and again."""

    def __init__(self, daemon, kills):
        self.daemon, self.left, self.done = daemon, kills, 0

    def __call__(self):
        if self.left:
            self.left -= 1
            kill_engine(self.daemon)
            self.done += 1


def pump(process, data, at, act):
    """Feeds data to stdin and collects stdout; calls act each time another `at` bytes have come back."""
    def feed():
        with process.stdin:
            process.stdin.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    out = bytearray()
    due = at
    while chunk := os.read(process.stdout.fileno(), 1 << 16):
        out += chunk
        if len(out) >= due:
            due += at
            act()
    feeder.join()
    return process.wait(60), bytes(out)


@pytest.mark.parametrize("options", [[], ["--transport", "kept"]], ids=["direct", "kept"])
def test_cat_through_killed_engines(daemon, options):
    data = random.Random(1).randbytes(50 << 20)
    killer = Killer(daemon, 5)
    process = ctl(daemon, "run", *options, "--", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    status, out = pump(process, data, 8 << 20, killer)
    assert (status, process.stderr.read()) == (0, b"")
    assert len(out) == len(data) and hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
    assert killer.done == 5
    assert daemon.zombies() == []


def test_exit_codes_errors_and_slots_through_killed_engines(daemon):
    script = "echo out; echo err >&2; read x; echo $x; read y; kill -$y $$"
    process = ctl(daemon, "run", "--", "sh", "-c", script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"out\n" and process.stderr.readline() == b"err\n"
    kill_engine(daemon)
    process.stdin.write(b"word\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"word\n"
    kill_engine(daemon)
    process.stdin.write(b"USR1\n")
    process.stdin.flush()
    assert process.wait(60) == 128 + signal.SIGUSR1
    assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_a_signal_while_no_engine_is_there_arrives(daemon):
    script = "exec 2>/dev/null; trap 'echo got it; exit 3' USR1; echo ready; while :; do sleep 0.1; done"
    process = ctl(daemon, "run", "--", "sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    for _ in range(3):
        kill_engine(daemon)
    daemon.ctl("ps", check=0)
    process.send_signal(signal.SIGUSR1)
    assert (process.wait(60), process.stdout.read(), process.stderr.read()) == (3, b"got it\n", b"")


def test_followers_and_waiters_do_not_notice(daemon):
    number = int(daemon.ctl("run", "-d", "--name", "talker", "--stdio", "0=pipe", "--", "sh", "-c",
                            "while read x; do echo $x; done; exit 7", check=0).stdout)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    events = ctl(daemon, "events", "--since", "1", **pipes)
    logs = ctl(daemon, "logs", "-f", "talker", **pipes)
    attach = ctl(daemon, "attach", "--eof", "talker", **{**pipes, "stdin": subprocess.PIPE})
    wait = ctl(daemon, "wait", number, **pipes)
    first = json.loads(events.stdout.readline())
    assert first["type"] == "spawned" and first["process"] == number
    for n in range(5):
        attach.stdin.write(b"line %d\n" % n)
        attach.stdin.flush()
        for reader in (logs, attach):
            assert reader.stdout.readline() == b"line %d\n" % n
        kill_engine(daemon)
    attach.stdin.close()
    assert (wait.wait(60), attach.wait(60), logs.wait(60)) == (7, 7, 0)
    seen = []
    while not seen or seen[-1]["type"] != "closed":
        seen.append(json.loads(events.stdout.readline()))
    assert [e["type"] for e in seen if e["type"] != "gap"] == ["exited", "closed"]
    events.terminate()
    events.wait()
    for process in (logs, attach, wait, events):
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_attach_misses_nothing_of_slots_that_were_silent(daemon, tmp_path):
    begin, end = tmp_path / "begin", tmp_path / "end"
    os.mkfifo(begin)
    os.mkfifo(end)
    daemon.ctl("run", "-d", "--name", "quiet", "--", "sh", "-c", f"cat {begin}; echo out; echo err >&2; cat {end}; exit 4", check=0)
    attach = ctl(daemon, "attach", "--no-stdin", "quiet", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with daemon.client() as client:
        while client.get("quiet").readers < 1:
            pass
        engine = client.stats().engine_pid
    os.kill(engine, signal.SIGSTOP)
    open(begin, "wb").close()  # it writes now, and nobody reads
    open(end, "wb").close()
    os.kill(engine, signal.SIGKILL)
    assert attach.wait(60) == 4
    assert (attach.stdout.read(), attach.stderr.read()) == (b"out\n", b"err\n")


@pytest.mark.parametrize("sign", [1, -1], ids=["from the daemon", "from the client"])
def test_write_through_ten_cuts(daemon, sign):
    """The bytes that arrive are the bytes that were written, once each and to their end."""
    rng = random.Random(sign)
    data = rng.randbytes(8 << 20)
    number = int(daemon.ctl("run", "-d", "--stdio", "0=pipe", "--retain", "16M", "--", "cat", check=0).stdout)
    # the daemon says little to a writer; of what the client says, each cut takes some away
    cuts = [rng.randrange(50, 400) if sign > 0 else -rng.randrange(100, 1 << 20) for _ in range(10)]
    with Proxy(daemon, cuts) as proxy:
        assert run(proxy, "write", "--eof", number, input=data) == (0, b"", b"")
        assert proxy.cut == 10
    daemon.ctl("wait", number, check=0)
    out = daemon.ctl("logs", number, check=0).stdout
    assert len(out) == len(data) and out == data


def test_write_through_killed_engines(daemon):
    data = random.Random(3).randbytes(24 << 20)
    number = int(daemon.ctl("run", "-d", "--name", "cat", "--stdio", "0=pipe", "--retain", "32M", "--", "cat", check=0).stdout)
    killer = Killer(daemon, 4)
    write = ctl(daemon, "write", "--eof", number, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for at in range(0, len(data), 5 << 20):
        write.stdin.write(data[at:at + (5 << 20)])
        write.stdin.flush()
        killer()
    out, err = write.communicate(timeout=100)
    assert (write.returncode, out, err) == (0, b"", b"")
    daemon.ctl("wait", number, check=0)
    out = daemon.ctl("logs", number, check=0).stdout
    assert len(out) == len(data) and out == data


def test_a_write_of_nothing_but_the_end_through_cuts(daemon):
    number = int(daemon.ctl("run", "-d", "--stdio", "0=pipe", "--", "cat", check=0).stdout)
    with Proxy(daemon, [150, 150, -120]) as proxy:
        assert run(proxy, "write", "--eof", number, input=b"") == (0, b"", b"")
    daemon.ctl("wait", number, check=0)


def test_a_spawn_that_is_resumed_never_starts_anew(client):
    client.hello()
    stream = client.stream("Processes", "Spawn", processes.ProcessEvent)
    start = processes.SpawnStart(spec=ttrpc.make_spec("true"), idempotency_key="nobody knows it", resume=True)
    stream.send(processes.SpawnRequest(start=start))
    with pytest.raises(ttrpc.RpcError) as caught:
        stream.receive()
    assert caught.value.code == "NOT_FOUND" and client.stats().spawned_total == 0


def test_a_session_leaves_the_connection_it_was_on(daemon):
    hello = admin.HelloRequest(version=1, session_key=b"mine")
    with daemon.client() as before, daemon.client() as after:
        before.call("Admin", "Hello", hello, admin.HelloReply())
        assert after.call("Admin", "Hello", hello, admin.HelloReply()).resumed
        with pytest.raises((ttrpc.Closed, ConnectionError)):
            before.stats()
        after.stats()


def test_acts_are_done_once_while_engines_die(daemon):
    for n in range(6):
        killer = threading.Thread(target=kill_engine, args=(daemon,))
        killer.start()
        number = int(daemon.ctl("run", "-d", "--name", f"p{n}", "--", "sleep", "1000", check=0).stdout)
        [info] = daemon.ctl("inspect", f"p{n}", json_lines=True, check=0)
        assert info["id"] == number
        daemon.ctl("stop", f"p{n}", check=0)
        daemon.ctl("rm", f"p{n}", check=0)
        killer.join()
    assert daemon.ctl("ps", "-a", json_lines=True, check=0) == []
    assert daemon.zombies() == []


def test_a_daemon_that_has_ended_is_told_at_once(make_daemon):
    daemon = make_daemon()
    process = ctl(daemon, "events", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with daemon.client() as client:
        while client.stats().clients < 2:
            pass
    daemon.ctl("daemon", "stop", check=0)
    assert process.wait(5) == 1
    assert b"closed the connection" in process.stderr.read()


@pytest.fixture
def echo(tmp_path):
    script = tmp_path / "echo.py"  # Node drops what it could not write when it reads the end
    script.write_text("import os\nout = os.fdopen(os.dup(3), 'wb')\nfor line in os.fdopen(3, 'rb'):\n    out.write(line)\n    out.flush()\n")
    return script


def lines(count, seed=0):
    rng = random.Random(seed)
    return b"".join(b'"%d %s"\n' % (n, b"x" * rng.choice((0, 10, 1000, 40000))) for n in range(count))


def test_messages_through_killed_engines(daemon, echo):
    data = lines(2000)
    killer = Killer(daemon, 5)
    process = ctl(daemon, "fork", echo, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    status, out = pump(process, data, len(data) // 7, killer)
    assert (status, process.stderr.read(), killer.done) == (0, b"", 5)
    assert out == data


@pytest.mark.parametrize("sign", [1, -1], ids=["from the daemon", "from the client"])
def test_messages_through_twenty_cuts(daemon, echo, sign):
    rng, data = random.Random(sign), lines(2000)
    with Proxy(daemon, [sign * rng.randrange(100, 1 << 20) for _ in range(20)]) as proxy:
        assert run(proxy, "fork", echo, input=data) == (0, data, b"")
        assert proxy.cut == 20


@pytest.mark.parametrize("at", [*range(1, 60), 100, 200, 400])
def test_every_byte_of_a_short_exchange(daemon, tmp_path, at):
    script = tmp_path / "child.sh"
    script.write_text("#!/bin/sh\nread x <&3; echo \"$x\" >&3; read x <&3; echo \"$x\" >&3; exit 5\n")
    script.chmod(0o755)
    with Proxy(daemon, [at] * 3) as proxy:
        assert run(proxy, "fork", script, input=b'"one"\n{"two":2}\n') == (5, b'"one"\n{"two":2}\n', b"")
