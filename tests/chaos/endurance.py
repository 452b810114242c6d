"""Work of every kind that is repeated while the engine is struck, and checked each time and at the end."""
import collections
import hashlib
import os
import random
import signal
import threading
import time

import ttrpc
from follower import Follower
from ttrpc import processes, ref

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


def again(daemon, service, method, request, reply):
    """A unary call, repeated until it is answered."""
    while True:
        try:
            with daemon.client() as client:
                return client.call(service, method, request, reply)
        except (ttrpc.Closed, ConnectionError):
            pass


COUNTER = """
import os, signal, sys
wanted = {signal.SIGRTMIN + 1}
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
os.write(file, b"r")
while True:
    signal.sigwaitinfo(wanted)  # queued: two that come at once are two
    os.write(file, b".")
"""
COUNTED = signal.SIGRTMIN + 1


def counter(daemon, path):
    """A process that writes a byte for each signal it gets, behind one when it begins."""
    spec = ttrpc.make_spec("/usr/bin/python3", "-S", "-c", COUNTER, path, on_disconnect=processes.ON_DISCONNECT_KEEP)
    request = processes.StartRequest(spec=spec, idempotency_key=os.urandom(8).hex())
    child = again(daemon, "Processes", "Start", request, processes.Process())
    wait_size(path, 1)
    return child


def wait_size(path, size):
    while not os.path.exists(path) or os.path.getsize(path) < size:
        os.sched_yield()


def signals(daemon, directory):
    path = str(directory / "signals")

    def work(load):
        if not load.busy:
            load.busy = counter(daemon, path)
        key = os.urandom(8).hex()
        scope = random.choice((processes.KILL_SCOPE_CHILD, processes.KILL_SCOPE_GROUP))
        request = processes.SignalRequest(process=ref(load.busy), signal=COUNTED, scope=scope, idempotency_key=key)
        assert again(daemon, "Processes", "Signal", request, processes.KillReply()).ended == [load.busy.pid]
        wait_size(path, 2 + load.rounds)
        assert os.path.getsize(path) == 2 + load.rounds, "a signal came twice"

    return work


def stops(daemon, directory):
    def work(load):
        path = str(directory / f"stop{load.rounds}")
        child = counter(daemon, path)
        request = processes.StopRequest(process=ref(child), signal=COUNTED, grace_ms=random.choice((0, 50, 200)),
                                        idempotency_key=os.urandom(8).hex())
        assert not again(daemon, "Processes", "Stop", request, processes.KillReply()).survived
        ended = again(daemon, "Processes", "Wait", processes.WaitRequest(process=ref(child)), processes.Process())
        assert ended.exit.signal == signal.SIGKILL
        assert os.path.getsize(path) <= 2, "a signal came twice"
        remove = processes.RemoveRequest(process=ref(child), idempotency_key=os.urandom(8).hex())
        again(daemon, "Processes", "Remove", remove, processes.RemoveReply())

    return work


def logged(daemon, directory):
    """Every byte is in the log file and its predecessors once, whenever they were rotated."""
    want = b"".join(b"%d\n" % n for n in range(1, 100001))

    def work(load):
        path = directory / f"logged{load.rounds}"
        log = processes.LogFile(path=os.fsencode(path), max_bytes=10007, keep=1000)
        follower = Follower(daemon, "seq", "1", "100000", log_file=log)
        load.busy = follower
        assert follower.run().exit.code == 0
        files = sorted(directory.glob(path.name + ".*"), key=lambda file: -int(file.suffix[1:])) + [path]
        got = b"".join(file.read_bytes() for file in files)
        assert got == want, f"the files have {len(got)} of {len(want)} bytes"
        assert [int(file.suffix[1:]) for file in files[:-1]] == list(range(len(files) - 1, 0, -1))
        for file in files:
            file.unlink()

    return work


def ended(daemon):
    """What is kept of a process that nobody read."""
    want = b"".join(b"%d\n" % n for n in range(1, 1001))

    def work(load):
        spec = ttrpc.make_spec("seq", "1", "1000", on_disconnect=processes.ON_DISCONNECT_KEEP)
        request = processes.StartRequest(spec=spec, idempotency_key=os.urandom(8).hex())
        child = again(daemon, "Processes", "Start", request, processes.Process())
        waiting = processes.WaitRequest(process=ref(child), closed=True)
        closed = again(daemon, "Processes", "Wait", waiting, processes.Process())
        assert closed.exit.code == 0 and closed.exit.output[0].bytes == len(want) and closed.exit.output[0].complete
        assert kept(daemon, child) == want
        remove = processes.RemoveRequest(process=ref(child), idempotency_key=os.urandom(8).hex())
        again(daemon, "Processes", "Remove", remove, processes.RemoveReply())

    return work


def kept(daemon, child):
    """All output of slot 1 that is there."""
    while True:
        try:
            with daemon.client() as client:
                stream = client.stream("Processes", "Logs", processes.ProcessEvent)
                stream.send(processes.LogsRequest(start=processes.LogsStart(process=ref(child), slots=[1])))
                return b"".join(event.output.data for event in stream if event.WhichOneof("event") == "output")
        except (ttrpc.Closed, ConnectionError):
            pass


PHASES = {"kept", "direct", "cat", "logged", "launching", "recovering"}


def phases_now(loads, age):
    """What was going on: whose output or input flowed, whether a spawn was in flight, whether the engine had just begun."""
    followed = [load for load in loads if isinstance(load.busy, Follower)]
    flowing = {load.name for load in followed if load.busy.process is not None}
    launching = {"launching"} if any(load.busy.process is None for load in followed) else set()
    return (flowing & PHASES) | launching | ({"recovering"} if age < 0.02 else set())


def endure(daemon, tmp_path, count, strike, more=None):
    """The load, while the engine is struck again and again: `strike` returns how many engines died of it, when they have or soon will.
    Everything is accounted for at the end. more: further work by name. Returns the phases that were hit."""
    done, phases, marks = threading.Event(), collections.Counter(), tmp_path / "marks"
    works = {"kept": writer(daemon, KEPT), "direct": writer(daemon, DIRECT), "cat": cat(daemon)}
    works |= {"logged": logged(daemon, tmp_path)}
    works |= {"signals": signals(daemon, tmp_path), "stops": stops(daemon, tmp_path)}
    works |= {f"spawn{n}": spawner(daemon, marks) for n in range(4)}
    works |= {"ended": ended(daemon)} | (more or {})
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
        deaths = strike(daemon, pid)
        struck += deaths
        if not deaths:
            continue
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
