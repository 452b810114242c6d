"""Edges of the daemon: signals that are not for it, times of very short children, what is left of a tree, bounds."""
import ctypes
import errno
import os
import select
import signal
import struct

import pytest

import ttrpc
from ttrpc import NULL, PIPE, RpcError, common, processes, ref, stdio

STRAY = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPIPE", "SIGIO", "SIGPWR", "SIGSTKFLT", "SIGXCPU",
         "SIGXFSZ", "SIGRTMIN", "SIGRTMAX"]


def test_signals_without_a_meaning_end_neither_keeper_nor_engine(daemon, client):
    before = client.stats()
    for name in STRAY:
        for pid in (before.keeper_pid, before.engine_pid):
            os.kill(pid, getattr(signal, name))
        assert client.wait(client.start("true"), closed=True).exit.code == 0, name
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        os.kill(before.engine_pid, number)
    after = client.stats()
    assert (after.keeper_pid, after.engine_pid, after.engine_restarts) == (before.keeper_pid, before.engine_pid, 0)


def ignore_all():
    """Every signal, those the C library hides too: by the raw call."""
    ignore = (ctypes.c_uint64 * 4)(1, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 13, "aarch64": 134}[os.uname().machine]
    for at in range(1, 65):
        if at not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS):
            libc.syscall(number, at, ignore, None, ctypes.c_size_t(8))


def test_nothing_of_the_starters_dispositions_reaches_a_child(make_daemon):
    daemon = make_daemon(preexec=ignore_all)
    with daemon.client() as client:
        client.hello()
        output, _, _ = client.spawn("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status").collect()
    assert [line.split()[1] for line in output[1].splitlines()] == [b"0" * 16] * 2


def test_nothing_ends_before_it_began(client):
    for _ in range(30):
        ended = client.wait(client.start("true"), closed=True)
        assert 0 < ended.started_at_ns <= ended.exit.exited_at_ns


# ---- log files ----


def subscribe(client, *types):
    stream = client.stream("Events", "Subscribe", ttrpc.events.Event)
    stream.send(ttrpc.events.SubscribeRequest(start=ttrpc.events.SubscribeStart(types=types)))
    client.stats()  # it has begun
    return stream


def metrics(client):
    return client.call("Admin", "Metrics", ttrpc.admin.MetricsRequest(), ttrpc.admin.MetricsReply()).text


def test_a_log_file_that_cannot_be_written_shows_everywhere_and_recovers(client, tmp_path):
    log, blocker = tmp_path / "log", tmp_path / "log.1"
    (blocker / "x").mkdir(parents=True)  # a rotation cannot replace it
    client.hello()
    events = subscribe(client, "log_failed", "log_recovered")
    stream = client.spawn("cat", reader=processes.Reader(none=True),
                          log_file=processes.LogFile(path=str(log).encode(), max_bytes=1000, keep=1))
    cat = stream.receive().spawned.id
    stream.write(b"a" * 1000)
    stream.write(b"b" * 500)
    failed = events.receive()
    assert (failed.type, failed.log_failed.code, failed.log_failed.path) == ("log_failed", "EISDIR", str(log).encode())
    assert failed.log_failed.lost_bytes >= 1 and failed.process == cat
    process, stats = client.get(cat), client.stats()
    assert process.log_error == "EISDIR" and process.log_lost_bytes >= failed.log_failed.lost_bytes
    assert stats.logs_failing == 1 and stats.log_lost_bytes >= failed.log_failed.lost_bytes
    assert any(str(log) in sentence and "EISDIR" in sentence for sentence in stats.degraded)
    assert "spawnd_log_files_failing 1\n" in metrics(client)
    (blocker / "x").rmdir()
    blocker.rmdir()
    while client.get(cat).log_error:
        stream.write(b"c" * 10)
    assert events.receive().type == "log_recovered"
    stats = client.stats()
    assert stats.logs_failing == 0 and not any(str(log) in sentence for sentence in stats.degraded)
    stream.write(b"", eof=True)
    stream.collect()
    assert log.read_bytes().strip(b"c") == b"" and blocker.read_bytes() == b"a" * 1000


def test_what_a_log_file_misses_is_known_after_the_end_and_after_the_engine(daemon, client, tmp_path):
    log = tmp_path / "log"
    (tmp_path / "log.1" / "x").mkdir(parents=True)
    process = client.start("head", "-c", "3000", "/dev/zero", log_file=processes.LogFile(path=str(log).encode(), max_bytes=1000, keep=1))
    client.wait(process, closed=True)
    for _ in range(2):
        now, stats = client.get(process), client.stats()
        assert (now.log_error, now.log_lost_bytes) == ("EISDIR", 3000 - log.stat().st_size) and now.log_lost_bytes > 0
        assert stats.log_lost_bytes == now.log_lost_bytes and stats.logs_failing == 0
        os.kill(stats.engine_pid, signal.SIGKILL)
        client = daemon.client()


def test_an_ended_process_holds_no_descriptor_of_its_log_file(daemon, client, tmp_path):
    log = tmp_path / "log"
    process = client.start("sh", "-c", "echo hello; seq 1 3000", retain_bytes=4096, log_file=processes.LogFile(path=str(log).encode()))
    client.wait(process, closed=True)
    engine = client.stats().engine_pid

    def open_logs():
        return [fd for fd in os.listdir(f"/proc/{engine}/fd") if os.readlink(f"/proc/{engine}/fd/{fd}").startswith(str(log))]

    assert open_logs() == []
    assert daemon.ctl("logs", process.id, check=0).stdout == log.read_bytes()
    client.stats()
    assert open_logs() == []


def test_a_log_file_moved_away_is_begun_anew(client, tmp_path):
    log, old = tmp_path / "log", tmp_path / "log-20240101"
    client.hello()
    stream = client.spawn("cat", reader=processes.Reader(none=True), log_file=processes.LogFile(path=str(log).encode()))
    cat = stream.receive().spawned.id
    stream.write(b"before\n")
    while not log.stat().st_size:
        client.stats()
    log.rename(old)
    while not log.exists():  # within a second of output
        stream.write(b"x\n")
        client.get(cat)
    stream.write(b"", eof=True)
    stream.collect()
    assert old.read_bytes().startswith(b"before\n") and log.stat().st_size > 0


# ---- what is left of a tree ----


def is_gone(pidfd):
    return bool(select.select([pidfd], [], [], 30)[0])


@pytest.mark.parametrize("what", ["STOP", "HANGUP", "KEEP"])
def test_a_client_that_vanishes_between_exited_and_closed_leaves_what_it_asked_to_keep(daemon, what):
    with daemon.client() as client:
        client.hello()
        stream = client.spawn("sh", "-c", "sleep 1000 & echo $!", drain_timeout_ms=60000, on_disconnect=f"ON_DISCONNECT_{what}")
        events = {event.WhichOneof("event"): event for event in (stream.receive() for _ in range(3))}
        assert set(events) == {"spawned", "output", "exited"}
        pid = int(events["output"].output.data)
        left = os.pidfd_open(pid)
    if what == "KEEP":
        with daemon.client() as client:
            client.wait(client.start("true"), closed=True)
            assert not select.select([left], [], [], 0)[0]
            daemon.ctl("stop", events["spawned"].spawned.id, check=0)
    assert is_gone(left)
    os.close(left)


def test_a_client_that_vanishes_takes_the_tree_of_its_handover_along(daemon):
    with daemon.client() as client:
        hello = ttrpc.admin.HelloRequest(client="tests", version=1, features=["fd_passing"], session_key=b"mine")
        hello.context.env.append(b"PATH=/usr/bin:/bin")
        client.call("Admin", "Hello", hello, ttrpc.admin.HelloReply())
        stream = client.spawn("sh", "-c", "sleep 1000 & echo $!; read x", transport=processes.TRANSPORT_HANDOVER)
        handed = [h.slot for h in stream.receive().spawned.handed]
        pid = int(os.read(client.fds[handed.index(1)], 100))
        left = os.pidfd_open(pid)
        client.socket.close()
        for fd in client.fds:
            os.close(fd)
        client.fds.clear()
    # the end of its stdin ends the shell long before its session is given up
    assert is_gone(left)
    os.close(left)


def test_rm_refuses_what_left_something_alive(daemon, client):
    process = client.start("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!", name="parent")
    client.wait(process, closed=True)
    left = os.pidfd_open(int(daemon.ctl("logs", "parent", check=0).stdout))
    refused = daemon.ctl("rm", "parent", check=1)
    assert b"1 that it started live on" in refused.stderr
    assert not select.select([left], [], [], 0)[0]
    daemon.ctl("rm", "--force", "parent", check=0)
    assert is_gone(left)
    os.close(left)
    again = processes.RemoveRequest(process=ref(client.start("sleep", "1000")), force=True, idempotency_key="once")
    for _ in range(2):
        client.call("Processes", "Remove", again, processes.RemoveReply())
    running = client.start("sleep", "1000")
    assert b"runs" in daemon.ctl("rm", running.id, check=1).stderr
    daemon.ctl("rm", "-f", running.id, check=0)
    with pytest.raises(RpcError) as caught:
        client.get(running)
    assert caught.value.code == "NOT_FOUND"


# ---- requests ----


def refusal(call, *args, **kwargs):
    with pytest.raises(RpcError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_a_failed_start_said_again_with_its_key_fails_the_same_way(daemon):
    missing = [stdio(2, ttrpc.FILE, file=processes.FileSpec(path=b"/nonexistent/file"))]
    spec = ttrpc.make_spec("/bin/true", "a", "b", stdio=missing)

    def start(client, key, what=spec):
        return client.call("Processes", "Start", processes.StartRequest(spec=what, idempotency_key=key), processes.Process())

    def spawn(client, key):
        return client.spawn("/nonexistent", "a", key=key).collect()

    with daemon.client() as client:
        client.hello()
        first, spawned = refusal(start, client, "k"), refusal(spawn, client, "s")
        assert first.detail.code == "ENOENT" and first.detail.path == b"/nonexistent/file" and first.detail.field == "spec.stdio[0].file"
        assert list(first.detail.spawnargs) == [b"a", b"b"]
        for _ in range(2):
            for before, again in ((first, refusal(start, client, "k")), (spawned, refusal(spawn, client, "s"))):
                assert (again.code, again.message, again.detail) == (before.code, before.message, before.detail)
            os.kill(client.stats().engine_pid, signal.SIGKILL)
            client = daemon.client()
            client.hello()
        assert refusal(start, client, "k", ttrpc.make_spec("true")).code == "ALREADY_EXISTS"
        client.close()


def test_nobody_holds_what_start_leaves_running(daemon, client):
    for what in ("STOP", "HANGUP"):
        error = refusal(client.start, "sleep", "1000", on_disconnect=f"ON_DISCONNECT_{what}")
        assert (error.code, error.detail.field) == ("INVALID_ARGUMENT", "spec.on_disconnect")
        refused = daemon.ctl("run", "-d", "--on-disconnect", what.lower(), "sleep", "1000", check=125)
        assert b"--on-disconnect" in refused.stderr
    assert client.stats().processes == 0
    daemon.ctl("run", "-d", "--on-disconnect", "keep", "true", check=0)


def test_every_slot_that_may_be_named_can_be_had(client):
    client.hello()
    out = processes.Stdio.DIRECTION_OUT
    slots = [stdio(n, PIPE, direction=out) for n in range(3, 251)]
    output, _, _ = client.spawn("/usr/bin/python3", "-S", "-c", "import os\nfor n in range(3, 251): os.write(n, b'%d' % n)", stdio=slots).collect()
    assert output == {n: b"%d" % n for n in range(3, 251)}
    for number in (251, 255, 256):
        error = refusal(client.spawn("true", stdio=[stdio(number, NULL)]).collect)
        assert (error.code, error.detail.field) == ("INVALID_ARGUMENT", "spec.stdio[0].slot")
    attached = stdio(3, ttrpc.FD, fd=processes.FdSpec(attached=251))
    assert refusal(client.spawn("true", stdio=[attached]).collect).detail.field == "spec.stdio[0].fd.attached"


def test_frames_of_other_types_are_ignored(client):
    for kind in (0, ttrpc.RESPONSE, 4, 255):
        client.send_frame(7, kind, 0, b"whatever")
    client.socket.sendall(struct.pack(">IIBB", 5 << 20, 9, 17, 0) + bytes(5 << 20))
    stream = client.spawn("cat")
    client.send_frame(stream.id, 9, ttrpc.REMOTE_CLOSED, b"not for it")
    client.send_frame(stream.id, ttrpc.RESPONSE, 0, b"nor this")
    client.socket.sendall(struct.pack(">IIBB", 5 << 20, stream.id, 17, 0) + bytes(5 << 20))
    stream.write(b"all of it", eof=True)
    assert stream.collect()[0] == {1: b"all of it"}


def test_the_end_of_stdin_counts_what_the_kernel_took(client):
    client.hello()
    go_on = stdio(3, PIPE, direction=processes.Stdio.DIRECTION_IN)

    def told(script, size, late=b""):
        stream = client.spawn("sh", "-c", f"{script}; exec sleep 1000", stdio=[go_on])
        names, written = [], None
        if not late:
            names.append(stream.receive().WhichOneof("event"))
        stream.write(b"x" * size, eof=bool(late))
        if late:
            stream.write(late)
        stream.write(b"\n", slot=3)
        for event in stream:
            names.append(event.WhichOneof("event"))
            if names[-1] == "stdin_closed":
                written = event.stdin_closed.written
                stream.control(signal=processes.SignalCommand(signal=signal.SIGKILL, scope=processes.KILL_SCOPE_TREE))
        assert names[0] == "spawned" and names.count("stdin_closed") == 1
        return written

    assert told("read x <&3; exec 0<&-", 300000) == 65536
    assert told("read x <&3; head -c 1 >/dev/null; exec 0<&-", 300000) >= 65536
    assert told("cat >/dev/null", 300000, b"late") == 300000
    assert told("read x <&3", 5, b"late") == 5


@pytest.mark.parametrize("number", [-1, 0, 65, 1 << 20])
def test_a_number_that_is_no_signal_names_its_field(daemon, client, number):
    client.hello()
    process = client.start("sleep", "1000")

    def unary(method, request, reply):
        return refusal(client.call, "Processes", method, request, reply).detail.field

    if number:
        assert unary("Signal", processes.SignalRequest(process=ref(process), signal=number), processes.KillReply()) == "signal"
        assert unary("Stop", processes.StopRequest(process=ref(process), signal=number), processes.KillReply()) == "signal"
        assert refusal(client.start, "true", kill_signal=number).detail.field == "spec.kill_signal"
        stream = client.spawn("sleep", "1000")
        stream.control(signal=processes.SignalCommand(signal=number))
        error = refusal(stream.collect)
        assert (error.code, error.detail.field) == ("INVALID_ARGUMENT", "control.signal.signal")
        daemon.ctl("kill", "-s", number, process.id, check=2)
    daemon.ctl("stop", process.id, check=0)


def test_a_list_of_what_cannot_be_is_refused(daemon, client):
    def listed(**what):
        return client.call("Processes", "List", processes.ListRequest(**what), processes.ListReply())

    for field, what in (("name", {"name": "no name"}), ("name", {"name": "x" * 129}), ("labels", {"labels": {"": "x"}})):
        error = refusal(listed, **what)
        assert (error.code, error.detail.field.split("[")[0]) == ("INVALID_ARGUMENT", field)
    for bogus in ("state=bogus", "id=x", "pid=-1", "nothing"):
        assert b"--filter" in daemon.ctl("ps", "--filter", bogus, check=2).stderr
    assert not listed(name="nobody").processes


def test_input_that_cannot_be_read_is_told(daemon):
    directory = os.open("/", os.O_RDONLY)
    done = daemon.ctl("run", "--", "cat", stdin=directory, check=125)
    os.close(directory)
    assert b"standard input: Is a directory" in done.stderr


def test_what_outlives_its_daemon_finds_its_pipes_closed(daemon, client, tmp_path):
    script = ("import os, signal, sys\n"
              "signal.signal(signal.SIGPIPE, signal.SIG_IGN)\n"
              "got = os.read(0, 1)\n"
              "try:\n    os.write(1, b'x')\n    error = 0\nexcept OSError as e:\n    error = e.errno\n"
              "os.write(2, b'%d %d\\n' % (len(got), error))\n")
    kept = processes.FileSpec(path=str(tmp_path / "kept").encode())
    process = client.start("/usr/bin/python3", "-S", "-c", script, on_shutdown=processes.ON_SHUTDOWN_KEEP,
                           stdio=[stdio(0, PIPE), stdio(2, ttrpc.FILE, file=kept)])
    end = os.pidfd_open(process.pid)
    daemon.stop()
    assert is_gone(end)
    os.close(end)
    assert (tmp_path / "kept").read_text() == f"0 {errno.EPIPE}\n"
