"""Random kill -9 of the engine under load: children writing at full speed, stdin flowing, known exit codes, spawns in flight.

SPAWND_KILLS says how many kills (10 without it; ./dev chaos takes 500). Every run prints when the kills came."""
import collections
import hashlib
import itertools
import os
import random
import shutil
import signal
import threading
import time

import ttrpc
from follower import Follower
from ttrpc import RpcError, admin

KILLS = int(os.environ.get("SPAWND_KILLS", "10"))
KEPT, DIRECT = 1, 2


class Load:
    """One thread of work that is repeated until the end, and checked each time."""

    def __init__(self, name, work, done):
        self.name, self.work, self.done = name, work, done
        self.rounds, self.busy, self.failure = 0, None, None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.done.is_set():
                self.work(self)
                self.rounds += 1
        except BaseException as failure:
            self.failure = failure
            self.done.set()


def writer(daemon, transport):
    want = hashlib.md5(b"".join(b"%d\n" % n for n in range(1, 300001))).hexdigest()

    def work(load):
        code = random.randrange(256)
        follower = Follower(daemon, "sh", "-c", f"seq 1 300000; seq 1 1000 >&2; exit {code}", transport=transport)
        load.busy = follower
        closed = follower.run()
        assert closed.exit.code == code
        assert hashlib.md5(follower.output[1]).hexdigest() == want
        assert bytes(follower.output[2]) == b"".join(b"%d\n" % n for n in range(1, 1001))
        assert [(o.bytes, o.complete) for o in closed.exit.output] == [(len(follower.output[n]), True) for n in (1, 2)]

    return work


def cat(daemon):
    def work(load):
        data = random.randbytes(4 << 20)
        follower = Follower(daemon, "cat", input=data)
        load.busy = follower
        closed = follower.run()
        assert closed.exit.code == 0 and bytes(follower.output[1]) == data

    return work


def spawner(daemon, path):
    def work(load):
        mark = os.urandom(6).hex()
        follower = Follower(daemon, "sh", "-c", f"echo {mark} >>{path}; exit 11")
        load.busy = follower
        assert follower.run().exit.code == 11
        load.marks = getattr(load, "marks", []) + [mark]

    return work


PHASES = {"kept", "direct", "cat", "launching", "recovering"}


def phases_now(loads, age):
    """What was going on: whose output or input flowed, whether a spawn was in flight, whether the engine had just begun."""
    flowing = {load.name for load in loads if load.busy and load.busy.process is not None}
    launching = {"launching"} if any(load.busy and load.busy.process is None for load in loads) else set()
    return (flowing & PHASES) | launching | ({"recovering"} if age < 0.02 else set())


def kill(daemon, engine):
    os.kill(engine, signal.SIGKILL)
    return True


def upgrade_to(paths):
    """Upgrades to one program after the other. False: it was refused, as `paths` says it must be."""
    paths = itertools.cycle(paths)

    def upgrade(daemon, engine):
        path, good = next(paths)
        try:
            with daemon.client() as client:
                client.call("Admin", "Upgrade", admin.UpgradeRequest(path=str(path).encode()), admin.UpgradeReply())
        except RpcError as refused:
            assert not good and "take over" in refused.message, refused
            return False
        assert good, path
        return True

    return upgrade


def test_nothing_is_lost(daemon, tmp_path):
    phases = endure(daemon, tmp_path, KILLS, kill)
    assert set(phases) == PHASES or KILLS < 100, f"a phase was never hit: {PHASES - set(phases)}"


def test_upgrades_lose_nothing(daemon, tmp_path):
    engine = ttrpc.BUILD / "bin" / "spawnd-engine"
    twin = tmp_path / "twin"
    shutil.copy(engine, twin)
    bad = [("/bin/false", False), (ttrpc.BUILD / "bin" / "test-engine-future", False)]
    endure(daemon, tmp_path, max(KILLS // 5, 4), upgrade_to([(twin, True), bad[0], (engine, True), bad[1]]))


def endure(daemon, tmp_path, count, strike):
    """The load, while the engine is struck again and again; everything is accounted for at the end. Returns the phases that were hit."""
    done, phases, marks = threading.Event(), collections.Counter(), tmp_path / "marks"
    works = {"kept": writer(daemon, KEPT), "direct": writer(daemon, DIRECT), "cat": cat(daemon)}
    works |= {f"spawn{n}": spawner(daemon, marks) for n in range(4)}
    loads = [Load(name, work, done) for name, work in works.items()]
    with daemon.client() as client:
        before = client.stats()
    restarts = before.engine_restarts
    pid, born = before.engine_pid, time.monotonic()
    struck = 0
    for _ in range(count):
        # an engine that lived for a second is started again at once; some are killed in the middle of their first steps
        if done.wait(random.choice((0, 0.01, 1.0, 1.0, 1.1, 1.2)) + random.random() * 0.05):
            break
        phases.update(phases_now(loads, time.monotonic() - born))
        if not strike(daemon, pid):
            continue
        struck += 1
        while not done.is_set():
            try:
                with daemon.client() as client:
                    after = client.stats()
            except (ttrpc.Closed, ConnectionError):
                continue
            if after.engine_pid != pid:
                pid, born, restarts = after.engine_pid, time.monotonic(), after.engine_restarts
                break
    done.set()
    for load in loads:
        load.thread.join(120)
        assert not load.thread.is_alive(), f"{load.name} hangs in its round {load.rounds}"
        if load.failure:
            raise AssertionError(f"{load.name}, round {load.rounds}") from load.failure
    print(f"kills {restarts - before.engine_restarts}, by phase {dict(phases)}, rounds { {l.name: l.rounds for l in loads} }")
    assert restarts - before.engine_restarts == struck
    started = collections.Counter(marks.read_text().split())
    expected = [mark for load in loads for mark in getattr(load, "marks", [])]
    assert sorted(started) == sorted(expected) and set(started.values()) == {1}, "a process was lost or started twice"
    assert daemon.zombies() == []
    return phases
