"""The examples of the C client, as a reader of the README would run them."""
import subprocess

import pytest

from harness import BIN
from proxy import Proxy


@pytest.mark.parametrize("name, args, status, out", [
    ("run", [], 0, b"apple\npear\n"),
    ("run", ["sh", "-c", "echo out; echo err >&2; exit 9"], 9, b"out\n"),
    ("run", ["/nonexistent"], 1, b""),
    ("stream", [], 0, b"16777216 bytes there, 16777216 back, exit 0\n"),
    ("handover", [], 0, b"1\n2\n3\n"),
    ("poll", [], 0, b"Linux\n"),
])
def test_example(daemon, name, args, status, out):
    done = subprocess.run([str(BIN / f"example_{name}"), *args], env=daemon.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout) == (status, out), done.stderr
    if "/nonexistent" in args:
        assert done.stderr == b"run: spawn /nonexistent ENOENT\n"


EVENTLOOP = [b"first: exit 0", b"first: line 1", b"first: line 2", b"first: line 3", b"second: exit 3", b"second: one line"]


def test_eventloop(daemon):
    done = subprocess.run([str(BIN / "example_eventloop")], env=daemon.env, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == EVENTLOOP


@pytest.mark.parametrize("backend", [{}, {"EVENT_NOEPOLL": "1"}, {"EVENT_NOEPOLL": "1", "EVENT_NOPOLL": "1"}], ids=["epoll", "poll", "select"])
@pytest.mark.parametrize("cuts", [[60, 200, 300, 400], [-100, -300, -500, 150]], ids=["from the daemon", "from the client"])
def test_a_loop_watches_the_connections_that_follow(daemon, backend, cuts):
    """The file behind the descriptor changes, and its registration with it."""
    with Proxy(daemon, cuts) as proxy:
        done = subprocess.run([str(BIN / "example_eventloop")], env=dict(daemon.env, SPAWND_SOCKET=str(proxy.socket), **backend),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
        assert sorted(done.stdout.splitlines()) == EVENTLOOP
        assert proxy.cut >= 3
