"""`daemon upgrade`: another engine goes on from the one that serves, or is refused and nothing has changed."""
import os
import shutil
import signal
import subprocess
import threading

import pytest

import ttrpc
from follower import Follower
from harness import BIN, SPAWNCTL
from ttrpc import PIPE, RpcError, admin, stdio

OTHER = "9.8.7"


@pytest.fixture
def other(tmp_path):
    """A second engine that calls itself another version."""
    with open(BIN / "spawnd-engine", "rb") as engine:
        data = engine.read()
    ours = version_of(data)
    path = tmp_path / "other-engine"
    path.write_bytes(data.replace(ours + b"\0", OTHER.encode() + b"\0"))
    path.chmod(0o755)
    return path


def version_of(data):
    at = data.index(b"spawnd 0.")
    version = data[at + len(b"spawnd "):data.index(b"\0", at)]
    assert len(version) == len(OTHER)
    return version


def upgrade(daemon, path=None, **kwargs):
    return daemon.ctl("daemon", "upgrade", *([path] if path else []), **kwargs)


def test_another_engine_goes_on(daemon, client, other):
    child = client.start("sh", "-c", "echo one; read x; echo two $x; exit 7", name="it", stdio=[stdio(0, PIPE)])
    before = client.stats()
    assert upgrade(daemon, other, check=0).stdout == OTHER.encode() + b"\n"
    with daemon.client() as again:
        after = again.stats()
        assert (after.version, after.keeper_pid) == (OTHER, before.keeper_pid)
        assert after.engine_pid != before.engine_pid and after.engine_restarts == before.engine_restarts + 1
        assert again.get("it").pid == child.pid
        assert daemon.ctl("write", "--eof", "it", input="more\n", check=0)
        assert again.wait("it", closed=True).exit.code == 7
    # from now on it is the program that is started again
    os.kill(after.engine_pid, signal.SIGKILL)
    with daemon.client() as again:
        assert again.stats().version == OTHER
    [back] = upgrade(daemon, check=0, json_lines=True)  # what is installed
    with daemon.client() as again:
        assert back == {"version": again.stats().version, "engine_pid": again.stats().engine_pid}
        assert back["version"] != OTHER


def test_nobody_notices(daemon, other, tmp_path):
    """spawnctl run, and a client of its own, over three upgrades."""
    want = b"".join(b"%d\n" % n for n in range(1, 400001))
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    run = subprocess.Popen([SPAWNCTL, "--socket", daemon.socket, "run", "sh", "-c", f"seq 1 200000; cat {gate}; seq 200001 400000; exit 3"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    got = []
    reader = threading.Thread(target=lambda: got.append(run.communicate()))
    reader.start()
    followed, done = [], []

    def follow():
        while not done:
            follower = Follower(daemon, "sh", "-c", "seq 1 400000; exit 5")
            assert follower.run().exit.code == 5
            followed.append(bytes(follower.output[1]) == want)

    follower = threading.Thread(target=follow)
    follower.start()
    for path in (other, None, other):
        upgrade(daemon, path, check=0)
    done.append(True)
    with open(gate, "wb"):
        pass
    follower.join(100)
    reader.join(100)
    assert followed and all(followed)
    assert got == [(want, b"")] and run.returncode == 3


def broken(tmp_path, name):
    path = tmp_path / "broken"
    if name == "truncated":
        path.write_bytes((BIN / "spawnd-engine").read_bytes()[:20000])
    elif name == "script":
        path.write_text("#!/bin/sh\nexit 7\n")
    else:
        return shutil.which(name) or BIN / name
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name, why", [
    ("false", "ended with status 1"),
    ("truncated", "ended with"),
    ("script", "ended with status 7"),
    ("test-engine-future", "goes on from 999 to 1000"),
    ("/nowhere/engine", "ENOENT"),
    ("/etc/passwd", "EACCES"),
    ("/etc", "no spawnd-engine in /etc"),
])
def test_what_cannot_take_over_is_refused(daemon, client, tmp_path, name, why):
    child = client.start("sleep", "1000")
    before = client.stats()
    path = name if name.startswith("/") else broken(tmp_path, name)
    with pytest.raises(RpcError) as caught:
        client.call("Admin", "Upgrade", admin.UpgradeRequest(path=str(path).encode()), admin.UpgradeReply())
    assert why in caught.value.message, caught.value.message
    after = client.stats()  # on the same connection
    assert (after.engine_pid, after.version, after.fds) == (before.engine_pid, before.version, before.fds)
    assert client.get(child).pid == child.pid and daemon.zombies() == []
    assert upgrade(daemon, "/bin/false").returncode == 1


def test_one_that_is_silent_is_refused_in_ten_seconds(daemon, client, tmp_path):
    path = tmp_path / "silent"
    path.write_text("#!/bin/sh\nsleep 1000\n")
    path.chmod(0o755)
    call = client.start_unary("Admin", "Upgrade", admin.UpgradeRequest(path=str(path).encode()))
    with pytest.raises(RpcError) as second:
        client.call("Admin", "Upgrade", admin.UpgradeRequest(), admin.UpgradeReply())
    assert "under way" in second.value.message
    assert client.spawn("true").collect()[2].exit.code == 0  # it serves meanwhile
    with pytest.raises(RpcError) as caught:
        client.finish_unary(call, admin.UpgradeReply())
    assert "did not answer" in caught.value.message
    upgrade(daemon, check=0)


@pytest.mark.parametrize("name", ["test-engine-liar", "test-engine-liar-hangs"])
def test_one_that_never_serves_is_undone(daemon, client, name):
    child = client.start("sleep", "1000")
    before = client.stats()
    done = upgrade(daemon, BIN / name, check=1)
    assert b"ended before it served" in done.stderr
    with daemon.client() as again:
        assert again.stats().version == before.version
        assert again.get(child).pid == child.pid
        assert again.spawn("true").collect()[2].exit.code == 0
    upgrade(daemon, check=0)


def test_what_was_replaced_on_disk_is_not_what_is_started_again(make_daemon, tmp_path):
    """A crash after new files were installed brings back the program that was running."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("spawnd", "spawnd-engine", "spawnd-launcher"):
        shutil.copy(BIN / name, bin_ / name)
    daemon = make_daemon(program=bin_ / "spawnd")
    with daemon.client() as client:
        before = client.stats()
        for name in ("spawnd-engine", "spawnd-launcher"):
            (bin_ / name).unlink()
            shutil.copy(shutil.which("false"), bin_ / name)
        os.kill(before.engine_pid, signal.SIGKILL)
    with daemon.client() as client:
        assert client.spawn("true").collect()[2].exit.code == 0
        assert client.stats().version == before.version
    assert upgrade(daemon).returncode == 1
    assert upgrade(daemon, BIN / "spawnd", check=0)  # the engine beside it


def test_an_upgrade_is_done_once_by_its_key(daemon, client, other):
    request = admin.UpgradeRequest(path=str(other).encode(), idempotency_key="once")
    first = client.call("Admin", "Upgrade", request, admin.UpgradeReply())
    with pytest.raises((ttrpc.Closed, ConnectionError)):
        while True:
            client.stats()
    with daemon.client() as again:
        assert again.call("Admin", "Upgrade", request, admin.UpgradeReply()) == first
        assert again.stats().engine_pid == first.engine_pid
