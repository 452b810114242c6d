"""Kills between two durable steps: every failpoint of the source is armed while everything is going on, and must be hit.

SPAWND_ROUNDS says how often each (1 without it). Needs a build with failpoints: `./dev build failpoints`."""
import collections
import os
import pathlib
import random
import re
import select
import signal
import time

import pytest

import ttrpc
from endurance import again, endure
from ttrpc import RpcError, processes, ref

ROUNDS = int(os.environ.get("SPAWND_ROUNDS", "1"))
PATIENCE = 20
SOURCES = pathlib.Path(__file__).resolve().parents[2] / "daemon"
NAMES = sorted({name for file in SOURCES.glob("*/*.c") for name in re.findall(r'failpoint\("([a-z-]+)"\)', file.read_text())})


@pytest.fixture
def points(tmp_path):
    path = tmp_path / "points"
    path.mkdir()
    return path


@pytest.fixture
def daemon(make_daemon, tmp_path, points):
    return make_daemon("--state-dir", str(tmp_path / "state"), env={"SPAWND_FAILPOINTS": str(points)})


def arm(points, name, what):
    new = points / ".new"
    new.write_text(what)
    new.rename(points / name)


def persisting(daemon, state):
    """A process that is persisted is in the state directory when that was answered, and until it is removed."""
    def work(load):
        name = f"persist{load.rounds}"
        spec = ttrpc.make_spec("sleep", "1000", name=name, persist=True)
        request = processes.StartRequest(spec=spec, idempotency_key=os.urandom(8).hex())
        child = again(daemon, "Processes", "Start", request, processes.Process())
        assert (state / "specs" / name).exists()
        again(daemon, "Processes", "Stop", processes.StopRequest(process=ref(child), idempotency_key=name), processes.KillReply())
        remove = processes.RemoveRequest(process=ref(child), idempotency_key=os.urandom(8).hex())
        again(daemon, "Processes", "Remove", remove, processes.RemoveReply())
        assert not (state / "specs" / name).exists()

    return work


def wait_end(pid, seconds):
    """Whether the process ended in this time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], seconds)[0])
    finally:
        os.close(pidfd)


def serving(daemon, but):
    """Until an engine serves that is not this one."""
    while True:
        try:
            with daemon.client() as client:
                if client.stats().engine_pid != but:
                    return
        except (ttrpc.Closed, ConnectionError):
            pass


def test_every_failpoint_loses_nothing(daemon, tmp_path, points):
    assert len(NAMES) > 25
    order = NAMES * ROUNDS
    random.shuffle(order)
    hits = collections.Counter()

    def strike(daemon, engine):
        name = order.pop()
        arm(points, name, random.choice(("kill", "kill 5", "kill 50")))
        if name.startswith("recover-"):
            arm(points, name, "kill")
            os.kill(engine, signal.SIGKILL)
            serving(daemon, engine)
        elif not wait_end(engine, PATIENCE / 4):
            arm(points, name, "kill")
            assert wait_end(engine, PATIENCE), f"{name} was never hit"
        assert not (points / name).exists(), f"{name} was never hit"
        hits[name] += 1
        return 2 if name.startswith("recover-") else 1

    begin = time.monotonic()
    endure(daemon, tmp_path, len(order), strike, {"persisting": persisting(daemon, tmp_path / "state")})
    print(f"{sum(hits.values())} kills in {time.monotonic() - begin:.0f} s, by failpoint {dict(sorted(hits.items()))}")
    assert set(hits) == set(NAMES), f"never hit: {set(NAMES) - set(hits)}"


def test_what_fails_is_told_and_leaves_nothing(daemon, client, points):
    before = client.stats()
    arm(points, "start-stored", "error")
    with pytest.raises(RpcError) as caught:
        client.start("sleep", "1000", name="x")
    assert caught.value.detail.code == "EIO"
    assert client.stats().fds == before.fds and client.stats().processes == 0
    assert client.start("sleep", "1000", name="x").pid > 0


def test_what_is_late_is_late_only(daemon, client, points):
    for name in ("start-noted", "start-launched", "exit-telling", "close-telling"):
        arm(points, name, "delay 100")
    assert client.spawn("sh", "-c", "echo x; exit 3").collect()[2].exit.code == 3
    assert list(points.iterdir()) == []
