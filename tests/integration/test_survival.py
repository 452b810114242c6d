"""The engine is killed -9; what its processes, their output, input and clients see of it."""
import os
import pathlib
import random
import select
import signal
import time
import sys

import pytest

import ttrpc
from follower import Correspondent, Follower
from ttrpc import PIPE, PTY, RpcError, processes, ref, stdio


def kill_engine(daemon):
    """Kills it, and returns when a new one serves."""
    with daemon.client() as client:
        before = client.stats()
        os.kill(before.engine_pid, signal.SIGKILL)
    with daemon.client() as client:  # waits in the backlog of the socket
        after = client.stats()
    assert after.engine_pid != before.engine_pid and after.keeper_pid == before.keeper_pid
    return after


def read_all(daemon, process, slot=1):
    """Everything that is kept of a slot."""
    with daemon.client() as client:
        stream = client.stream("Processes", "Logs", processes.ProcessEvent)
        stream.send(processes.LogsRequest(start=processes.LogsStart(process=ref(process), slots=[slot], follow=True)))
        data = b""
        for event in stream:
            if event.WhichOneof("event") == "output":
                assert event.output.offset == len(data)
                data += event.output.data
                stream.send(processes.LogsRequest(grant=ttrpc.common.Grant(bytes=len(event.output.data), messages=1)))
        return data


def test_processes_are_taken_up_again(daemon, client):
    child = client.start("sh", "-c", "echo one; read x; echo two $x; exit 7", name="it", labels={"a": "b"},
                         stdio=[stdio(0, PIPE)], env=processes.Environment(set=[b"X=1"]))
    before = client.get(child)
    assert kill_engine(daemon).engine_restarts == 1
    with daemon.client() as again:
        after = again.get("it")
        for field in ("id", "name", "pid", "state", "labels", "argv", "started_at_ns", "transport", "spec", "uid", "tree"):
            assert getattr(after, field) == getattr(before, field), field
        write = again.stream("Processes", "Write", processes.WriteReply)
        write.send(processes.WriteRequest(start=processes.WriteStart(process=ref("it"))))
        write.send(processes.WriteRequest(data=processes.StdinData(data=b"more\n", eof=True)))
        write.half_close()
        ended = again.wait("it", closed=True)
        assert ended.exit.code == 7 and ended.exit.output[0].bytes == len(b"one\ntwo more\n")
    assert read_all(daemon, "it") == b"one\ntwo more\n"


def test_what_has_ended_is_kept_with_its_output(daemon, client):
    small = client.start("sh", "-c", "echo small; exit 3")
    large = client.start("sh", "-c", "seq 1 30000; exit 4")
    for child in (small, large):
        client.wait(child, closed=True)
    last = client.start("true").id
    kill_engine(daemon)
    kill_engine(daemon)
    with daemon.client() as again:
        assert again.get(small).exit.code == 3 and again.get(large).exit.code == 4
        assert again.start("true").id > last, "ids are never given twice"
    assert read_all(daemon, small) == b"small\n"
    assert read_all(daemon, large) == b"".join(b"%d\n" % n for n in range(1, 30001))


def test_an_exit_while_no_engine_was_there_is_not_lost(daemon, client, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = client.start("sh", "-c", f"cat {fifo} >/dev/null; echo late; exit 9")
    engine = client.stats().engine_pid
    os.kill(engine, signal.SIGSTOP)
    child_end = os.pidfd_open(child.pid)
    with open(fifo, "wb"):
        pass
    assert select.select([child_end], [], [], 30)[0]
    os.close(child_end)
    os.kill(engine, signal.SIGKILL)
    with daemon.client() as again:
        ended = again.wait(child, closed=True)
        assert ended.exit.code == 9
    assert read_all(daemon, child) == b"late\n"
    assert daemon.zombies() == []


def test_a_spawn_goes_on_where_its_client_was(daemon):
    def say(client, offsets):
        stream = client.stream("Processes", "Spawn", processes.ProcessEvent)
        start = processes.SpawnStart(spec=ttrpc.make_spec("cat"), idempotency_key="once")
        for slot, offset in offsets.items():
            getattr(start, "from").add(slot=slot, offset=offset)
        stream.send(processes.SpawnRequest(start=start))
        return stream

    with daemon.client() as client:
        stream = say(client, {})
        first = stream.receive().spawned
        stream.control(stdin=processes.StdinData(data=b"hello "))
        assert stream.receive().output.data == b"hello "
        kill_engine(daemon)
    with daemon.client() as client:
        stream = say(client, {1: 6})
        again = stream.receive().spawned
        assert (again.id, again.pid) == (first.id, first.pid)
        assert [(o.slot, o.offset) for o in again.stdin] == [(0, 6)]
        stream.control(stdin=processes.StdinData(data=b"lo world", offset=3, eof=True))
        output, names, closed = stream.collect()
        assert output == {1: b"world"} and closed.exit.code == 0
        assert closed.exit.output[0].bytes == len(b"hello world")


@pytest.mark.parametrize("transport", [processes.TRANSPORT_KEPT, processes.TRANSPORT_DIRECT])
def test_every_byte_comes_once(daemon, transport):
    want = b"".join(b"%d\n" % n for n in range(1, 400001))
    kills = 0

    def kill(follower):
        nonlocal kills
        if kills < 5 and len(follower.output[1]) > (kills + 1) * 300000:
            try:
                os.kill(follower.engine, signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass  # what it left is still being read

    follower = Follower(daemon, "sh", "-c", "seq 1 400000; exit 5", transport=transport)
    closed = follower.run(kill)
    assert kills == 5 and bytes(follower.output[1]) == want and closed.exit.code == 5
    assert closed.exit.output[0].bytes == len(want) and closed.exit.output[0].complete


def test_input_that_was_given_whole_is_not_given_again(daemon):
    data = os.urandom(300000)
    follower = Follower(daemon, "cat", input=data)
    with daemon.client() as client:
        closed = follower.once(client, None)
    assert closed.exit.code == 0
    kill_engine(daemon)
    with daemon.client() as client:
        stream = client.stream("Processes", "Spawn", processes.ProcessEvent)
        stream.send(processes.SpawnRequest(start=processes.SpawnStart(idempotency_key=follower.key, spec=follower.spec)))
        assert [(o.slot, o.offset) for o in stream.receive().spawned.stdin] == [(0, len(data))]


def test_a_timeout_and_a_stop_go_on(daemon, client):
    timed = client.start("sleep", "1000", timeout_ms=1500)
    stubborn = client.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done", grace_ms=1500)
    with daemon.client() as stopper:
        reader = stopper.stream("Processes", "Attach", processes.ProcessEvent)
        reader.send(processes.AttachRequest(start=processes.AttachStart(process=ref(stubborn), from_retained=True)))
        while reader.receive().WhichOneof("event") != "output":
            pass
        stopper.start_unary("Processes", "Stop", processes.StopRequest(process=ref(stubborn)))
        while stopper.get(stubborn).state != processes.PROCESS_STATE_STOPPING:
            pass
        kill_engine(daemon)
    with daemon.client() as again:
        assert again.wait(timed, closed=True).exit.reason == ttrpc.common.EXIT_REASON_TIMEOUT
        ended = again.wait(stubborn, closed=True).exit
        assert ended.reason == ttrpc.common.EXIT_REASON_STOPPED and ended.signal == signal.SIGKILL


def test_answers_of_acts_are_remembered(daemon, client):
    child = client.start("sleep", "1000")
    request = processes.SignalRequest(process=ref(child), signal=signal.SIGKILL, idempotency_key="kill")
    client.call("Processes", "Signal", request, processes.KillReply())
    client.wait(child, closed=True)
    remove = processes.RemoveRequest(process=ref(child), idempotency_key="remove")
    client.call("Processes", "Remove", remove, processes.RemoveReply())
    kill_engine(daemon)
    with daemon.client() as again:
        again.call("Processes", "Remove", remove, processes.RemoveReply())
        with pytest.raises(RpcError):
            again.get(child)


def test_a_terminal_goes_on(daemon, client):
    child = client.start("sh", "-c", "stty -echo; read x; echo got $x; exit 4",
                         stdio=[stdio(n, PTY) for n in range(3)])
    kill_engine(daemon)
    with daemon.client() as again:
        attach = again.stream("Processes", "Attach", processes.ProcessEvent)
        attach.send(processes.AttachRequest(start=processes.AttachStart(process=ref(child), from_retained=True)))
        attach.send(processes.AttachRequest(control=processes.ProcessControl(stdin=processes.StdinData(data=b"this\n"))))
        data = b""
        for event in attach:
            if event.WhichOneof("event") == "output":
                data += event.output.data
        assert b"got this" in data
        assert again.wait(child, closed=True).exit.code == 4


def test_events_go_on_counting(daemon, client):
    client.start("true")
    child = client.start("true")
    client.wait(child, closed=True)
    with daemon.client() as reader:
        stream = reader.stream("Events", "Subscribe", ttrpc.events.Event)
        stream.send(ttrpc.events.SubscribeRequest(start=ttrpc.events.SubscribeStart(since_seq=1)))
        last = stream.receive().seq
    kill_engine(daemon)
    with daemon.client() as again:
        stream = again.stream("Events", "Subscribe", ttrpc.events.Event)
        stream.send(ttrpc.events.SubscribeRequest(start=ttrpc.events.SubscribeStart(since_seq=last)))
        gap = stream.receive()
        assert gap.type == "gap" and gap.gap.first == last
        again.start("true")
        assert stream.receive().seq == gap.gap.last + 1


def programs(daemon, name):
    """Pids of the keeper's children that run one of our programs."""
    found = []
    for pid in pathlib.Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split():
        try:
            if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(int(pid))
        except FileNotFoundError:
            pass
    return found


def test_a_killed_launcher_leaves_a_child_or_none(daemon, client, tmp_path):
    marks, good = tmp_path / "marks", []
    for n in range(100):
        launchers = programs(daemon, "spawnd-launcher")  # now, while no child is on its way to exec
        stream = client.spawn("sh", "-c", f"echo {n} >>{marks}; exit 3")
        for pid in launchers if n % 3 == 0 else ():
            os.kill(pid, signal.SIGKILL)
        try:
            closed = stream.collect()[2]
            assert closed.exit.code == 3
            good.append(n)
        except RpcError as error:
            assert error.code in ("UNAVAILABLE", "ABORTED"), error
    ran = sorted(map(int, marks.read_text().split()))
    assert ran == good and len(good) >= 60
    assert daemon.zombies() == []


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def writer_of(follower):
    """The one child of the shell that the follower started."""
    return pathlib.Path(f"/proc/{follower.pid}/task/{follower.pid}/children").read_text().split()[0]


def test_a_stopped_engine_loses_nothing(daemon):
    stopped = []

    def stop(follower):
        if not stopped and len(follower.output[1]) > 100000:
            stopped.append(follower.engine)
            os.kill(follower.engine, signal.SIGSTOP)
            while state_of(writer_of(follower)) != "S":
                os.sched_yield()  # until its pipe is full and it waits for us
            os.kill(follower.engine, signal.SIGCONT)

    follower = Follower(daemon, "sh", "-c", "seq 1 200000; exit 6")
    assert follower.run(stop).exit.code == 6 and stopped
    assert bytes(follower.output[1]) == b"".join(b"%d\n" % n for n in range(1, 200001))


def test_without_its_keeper_the_engine_ends_and_children_run_on(make_daemon, tmp_path):
    daemon = make_daemon()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with daemon.client() as client:
        child = client.start("sh", "-c", f"cat {fifo} >/dev/null")
        engine = os.pidfd_open(client.stats().engine_pid)
    running = os.pidfd_open(child.pid)
    daemon.process.kill()
    daemon.process.wait()
    assert select.select([engine], [], [], 30)[0]
    assert not select.select([running], [], [], 0)[0]
    with open(fifo, "wb"):
        pass
    assert select.select([running], [], [], 30)[0]
    assert "the keeper is gone" in daemon.log.read_text()
    os.close(engine)
    os.close(running)
    daemon.stop = lambda: None  # there is nothing left to end


ECHO_NODE = ("node", "-e", "let left = +process.argv[1]; process.on('message', (m) => process.send(m, () => --left || process.disconnect()))")
ECHO_NATIVE = (sys.executable, "-c", f"""if True:
    import sys
    sys.path.insert(0, {str(ttrpc.ROOT / 'client' / 'python')!r})
    import spawnd_child
    channel = spawnd_child.attach()
    for _ in range(int(sys.argv[1])):
        channel.send(channel.receive().data)
    channel.disconnect()
""")


@pytest.mark.parametrize("child, serialization", [(ECHO_NODE, processes.SERIALIZATION_JSON), (ECHO_NATIVE, processes.SERIALIZATION_NATIVE)],
                         ids=["json", "native"])
def test_messages_come_once_whatever_happens_to_the_engine(daemon, child, serialization):
    letters = [b'"%d %s"' % (n, b"x" * random.choice((0, 10, 1000, 50000))) for n in range(3000)]
    kills = [100, 700, 1300, 1301, 2500, 2990]

    def on_message(correspondent):
        if kills and correspondent.engine and len(correspondent.got) >= kills[0]:
            kills.pop(0)
            os.kill(correspondent.engine, signal.SIGKILL)
            correspondent.engine = None  # what it had sent is still read

    correspondent = Correspondent(daemon, *child, str(len(letters)), letters=letters, serialization=serialization)
    closed = correspondent.run(on_message)
    assert not kills and closed.exit.code == 0 and not correspondent.failed, (len(correspondent.got), correspondent.ending, closed, correspondent.failed)
    assert [letter.split(b" ")[0] for letter in correspondent.got] == [letter.split(b" ")[0] for letter in letters]
    assert correspondent.got == letters
    assert correspondent.ending.reason == processes.Disconnected.REASON_CHILD


def back_at_once(daemon, gate, method, start):
    """Starts it, kills the engine, comes back, opens the gate: the events then, which must not wait for anybody."""
    kinds = {"Spawn": (processes.SpawnRequest, processes.ProcessEvent), "Run": (processes.RunRequest, processes.RunReply)}
    request, reply = kinds[method]
    with daemon.client() as client:
        stream = client.stream("Processes", method, reply)
        stream.send(request(start=start))
        while client.stats().processes == 0:
            pass
        os.kill(client.stats().engine_pid, signal.SIGKILL)
    begin = time.monotonic()
    with daemon.client(timeout=30) as client:
        stream = client.stream("Processes", method, reply)
        stream.send(request(start=start))
        with open(gate, "wb"):
            pass
        events = list(stream)
    assert time.monotonic() - begin < 8, "it waited for a reader that does not come"
    return events


def test_slots_that_its_client_does_not_read_wait_for_nobody(daemon, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    line = f"cat {gate}; seq 1 100000; seq 1 100000 >&2; exit 3"
    start = processes.SpawnStart(spec=ttrpc.make_spec("sh", "-c", line), reader=processes.Reader(none=True), idempotency_key="none")
    events = back_at_once(daemon, gate, "Spawn", start)
    assert events[-1].closed.exit.code == 3 and [o.bytes for o in events[-1].closed.exit.output] == [588895, 588895]


def test_slots_of_a_run_that_come_late_wait_for_nobody(daemon, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    capture = processes.Capture(limit=1000, policy=processes.Capture.POLICY_CUT_HEAD)
    spec = ttrpc.make_spec("sh", "-c", f"cat {gate}; seq 1 100000; exit 3", stdio=[stdio(1, PIPE, capture=capture)])
    events = back_at_once(daemon, gate, "Run", processes.RunStart(spec=spec, idempotency_key="late"))
    assert events[-1].result.exit.code == 3
    assert b"".join(e.output.data for e in events[:-1]) == b"".join(b"%d\n" % n for n in range(1, 100001))[-1000:]


def test_a_large_message_that_was_half_moved_ends_its_channel(daemon):
    script = "process.send('small'); process.send('x'.repeat(8 << 20)); process.on('message', () => {})"

    def on_message(correspondent):
        if correspondent.engine and len(correspondent.part) > 2 << 20:
            os.kill(correspondent.engine, signal.SIGKILL)
            correspondent.engine = None

    correspondent = Correspondent(daemon, "node", "-e", script)
    correspondent.run(on_message)
    assert correspondent.got == [b'"small"']
    assert correspondent.ending.reason == processes.Disconnected.REASON_ENGINE_LOST
    with daemon.client() as client:
        assert client.stats().channels_lost_total == 1
