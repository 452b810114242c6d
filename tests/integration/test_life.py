"""Order of events, ends of streams, kills: through the wire itself."""
import os
import pathlib
import signal
import socket

import pytest

import ttrpc
from ttrpc import NONE, NULL, PIPE, SAME, RpcError, admin, common, processes, ref, stdio

HELPER = str(ttrpc.ROOT / "tests" / "child" / "helper.py")


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_order_is_spawned_output_exited_closed(client):
    client.hello()
    output, names, closed = client.spawn("sh", "-c", "echo hi; exit 3").collect()
    assert names[0] == "spawned" and names[-1] == "closed" and names.count("exited") == 1
    assert output == {1: b"hi\n"}
    assert closed.exit.code == 3 and closed.exit.reason == common.EXIT_REASON_EXITED and not closed.drain_timed_out
    assert [(o.slot, o.bytes, o.complete) for o in closed.exit.output] == [(1, 3, True), (2, 0, True)]
    assert closed.exit.rusage.max_rss_bytes > 0


def test_a_grandchild_that_holds_stdout_does_not_delay_exited(client):
    client.hello()
    stream = client.spawn(HELPER, "holder", "1000", drain_timeout_ms=300)
    output, names, closed = stream.collect()
    assert names == ["spawned", "exited", "closed"]
    assert closed.drain_timed_out
    assert [o.complete for o in closed.exit.output] == [False, False]


def test_failed_spawns_are_told_in_the_shape_of_node(client, tmp_path):
    client.hello()

    def failure(*argv, **spec):
        with pytest.raises(RpcError) as caught:
            client.spawn(*argv, **spec).collect()
        return caught.value

    error = failure("/nonexistent", "a", "b")
    assert (error.code, error.message) == ("NOT_FOUND", "spawn /nonexistent ENOENT")
    detail = error.detail
    assert (detail.errnum, detail.code, detail.syscall, detail.path) == (2, "ENOENT", "spawn /nonexistent", b"/nonexistent")
    assert list(detail.spawnargs) == [b"a", b"b"]
    assert failure("true", cwd=b"/nonexistent").detail.code == "ENOENT"
    assert failure("/etc/passwd").detail.code == "EACCES"
    assert failure("/bin/true", "x" * 200000).detail.code == "E2BIG"
    plain = tmp_path / "plain"
    plain.write_text("#")
    plain.chmod(0o755)
    assert failure(str(plain)).detail.code == "ENOEXEC"
    assert client.stats().processes == 0


def test_bad_requests_name_their_field(client):
    def field_of(*argv, **spec):
        with pytest.raises(RpcError) as caught:
            client.start(*argv, **spec)
        assert caught.value.code == "INVALID_ARGUMENT"
        return caught.value.detail.field

    assert field_of() == "spec.argv"
    assert field_of("") == "spec.argv[0]"
    assert field_of("a", b"b\0c") == "spec.argv[1]"
    assert field_of("a", cwd=b"relative") == "spec.cwd"
    assert field_of("a", shell_command=b"b") == "spec.shell_command"
    assert field_of("a", stdio=[stdio(1, PIPE), stdio(1, NULL)]) == "spec.stdio[1].slot"
    assert field_of("a", stdio=[stdio(2, SAME, same_as=7)]) == "spec.stdio[0].same_as"
    assert field_of("a", env=processes.Environment(set=[b"NOVALUE"])) == "spec.env.set[0]"
    assert field_of("a", kill_signal=99) == "spec.kill_signal"
    assert field_of("a", rlimits=[processes.Rlimit(name="nonsense", soft=1, hard=1)]) == "spec.rlimits[0].name"
    with pytest.raises(RpcError) as caught:
        client.wait(424242)
    assert caught.value.code == "NOT_FOUND"


def test_unknown_fields_are_refused_by_number(client):
    stream = client.take_stream()
    call = ttrpc.envelope.Request(service="spawnd.v1.Admin", method="Ping", payload=b"\xf8\x01\x05")
    client.send_frame(stream, ttrpc.REQUEST, 0, call.SerializeToString())
    with pytest.raises(RpcError) as caught:
        client.finish_unary(stream, ttrpc.admin.PingReply())
    assert caught.value.code == "INVALID_ARGUMENT" and "31" in caught.value.message and "PingRequest" in caught.value.message


def test_path_is_looked_up_with_the_environment_of_the_request(client, tmp_path):
    tool = tmp_path / "only-here"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    client.hello()
    path = processes.Environment(set=[f"PATH={tmp_path}:/bin:/usr/bin".encode()])
    assert client.spawn("only-here", env=path).collect()[0] == {1: b"found\n"}
    relative = processes.Environment(set=[b"PATH=.:/bin:/usr/bin"])
    assert client.spawn("only-here", env=relative, cwd=str(tmp_path).encode()).collect()[0] == {1: b"found\n"}
    with pytest.raises(RpcError):
        client.spawn("only-here").collect()


def test_the_same_descriptor_in_several_slots_and_none(client):
    client.hello()
    output, _, _ = client.spawn("sh", "-c", "echo out; echo err >&2; [ -e /proc/self/fd/0 ] || echo closed",
                                stdio=[stdio(0, NONE), stdio(2, SAME, same_as=1)]).collect()
    assert output == {1: b"out\nerr\nclosed\n"}


def test_slots_beyond_two_and_files(client, tmp_path):
    client.hello()
    target = tmp_path / "out"
    target.write_text("old\n")
    append = processes.FileSpec(path=b"out", mode=processes.FileSpec.MODE_APPEND)
    output, _, _ = client.spawn("sh", "-c", "echo five >&5; echo file", cwd=str(tmp_path).encode(),
                                stdio=[stdio(1, ttrpc.FILE, file=append), stdio(5, PIPE, direction=processes.Stdio.DIRECTION_OUT)]).collect()
    assert output == {5: b"five\n"}
    assert target.read_text() == "old\nfile\n"


def test_descriptors_of_the_client_by_all_roads(client, tmp_path):
    client.hello()
    with open(tmp_path / "a", "w+b") as file:
        by_rights = stdio(1, ttrpc.FD, fd=processes.FdSpec(attached=0))
        client.spawn("echo", "rights", fds=[file.fileno()], stdio=[by_rights]).collect()
        by_number = stdio(1, ttrpc.FD, fd=processes.FdSpec(number=file.fileno()))
        client.spawn("echo", "number", stdio=[by_number]).collect()
        file.seek(0)
        assert file.read() == b"rights\nnumber\n"
    with pytest.raises(RpcError) as caught:
        client.spawn("true", stdio=[stdio(1, ttrpc.FD, fd=processes.FdSpec(number=987))]).collect()
    assert caught.value.detail.field.endswith("fd.number")


def own_connection(daemon, key):
    """A connection that has said Hello and nothing else."""
    connection = daemon.client()
    connection.call("Admin", "Hello", admin.HelloRequest(client="tests", version=1, session_key=key), admin.HelloReply())
    return connection


def from_session(slot, key):
    return stdio(slot, ttrpc.FD, fd=processes.FdSpec(session=key))


def test_a_connection_becomes_a_descriptor_of_a_child(daemon, client):
    """For clients that have neither socketpair nor SCM_RIGHTS: both directions, then the end."""
    client.hello()
    with own_connection(daemon, b"one") as ours:
        started = client.start("cat", stdio=[from_session(0, b"one"), stdio(1, ttrpc.SAME, same_as=0), stdio(2, ttrpc.NULL)])
        ours.socket.sendall(b"there and back")
        assert ours.socket.recv(14, socket.MSG_WAITALL) == b"there and back"
        ours.socket.shutdown(socket.SHUT_WR)
        assert ours.socket.recv(1) == b""
        assert client.wait(started.id, closed=True).exit.code == 0
    assert client.stats().clients == 1


@pytest.mark.parametrize("case", ["unknown", "twice", "its own", "busy", "empty"])
def test_connections_that_cannot_become_a_descriptor(daemon, client, case):
    client.call("Admin", "Hello", admin.HelloRequest(client="tests", version=1, session_key=b"mine"), admin.HelloReply())
    with own_connection(daemon, b"one") as ours:
        slots = [from_session(0, {"unknown": b"other", "its own": b"mine", "empty": b""}.get(case, b"one"))]
        if case == "twice":
            slots.append(from_session(1, b"one"))
        if case == "busy":
            sleeper = ours.spawn("sleep", "1000")
            sleeper.receive()
        with pytest.raises(RpcError) as caught:
            client.start("true", stdio=slots)
        assert caught.value.code == ("INVALID_ARGUMENT" if case in ("its own", "empty") else "FAILED_PRECONDITION")
        assert f"spec.stdio[{len(slots) - 1}].fd.session" in (caught.value.detail.field, caught.value.message.split(":")[0])


def test_cancel_kills_and_ends_the_call(client):
    client.hello()
    stream = client.spawn("sleep", "1000")
    spawned = stream.receive().spawned
    stream.control(cancel=common.Cancel())
    with pytest.raises(RpcError) as caught:
        stream.collect()
    assert caught.value.code == "CANCELLED" and caught.value.detail.code == "ABORT_ERR"
    ended = client.wait(spawned.id)
    assert ended.exit.signal == signal.SIGTERM and ended.exit.reason == common.EXIT_REASON_STOPPED


def test_timeout_takes_the_whole_tree(client, tmp_path):
    client.hello()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    stream = client.spawn("sh", "-c", f"sleep 1000 & exec {HELPER} escape {fifo}", timeout_ms=700, grace_ms=100)
    assert stream.receive().WhichOneof("event") == "spawned"
    with open(fifo, "rb") as held:
        _, _, closed = stream.collect()
        assert held.read() == b""
    assert closed.exit.reason == common.EXIT_REASON_TIMEOUT


@pytest.mark.parametrize("method", ["cgroup", "freezer", "sweep"])
def test_a_tree_is_killed_by_each_method(make_daemon, tmp_path, method):
    daemon = make_daemon(env={"SPAWND_TREE": method})
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with daemon.client() as client:
        client.hello()
        assert client.stats().tree == method
        process = client.start("sh", "-c", f"sleep 1000 & {HELPER} escape {fifo}")
        with open(fifo, "rb") as held:
            stop = processes.StopRequest(process=ref(process), signal=signal.SIGKILL)
            reply = client.call("Processes", "Stop", stop, processes.KillReply())
            assert held.read() == b""
    assert reply.method == method and not reply.survived and len(reply.ended) >= 3
    assert reply.complete == (method != "sweep")
    assert not any(alive(pid) for pid in reply.ended)


def test_a_directory_that_vanished_is_made_again(make_daemon):
    def path_of_one(client):
        output, _, closed = client.spawn("cat", "/proc/self/cgroup").collect()
        assert closed.exit.code == 0
        return output[1].decode().split("0::")[1].strip()

    daemon = make_daemon(env={"SPAWND_TREE": "cgroup"})
    mounts = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    root = next((path for _, path, kind, *_ in mounts if kind == "cgroup2"), None)
    with daemon.client() as client:
        client.hello()
        assert client.stats().tree == "cgroup"
        path = path_of_one(client)
        assert path_of_one(client) == path, "it is reused"
        os.rmdir(root + path)
        assert path_of_one(client) == path


def test_what_killed_a_tree_does_not_kill_the_next(make_daemon):
    with make_daemon(env={"SPAWND_TREE": "cgroup"}).client() as client:
        client.hello()
        process = client.start("sleep", "1000")
        stop = processes.StopRequest(process=ref(process), signal=signal.SIGKILL)
        assert client.call("Processes", "Stop", stop, processes.KillReply()).ended == [process.pid]
        for _ in range(3):
            _, _, closed = client.spawn("sh", "-c", "exit 3").collect()
            assert closed.exit.code == 3 and closed.exit.reason == common.EXIT_REASON_EXITED


@pytest.mark.parametrize("line", ["kill 0", "kill -9 0", "trap 'kill 0' EXIT; exit 0", "kill -TERM -1 2>/dev/null & kill 0"][:3])
def test_kill_zero_harms_nobody_else(daemon, client, line):
    client.hello()
    bystander = client.start("sleep", "1000")
    before = client.stats()
    client.spawn("sh", "-c", line).collect()
    after = client.stats()
    assert alive(bystander.pid)
    assert (after.engine_pid, after.keeper_pid, after.engine_restarts) == (before.engine_pid, before.keeper_pid, 0)


def test_capture_limits_cut_or_kill(client):
    client.hello()

    def run(policy, limit, script):
        stream = client.stream("Processes", "Run", processes.RunReply)
        out = stdio(1, PIPE, capture=processes.Capture(limit=limit, policy=policy))
        stream.send(processes.RunRequest(start=processes.RunStart(spec=ttrpc.make_spec("sh", "-c", script, stdio=[out]))))
        replies = list(stream)
        return b"".join(r.output.data for r in replies), replies[-1].result

    script = "seq 1 1000"
    whole = b"".join(b"%d\n" % i for i in range(1, 1001))
    data, result = run(processes.Capture.POLICY_CUT_TAIL, 100, script)
    assert data == whole[:100] and result.exit.code == 0
    assert [(c.slot, c.offset, c.bytes) for c in result.cut] == [(1, 100, len(whole) - 100)]
    data, result = run(processes.Capture.POLICY_CUT_HEAD, 100, script)
    assert data == whole[-100:] and [(c.slot, c.offset, c.bytes) for c in result.cut] == [(1, 0, len(whole) - 100)]
    data, result = run(processes.Capture.POLICY_KILL, 100, "seq 1 1000; sleep 1000")
    assert data == whole[:100] and result.exit.reason == common.EXIT_REASON_CAPTURE_LIMIT


def test_run_feeds_input_and_collects(client):
    client.hello()
    stream = client.stream("Processes", "Run", processes.RunReply)
    stream.send(processes.RunRequest(start=processes.RunStart(spec=ttrpc.make_spec("sort"), input=b"b\na\n")))
    replies = list(stream)
    assert b"".join(r.output.data for r in replies) == b"a\nb\n" and replies[-1].result.exit.code == 0


def test_the_same_key_starts_once(client):
    client.hello()
    request = processes.StartRequest(spec=ttrpc.make_spec("sleep", "1000"), idempotency_key="once")
    first = client.call("Processes", "Start", request, processes.Process())
    second = client.call("Processes", "Start", request, processes.Process())
    assert first.id == second.id and client.stats().processes == 1
    request.spec.argv[1] = b"2000"
    with pytest.raises(RpcError):
        client.call("Processes", "Start", request, processes.Process())


def test_another_major_version_is_refused_by_name(client):
    with pytest.raises(RpcError) as caught:
        client.call("Admin", "Hello", ttrpc.admin.HelloRequest(version=7), ttrpc.admin.HelloReply())
    assert caught.value.code == "FAILED_PRECONDITION" and "7" in caught.value.message and "1" in caught.value.message


@pytest.mark.parametrize("what, survives", [
    (processes.ON_DISCONNECT_STOP, False), (processes.ON_DISCONNECT_HANGUP, False), (processes.ON_DISCONNECT_KEEP, True)])
def test_a_client_that_vanishes_leaves_what_it_asked_to_keep(daemon, what, survives):
    with daemon.client() as watcher:
        with daemon.client() as doomed:
            spawned = doomed.spawn("sleep", "1000", on_disconnect=what).receive().spawned
        if survives:
            assert watcher.get(spawned.id).state == processes.PROCESS_STATE_RUNNING
        else:
            expected = signal.SIGHUP if what == processes.ON_DISCONNECT_HANGUP else signal.SIGTERM
            assert watcher.wait(spawned.id).exit.signal == expected


def test_identity_and_limits_of_the_child(client):
    client.hello()
    script = "id -u; id -g; id -G; umask; ulimit -n; ulimit -Hn; nice; grep NoNewPrivs /proc/self/status | cut -f2; echo $0"
    output, _, _ = client.spawn("sh", "-c", script, uid=65534, gid=65534, groups=[7, 9], umask=0o077, nice=5, no_new_privs=True,
                                rlimits=[processes.Rlimit(name="nofile", soft=100, hard=200)], cwd=b"/").collect()
    assert output[1].decode().split() == ["65534", "65534", "65534", "7", "9", "0077", "100", "200", "5", "1", "sh"]
    output, _, _ = client.spawn("sh", "-c", "cat /proc/$$/cmdline", argv0=b"-login").collect()
    assert output[1].split(b"\0")[0] == b"-login"
