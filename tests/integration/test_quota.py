"""What a user may have of what all share: each quota exhausted by one, others unaffected; and one that only tries to be in the way."""
import array
import contextlib
import os
import re
import signal
import socket
import struct

import pytest

import ttrpc
from test_survival import kill_engine
from ttrpc import REQUEST, Closed, admin, common, envelope, processes
from users import ALICE, BOB, CAROL, client, configure, refusal, reload

GRANTS = [f"grant = uid:{uid} spawn observe" for uid in (ALICE, BOB)]
EXHAUSTED = "RESOURCE_EXHAUSTED"
SANITIZED = bool(os.environ.get("SPAWND_SANITIZED"))  # such a program keeps much of what it frees


def alice_may(**quotas):
    return f"quota = uid:{ALICE} " + " ".join(f"{name.replace('_', '-')}={value}" for name, value in quotas.items())


def use_of(connected, uid, name):
    """(used, limit or None) as Stats tells it."""
    for user in connected.stats().users:
        for quota in user.quotas:
            if (user.uid, quota.name) == (uid, name):
                return quota.used, quota.limit if quota.HasField("limit") else None
    return 0, None


def bob_is_well(daemon):
    """He connects, runs something that writes and reads, and sees how it ended."""
    with client(daemon, BOB) as bob:
        bob.hello()
        stream = bob.spawn("sh", "-c", "read x; echo got $x; exit 3", stdio=[ttrpc.stdio(0, ttrpc.PIPE)])
        data = processes.StdinData(slot=0, data=b"it\n")
        stream.send(processes.SpawnRequest(control=processes.ProcessControl(stdin=data)))
        told = list(stream)
        assert b"".join(event.output.data for event in told if event.HasField("output")) == b"got it\n"
        assert told[-1].closed.exit.code == 3


def start(connected, *argv, **spec):
    return connected.start(*(argv or ("sleep", "1000")), **spec)


# ---- each quota

def test_processes(open_daemon):
    daemon = open_daemon(*GRANTS, alice_may(processes=3))
    with client(daemon, ALICE) as alice, client(daemon, BOB) as bob:
        own = [start(alice) for _ in range(3)]
        error = refusal(lambda: start(alice), EXHAUSTED)
        assert f"quota processes of uid {ALICE} is 3: 3 in use, 1 more asked for" in error.message
        stream = alice.spawn("true")
        assert "quota processes" in refusal(lambda: list(stream), EXHAUSTED).message
        assert use_of(bob, ALICE, "processes") == (3, 3)
        for _ in range(5):
            start(bob)
        bob_is_well(daemon)
        os.kill(own[0].pid, signal.SIGKILL)
        alice.wait(own[0])
        own[0] = start(alice)
        refusal(lambda: start(alice), EXHAUSTED)


def test_descriptors(open_daemon):
    daemon = open_daemon(*GRANTS, alice_may(descriptors=29))
    pipes = [ttrpc.stdio(slot, ttrpc.PIPE) for slot in range(3)]
    with client(daemon, ALICE) as alice:
        own = [start(alice, stdio=pipes) for _ in range(3)]
        error = refusal(lambda: start(alice, stdio=pipes), EXHAUSTED)
        assert re.search(rf"quota descriptors of uid {ALICE} is 29: \d+ in use, \d+ more asked for", error.message)
        bob_is_well(daemon)
        os.kill(own[0].pid, signal.SIGKILL)
        alice.wait(own[0], closed=True)
        start(alice, stdio=pipes)


def test_log_bytes(open_daemon):
    daemon = open_daemon(*GRANTS, alice_may(log_bytes="2M"))
    with client(daemon, ALICE) as alice:
        own = start(alice, "sh", "-c", "head -c 1000000 /dev/zero; read x", retain_bytes=900 << 10,
                    stdio=[ttrpc.stdio(0, ttrpc.PIPE), ttrpc.stdio(1, ttrpc.PIPE), ttrpc.stdio(2, ttrpc.PIPE)])
        error = refusal(lambda: start(alice), EXHAUSTED)
        assert f"quota log-bytes of uid {ALICE} is {2 << 20}:" in error.message
        assert "quota log-bytes" in refusal(lambda: start(alice, retain_bytes=1 << 30), EXHAUSTED).message
        bob_is_well(daemon)
        os.kill(own.pid, signal.SIGKILL)
        alice.wait(own, closed=True)
        assert use_of(alice, ALICE, "log-bytes") == (900 << 10, 2 << 20)  # what is kept of it
        start(alice)
        assert alice.get(own).id == own.id
        start(alice, retain_bytes=700 << 10, name="more")  # what has ended makes room
        refusal(lambda: alice.get(own), "NOT_FOUND")


def test_connections(open_daemon):
    daemon = open_daemon(*GRANTS, alice_may(connections=3))
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(client(daemon, ALICE)).stats()
        third = stack.enter_context(contextlib.ExitStack())
        third.enter_context(client(daemon, ALICE)).stats()
        with client(daemon, ALICE) as fourth:
            error = refusal(lambda: fourth.finish_unary(1, admin.PingReply()), EXHAUSTED)
            assert f"quota connections of uid {ALICE} is 3: 3 in use, 1 more asked for" in error.message
            with pytest.raises((Closed, ConnectionError)):
                fourth.read_frame()
        bob_is_well(daemon)
        third.close()
        with client(daemon, BOB) as bob:
            while use_of(bob, ALICE, "connections") != (2, 3):
                pass
        with client(daemon, ALICE) as again:
            again.stats()


def test_memory_of_a_session_and_of_specs(open_daemon):
    daemon = open_daemon(*GRANTS, alice_may(memory="2M"))
    with client(daemon, ALICE) as alice:
        big = [b"X%d=" % i + b"x" * 100000 for i in range(24)]
        error = refusal(lambda: alice.hello(env=big), EXHAUSTED)
        assert f"quota memory of uid {ALICE} is {2 << 20}" in error.message
        alice.hello(env=big[:6])
        assert use_of(alice, ALICE, "memory")[0] > 600000

        def start_some():
            for _ in range(4):
                start(alice)  # its environment is kept with it

        assert "quota memory" in refusal(start_some, EXHAUSTED).message
        bob_is_well(daemon)


def test_memory_of_a_frame(open_daemon):
    daemon = open_daemon(*GRANTS, alice_may(memory="1M"))
    with client(daemon, ALICE) as alice:
        call = envelope.Request(service="spawnd.v1.Admin", method="Ping", payload=bytes(2 << 20)).SerializeToString()
        stream = alice.take_stream()
        alice.send_frame(stream, REQUEST, 0, call)
        error = refusal(lambda: alice.finish_unary(stream, admin.PingReply()), EXHAUSTED)
        assert f"quota memory of uid {ALICE} is {1 << 20}" in error.message
        alice.call("Admin", "Ping", admin.PingRequest(payload=b"x"), admin.PingReply())
        bob_is_well(daemon)


def test_memory_of_input_that_nobody_reads(open_daemon):
    daemon = open_daemon(*GRANTS, alice_may(memory="2M"))
    piece = processes.StdinData(slot=0, data=bytes(200 << 10))
    with client(daemon, ALICE) as alice:
        own = start(alice, stdio=[ttrpc.stdio(0, ttrpc.PIPE)])

        def write():
            """As much as a writer may send at once."""
            stream = alice.stream("Processes", "Write", processes.WriteReply)
            stream.send(processes.WriteRequest(start=processes.WriteStart(process=ttrpc.ref(own))))
            for _ in range(5):
                stream.send(processes.WriteRequest(data=piece))
            return stream

        streams = [write() for _ in range(5)]
        assert "quota memory" in refusal(lambda: list(streams[-1]), EXHAUSTED).message
        with client(daemon, BOB) as bob:
            used, limit = use_of(bob, ALICE, "memory")
            assert used < limit + (1 << 20)
        bob_is_well(daemon)
        os.kill(own.pid, signal.SIGKILL)
        with client(daemon, BOB) as bob:
            while use_of(bob, ALICE, "memory")[0] > 700 << 10:  # room for one large frame is kept
                pass
        start(alice)


# ---- what holds for all of them

def test_they_are_counted_again_after_the_engine_was_killed(open_daemon):
    daemon = open_daemon(*GRANTS, alice_may(processes=3, descriptors=500, log_bytes="8M", memory="4M"))
    pipes = [ttrpc.stdio(slot, ttrpc.PIPE) for slot in range(3)]
    names = ["processes", "descriptors", "log-bytes"]

    def used(root):
        return [use_of(root, ALICE, name) for name in names]

    with client(daemon, ALICE) as alice:
        ended = start(alice, "sh", "-c", "head -c 100000 /dev/zero", stdio=pipes)
        alice.wait(ended, closed=True)
        named = start(alice, "true", name="kept")
        alice.wait(named, closed=True)
        own = [start(alice, stdio=pipes) for _ in range(2)]
    with daemon.client() as root:
        while use_of(root, ALICE, "connections")[0]:
            pass
        before = used(root)
        memory = use_of(root, ALICE, "memory")[0]
    assert before[0] == (3, 3)
    kill_engine(daemon)
    with daemon.client() as root:
        assert used(root) == before
        assert use_of(root, ALICE, "memory")[0] == memory
    with client(daemon, ALICE) as alice:
        start(alice)  # what has ended makes room, though it has a name
        refusal(lambda: alice.get("kept"), "NOT_FOUND")
        assert "quota processes" in refusal(lambda: start(alice), EXHAUSTED).message
        os.kill(own[0].pid, signal.SIGKILL)
        alice.wait(own[0], closed=True)
        start(alice)
        refusal(lambda: start(alice), EXHAUSTED)
    bob_is_well(daemon)


def test_limits_change_with_sighup(open_daemon):
    daemon = open_daemon(*GRANTS, alice_may(processes=1))
    with client(daemon, ALICE) as alice:
        start(alice)
        refusal(lambda: start(alice), EXHAUSTED)
        reload(daemon, *GRANTS, alice_may(processes=3))
        start(alice)
        reload(daemon, *GRANTS, "quota = others processes=1")
        assert use_of(alice, ALICE, "processes") == (2, 1)
        assert "is 1: 2 in use" in refusal(lambda: start(alice), EXHAUSTED).message
        reload(daemon, *GRANTS, "quota = others processes=many")
        assert "quota: processes=many has no number" in daemon.log.read_text()
        assert use_of(alice, ALICE, "processes") == (2, 1)


def test_by_default_others_have_a_part_and_masters_everything(open_daemon):
    daemon = open_daemon(*GRANTS)
    with client(daemon, ALICE) as alice, client(daemon, 0) as root:
        start(root)
        for name in ("processes", "descriptors", "log-bytes", "connections", "memory"):
            assert use_of(alice, ALICE, name)[1] > 0
            assert use_of(alice, 0, name)[1] is None


def test_status_and_metrics_show_them(open_daemon):
    daemon = open_daemon(*GRANTS, alice_may(processes=5))
    with client(daemon, ALICE) as alice:
        start(alice)
        [status] = daemon.ctl("daemon", "status", json_lines=True)
        [user] = [user for user in status["users"] if user["uid"] == ALICE]
        quotas = {quota["name"]: quota for quota in user["quotas"]}
        assert (quotas["processes"]["used"], quotas["processes"]["limit"]) == (1, 5)
        text = daemon.ctl("daemon", "status", check=0).stdout.decode()
        assert re.search(rf"^uid {ALICE} .*processes 1 of 5, descriptors \d+ of \d+", text, re.M)
        assert re.search(r"^uid 0 .*processes 0, descriptors \d+, ", text, re.M)
        text = daemon.ctl("metrics", check=0).stdout.decode()
        assert f'spawnd_quota_used{{uid="{ALICE}",quota="processes"}} 1\n' in text
        assert f'spawnd_quota_limit{{uid="{ALICE}",quota="processes"}} 5\n' in text
        assert 'spawnd_quota_limit{uid="0"' not in text


def test_what_is_persisted_starts_within_the_quota_of_its_owner(open_daemon, tmp_path):
    daemon = open_daemon(*GRANTS, args=["--state-dir", str(tmp_path / "state")])
    with client(daemon, ALICE) as alice, client(daemon, BOB) as bob:
        for i in range(3):
            start(alice, name=f"alices-{i}", persist=True)
        start(bob, name="bobs", persist=True)
    daemon.stop()
    configure(daemon.directory, *GRANTS, alice_may(processes=2))
    daemon.start()
    with client(daemon, ALICE) as alice, client(daemon, BOB) as bob:
        assert use_of(bob, ALICE, "processes") == (2, 2)
        assert use_of(bob, BOB, "processes")[0] == 1
        for process in alice.call("Processes", "List", processes.ListRequest(), processes.ListReply()).processes:
            assert (os.stat(f"/proc/{process.pid}").st_uid == ALICE) == process.name.startswith("alices")
    assert f"is not started: quota processes of uid {ALICE} is 2" in daemon.log.read_text()


# ---- one that tries to be in the way

def test_a_stranger_that_connects_without_end(open_daemon):
    daemon = open_daemon(*GRANTS)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(CAROL)
            os.setuid(CAROL)
            while True:
                with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.connect(str(daemon.socket))
        finally:
            os._exit(1)
    try:
        with daemon.client() as root:
            while f"refused connect to uid {CAROL}" not in daemon.log.read_text():
                root.stats()
        for _ in range(20):
            bob_is_well(daemon)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with daemon.client() as root:
        assert use_of(root, CAROL, "connections")[0] == 0


def test_half_frames_full_of_descriptors(open_daemon):
    """Each message carries 253 descriptors of a frame that never comes."""
    daemon = open_daemon(*GRANTS, alice_may(descriptors=1000))
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            alice = stack.enter_context(client(daemon, ALICE))
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [alice.socket.fileno()] * 253))]
            with contextlib.suppress(ConnectionError):
                alice.socket.sendmsg([struct.pack(">I", 100)], rights)
        with client(daemon, BOB) as bob:
            while "descriptors without their frames" not in daemon.log.read_text() and use_of(bob, ALICE, "connections")[0] == 8:
                pass
            assert use_of(bob, ALICE, "descriptors")[0] <= 1000 + 253 + 2
            assert bob.stats().fds < 1500
        bob_is_well(daemon)


def test_a_flood_of_requests_on_many_connections(open_daemon):
    """Sent without reading a single answer."""
    daemon = open_daemon(*GRANTS, alice_may(memory="8M"))
    call = envelope.Request(service="spawnd.v1.Admin", method="Stats").SerializeToString()
    with contextlib.ExitStack() as stack:
        flooding = [stack.enter_context(client(daemon, ALICE)) for _ in range(20)]
        for connected in flooding:
            connected.socket.setblocking(False)
        for _ in range(5):
            for connected in flooding:
                with contextlib.suppress(BlockingIOError):
                    for _ in range(2000):
                        connected.send_frame(connected.take_stream(), REQUEST, 0, call)
            bob_is_well(daemon)
        with client(daemon, BOB) as bob:
            used, limit = use_of(bob, ALICE, "memory")
            assert used < limit + (4 << 20)
            assert SANITIZED or bob.stats().rss_bytes < 200 << 20


def test_slow_readers_of_much_output(open_daemon):
    """Output that is never taken holds up its own process, and costs no more than its log."""
    daemon = open_daemon(*GRANTS, alice_may(memory="8M", log_bytes="64M"))
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            alice = stack.enter_context(client(daemon, ALICE))
            stream = alice.spawn("cat", "/dev/zero")
            endless = common.Grant(bytes=1 << 40, messages=64)
            stream.send(processes.SpawnRequest(control=processes.ProcessControl(grant=endless)))
        bob_is_well(daemon)
        with client(daemon, BOB) as bob:
            used, limit = use_of(bob, ALICE, "memory")
            assert used < limit
            used, limit = use_of(bob, ALICE, "log-bytes")
            assert used <= limit
        bob_is_well(daemon)


def test_frames_as_large_as_may_be_that_never_end(open_daemon):
    daemon = open_daemon(*GRANTS, alice_may(memory="8M"))
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            alice = stack.enter_context(client(daemon, ALICE))
            alice.socket.sendall(struct.pack(">IIBB", 4 << 20, 1, REQUEST, 0) + bytes(3 << 20))
        with client(daemon, BOB) as bob:
            used, limit = use_of(bob, ALICE, "memory")
            assert used < limit + (2 << 20)
            assert SANITIZED or bob.stats().rss_bytes < 100 << 20
        bob_is_well(daemon)


def test_launchers_blocked_by_one_user(open_daemon):
    """A FIFO that nobody opens blocks whoever opens it: others still start things."""
    daemon = open_daemon(*GRANTS)
    fifo = daemon.directory / "fifo"
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    slot = ttrpc.stdio(0, ttrpc.FILE, file=processes.FileSpec(path=str(fifo).encode()))
    with client(daemon, ALICE) as alice:
        pending = [alice.start_unary("Processes", "Start", processes.StartRequest(spec=ttrpc.make_spec("true", stdio=[slot])))
                   for _ in range(12)]
        bob_is_well(daemon)
        last = pending[-1]
        assert alice.frame_of(last)  # refused, once her part is blocked
        error = refusal(lambda: alice.start("true"), EXHAUSTED)
        assert f"uid {ALICE} has 6 launchers blocked" in error.message
        bob_is_well(daemon)
        with open(fifo, "wb", buffering=0):
            for stream in pending[:6]:
                alice.frame_of(stream)
        start(alice)


def test_nobody_makes_the_keys_of_others_be_forgotten(open_daemon):
    daemon = open_daemon(*GRANTS)
    with client(daemon, ALICE) as alice, client(daemon, BOB) as bob:
        request = processes.StartRequest(spec=ttrpc.make_spec("sleep", "1000"), idempotency_key="once")
        first = bob.call("Processes", "Start", request, processes.Process())
        own = start(alice)
        for i in range(300):
            keyed = [alice.start_unary("Processes", "Signal", processes.SignalRequest(
                process=ttrpc.ref(own), signal=0, idempotency_key=f"{i}.{j}")) for j in range(400)]
            for stream in keyed:
                alice.finish_unary(stream, processes.KillReply())
        assert bob.call("Processes", "Start", request, processes.Process()).id == first.id
