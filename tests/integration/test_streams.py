"""Credit, back-pressure, several readers: one stream never holds up another."""
import signal

import pytest

import ttrpc
from ttrpc import RpcError, common, processes, ref, stdio

READER_BLOCK, READER_DROP = processes.Reader.POLICY_BLOCK, processes.Reader.POLICY_DROP


def read_to(stream, size):
    """Output data of a stream until `size` bytes came, without granting."""
    data = b""
    while len(data) < size:
        event = stream.receive()
        if event.WhichOneof("event") == "output":
            data += event.output.data
    return data


def test_one_of_fifty_streams_stops_reading(client):
    client.hello()
    stalled = client.spawn("sh", "-c", "yes | head -c 4000000; echo end >&2", reader=processes.Reader(window=common.Grant(bytes=1000, messages=64)))
    others = [client.spawn("head", "-c", "300000", "/dev/zero") for _ in range(49)]
    for stream in others:
        output, _, closed = stream.collect()
        assert len(output[1]) == 300000 and closed.exit.code == 0
    # its child is held back: stderr, written after stdout, has not come
    assert client.stats().processes == 1
    read_to(stalled, 1000)
    stalled.grant(1 << 30, 60)
    output, names, closed = stalled.collect()
    assert len(output[1]) + 1000 == 4000000 and output[2] == b"end\n" and "output_gap" not in names


@pytest.mark.parametrize("transport", [processes.TRANSPORT_KEPT, processes.TRANSPORT_DIRECT])
def test_a_slot_without_credit_does_not_stop_the_others(client, transport):
    client.hello()
    stream = client.spawn("sh", "-c", "yes & while read x; do echo $x >&2; done; kill $!", transport=transport,
                          stdio=[stdio(0, ttrpc.PIPE)], reader=processes.Reader(slot_window=1000))
    stream.receive()
    assert read_to(stream, 1000) == b"y\n" * 500
    for i in range(200):
        stream.write(b"%d\n" % i)
        answer = b""
        while not answer.endswith(b"\n"):
            event = stream.receive()
            if event.WhichOneof("event") != "output":
                continue
            assert event.output.slot == 2
            answer += event.output.data
            stream.control(grant=common.Grant(slot=2, bytes=len(event.output.data), messages=1))
        assert answer == b"%d\n" % i
    stream.write(b"", eof=True)
    stream.control(grant=common.Grant(slot=1, bytes=1 << 40, messages=64))
    output, _, closed = stream.collect()
    [stdout, stderr] = closed.exit.output
    assert len(output[1]) + 1000 == stdout.bytes and output[1] == b"y\n" * (len(output[1]) // 2) and 2 not in output


def test_a_window_names_no_slot_and_output_slots_alone_have_credit(client):
    client.hello()
    with pytest.raises(RpcError) as caught:
        client.spawn("true", reader=processes.Reader(window=common.Grant(bytes=1, slot=1))).receive()
    assert caught.value.detail.field == "reader.window.slot"
    stream = client.spawn("cat", stdio=[stdio(0, ttrpc.PIPE)])
    stream.receive()
    stream.control(grant=common.Grant(slot=0, bytes=1))
    with pytest.raises(RpcError) as caught:
        stream.receive()
    assert caught.value.detail.field == "grant.slot"


def test_stdin_after_its_end_is_told_and_hurts_nobody(client):
    client.hello()
    stream = client.spawn("sh", "-c", "cat; exit 3", stdio=[stdio(0, ttrpc.PIPE)])
    stream.write(b"all of it", eof=True)
    stream.write(b"late")
    stream.write(b"later")
    output, names, closed = stream.collect()
    assert output[1] == b"all of it" and closed.exit.code == 3 and names.count("stdin_closed") == 1


def test_a_closed_stdin_is_told_without_a_write(client):
    client.hello()
    stream = client.spawn("sh", "-c", "exec <&-; exec sleep 1000", stdio=[stdio(0, ttrpc.PIPE)])
    assert [stream.receive().WhichOneof("event") for _ in range(2)] == ["spawned", "stdin_closed"]
    stream.control(signal=processes.SignalCommand(signal=signal.SIGKILL))
    output, names, closed = stream.collect()
    assert names == ["exited", "closed"] and closed.exit.signal == signal.SIGKILL


def test_a_run_that_goes_on_after_its_input_fails(client):
    client.hello()
    run = client.stream("Processes", "Run", processes.RunReply)
    spec = ttrpc.make_spec("sh", "-c", "cat; exec sleep 1000")
    run.send(processes.RunRequest(start=processes.RunStart(spec=spec, input=b"whole")))
    run.receive()
    run.send(processes.RunRequest(control=processes.ProcessControl(stdin=processes.StdinData(data=b"more"))))
    with pytest.raises(RpcError) as caught:
        list(run)
    assert caught.value.code == "INVALID_ARGUMENT" and caught.value.detail.field == "stdin.data"


def test_a_drop_reader_lets_the_child_go_on_and_counts_the_gap(client):
    client.hello()
    dropping = processes.Reader(policy=READER_DROP, window=common.Grant(bytes=1000, messages=64))
    stream = client.spawn("head", "-c", "4000000", "/dev/zero", reader=dropping)
    spawned = stream.receive().spawned
    assert client.wait(spawned.id).exit.code == 0
    got, lost = len(read_to(stream, 1000)), 0
    stream.grant(1 << 30, 64)
    for event in stream:
        kind = event.WhichOneof("event")
        if kind == "output":
            assert event.output.offset == got + lost
            got += len(event.output.data)
        elif kind == "output_gap":
            assert event.output_gap.offset == got + lost
            lost += event.output_gap.bytes
    assert lost > 0 and got + lost == 4000000


def test_unread_output_does_not_hang_a_child_and_the_end_is_kept(client):
    client.hello()
    process = client.start("sh", "-c", "yes 0123456 | head -c 4000000", retain_bytes=65536)
    ended = client.wait(process, closed=True)
    [stdout, _] = ended.exit.output
    assert stdout.bytes == 4000000 and 0 < stdout.bytes - stdout.retained_from <= 131072
    logs = client.stream("Processes", "Logs", processes.ProcessEvent)
    logs.send(processes.LogsRequest(start=processes.LogsStart(process=ref(process))))
    data = b"".join(event.output.data for event in logs if event.WhichOneof("event") == "output")
    assert data == (b"0123456\n" * 500000)[stdout.retained_from:]


def test_any_number_of_readers_each_from_its_place(daemon, client):
    client.hello()
    process = client.start("sh", "-c", "read x; seq 1 20000; exit 5", stdio=[stdio(0, ttrpc.PIPE)])
    readers = [daemon.client() for _ in range(20)]
    streams = []
    for reader in readers:
        stream = reader.stream("Processes", "Attach", processes.ProcessEvent)
        policy = processes.Reader(policy=READER_BLOCK)
        stream.send(processes.AttachRequest(start=processes.AttachStart(process=ref(process), reader=policy)))
        assert stream.receive().spawned.id == process.id
        streams.append(stream)
    write = client.stream("Processes", "Write", processes.WriteReply)
    write.send(processes.WriteRequest(start=processes.WriteStart(process=ref(process))))
    write.send(processes.WriteRequest(data=processes.StdinData(data=b"go\n")))
    write.half_close()
    assert [reply.written for reply in write][-1] == 3
    expected = b"".join(b"%d\n" % i for i in range(1, 20001))
    for stream in streams:
        output, _, closed = stream.collect()
        assert output == {1: expected} and closed.exit.code == 5
    late = client.stream("Processes", "Attach", processes.ProcessEvent)
    late.send(processes.AttachRequest(start=processes.AttachStart(process=ref(process), **{"from": [processes.SlotOffset(slot=1, offset=len(expected) - 6)]})))
    output, names, _ = late.collect()
    assert output == {1: b"20000\n"} and names == ["spawned", "output", "exited", "closed"]
    for reader in readers:
        reader.close()


def test_stdin_beyond_the_window_fails_the_call(client):
    client.hello()
    stream = client.spawn("sleep", "1000")
    for _ in range(64):
        stream.write(b"x" * 65536)
    with pytest.raises(RpcError) as caught:
        stream.collect()
    assert caught.value.code == "RESOURCE_EXHAUSTED"


def test_stdin_flows_by_grants(client):
    client.hello()
    stream = client.spawn("wc", "-c")
    total, room, sent = 6 << 20, 1 << 20, 0
    output = b""
    while True:
        while room >= 65536 and sent < total:
            sent, room = sent + 65536, room - 65536
            stream.write(b"x" * 65536, eof=sent == total)
        event = stream.receive()
        kind = event.WhichOneof("event")
        if kind == "stdin_grant":
            room += event.stdin_grant.bytes
        elif kind == "output":
            output += event.output.data
        elif kind == "closed":
            break
    assert int(output) == total


def test_a_child_that_closes_its_stdin_is_told(client):
    client.hello()
    stream = client.spawn("sh", "-c", "exec 0<&-; echo closed; sleep 1000")
    events = iter(stream)
    assert next(events).WhichOneof("event") == "spawned"
    assert next(events).output.data == b"closed\n"
    stream.write(b"into the void")
    assert next(events).WhichOneof("event") == "stdin_closed"
    stream.control(signal=processes.SignalCommand(signal=signal.SIGKILL, scope=processes.KILL_SCOPE_TREE))
    assert [event.WhichOneof("event") for event in events] == ["exited", "closed"]


def test_logs_spill_to_a_file_that_rotates(client, tmp_path):
    client.hello()
    log = tmp_path / "log"
    spec = dict(log_file=processes.LogFile(path=str(log).encode(), max_bytes=100000, keep=9), retain_bytes=4096)
    process = client.start("sh", "-c", "seq 1 50000", **spec)
    ended = client.wait(process, closed=True)
    expected = b"".join(b"%d\n" % i for i in range(1, 50001))
    assert ended.exit.output[0].bytes == len(expected)
    files = sorted(tmp_path.glob("log.*"), key=lambda p: -int(p.suffix[1:])) + [log]
    assert len(files) > 2 and b"".join(f.read_bytes() for f in files) == expected
    assert all(f.stat().st_size <= 100000 for f in files)
    logs = client.stream("Processes", "Logs", processes.ProcessEvent)
    start = processes.LogsStart(process=ref(process), **{"from": [processes.SlotOffset(slot=1, offset=1000)]})
    logs.send(processes.LogsRequest(start=start))
    data = b""
    for event in logs:
        if event.WhichOneof("event") == "output":
            assert event.output.offset == 1000 + len(data)
            data += event.output.data
            logs.send(processes.LogsRequest(grant=common.Grant(bytes=len(event.output.data), messages=1)))
    assert data == expected[1000:]
