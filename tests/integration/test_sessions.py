"""Clients that lose their connection and come back, keys that name what was done, windows of a few messages."""
import signal

import pytest

import ttrpc
from ttrpc import RpcError, admin, common, processes, ref, stdio


def hello(client, key=b""):
    context = admin.ClientContext(cwd=b"/", env=[b"PATH=/bin:/usr/bin"])
    return client.call("Admin", "Hello", admin.HelloRequest(version=1, session_key=key, context=context), admin.HelloReply())


def test_a_session_comes_back_and_goes_on_where_it_was(daemon):
    script = ("sh", "-c", "echo one; read x; echo got $x; read y; echo $y")
    with daemon.client() as lost:
        session = hello(lost, b"secret")
        assert not session.resumed
        stream = lost.spawn(*script, key="once")
        spawned = stream.receive().spawned
        assert stream.receive().output.data == b"one\n"
        stream.write(b"hello\n")
        assert stream.receive().output.data == b"got hello\n"
    with daemon.client() as back:
        again = hello(back, b"secret")
        assert again.resumed and again.session == session.session
        stream = back.spawn(*script, key="once")
        assert stream.receive().spawned.id == spawned.id
        # what came before is skipped by its offset
        stream.control(stdin=processes.StdinData(offset=3, data=b"lo\nbye\n", eof=True))
        output, names, closed = stream.collect()
        assert output == {1: b"one\ngot hello\nbye\n"} and [n for n in names if n != "output"] == ["exited", "closed"]
        assert closed.exit.output[0].bytes == len(output[1])


def test_a_session_that_stays_away_loses_its_processes(daemon, client):
    with daemon.client() as lost:
        hello(lost, b"secret")
        spawned = lost.spawn("sleep", "1000").receive().spawned
    ended = client.wait(spawned.id)
    assert ended.exit.signal == signal.SIGTERM and ended.exit.reason == common.EXIT_REASON_STOPPED


def test_hello_is_said_once(client):
    hello(client)
    with pytest.raises(RpcError) as caught:
        hello(client)
    assert caught.value.code == "FAILED_PRECONDITION"


def test_the_same_key_stops_once_and_answers_twice(client):
    client.hello()
    process = client.start("sleep", "1000")
    request = processes.StopRequest(process=ref(process), idempotency_key="stop it")
    first = client.call("Processes", "Stop", request, processes.KillReply())
    second = client.call("Processes", "Stop", request, processes.KillReply())
    assert first == second and process.pid in first.ended
    request.signal = signal.SIGKILL
    with pytest.raises(RpcError) as caught:
        client.call("Processes", "Stop", request, processes.KillReply())
    assert caught.value.code == "ALREADY_EXISTS" and caught.value.detail.field == "idempotency_key"


def test_output_gets_through_a_window_of_three_messages(client):
    client.hello()
    # Spawned and Exited cost one each, and collect grants again what output costs
    reader = processes.Reader(window=common.Grant(bytes=4, messages=3))
    output, names, closed = client.spawn("seq", "1", "500", reader=reader).collect()
    assert output == {1: b"".join(b"%d\n" % i for i in range(1, 501))} and names[-1] == "closed"
    assert closed.exit.output[0].bytes == len(output[1])


def test_run_takes_more_input_than_a_window(client):
    client.hello()
    stream = client.stream("Processes", "Run", processes.RunReply)
    stream.send(processes.RunRequest(start=processes.RunStart(spec=ttrpc.make_spec("wc", "-c"), input=b"x" * 3000000)))
    replies = list(stream)
    assert b"".join(r.output.data for r in replies) == b"3000000\n" and replies[-1].result.exit.code == 0


def test_handover_is_for_clients_that_can_take_descriptors(client):
    hello(client)
    with pytest.raises(RpcError) as caught:
        client.spawn("cat", transport=processes.TRANSPORT_HANDOVER).collect()
    assert caught.value.code == "FAILED_PRECONDITION" and caught.value.detail.field == "spec.transport"
    assert client.stats().processes == 0


def test_readers_name_slots_that_are_written(client):
    client.hello()
    with pytest.raises(RpcError) as caught:
        client.spawn("cat", reader=processes.Reader(slots=[0])).collect()
    assert caught.value.code == "INVALID_ARGUMENT" and caught.value.detail.field == "reader.slots[0]"
    assert client.stats().spawned_total == 0


def test_write_says_when_nobody_reads(client):
    client.hello()
    process = client.start("sh", "-c", "exec 0<&-; echo closed; sleep 1000", stdio=[stdio(0, ttrpc.PIPE)])
    logs = client.stream("Processes", "Logs", processes.ProcessEvent)
    logs.send(processes.LogsRequest(start=processes.LogsStart(process=ref(process), follow=True)))
    assert logs.receive().output.data == b"closed\n"
    write = client.stream("Processes", "Write", processes.WriteReply)
    write.send(processes.WriteRequest(start=processes.WriteStart(process=ref(process))))
    write.send(processes.WriteRequest(data=processes.StdinData(data=b"anyone?", eof=True)))
    with pytest.raises(RpcError) as caught:
        list(write)
    assert caught.value.detail.code == "EPIPE"
