"""Clients that speak badly, hang, vanish or come by thousands: a clear status or a clean close, and the first is still answered."""
import os
import random
import resource
import signal
import socket
import struct
import subprocess

import pytest

import ttrpc
from harness import SPAWNCTL
from ttrpc import DATA, NO_DATA, REMOTE_CLOSED, REMOTE_OPEN, REQUEST, RESPONSE, Closed, RpcError, admin, envelope, processes

FULL = bool(os.environ.get("SPAWND_FULL_SIZE"))


def status_of(client, stream):
    with pytest.raises(RpcError) as caught:
        client.finish_unary(stream, admin.PingReply())
    return caught.value


def closes(client):
    """Whether the daemon ends the connection, after whatever it still says."""
    try:
        while True:
            client.read_frame()
    except (Closed, ConnectionResetError):
        return True


def request(service="spawnd.v1.Admin", method="Ping", payload=b""):
    return envelope.Request(service=service, method=method, payload=payload).SerializeToString()


def test_unknown_methods_and_services(client):
    for call in (request(method="Pong"), request(service="spawnd.v1.Nobody"), request(service="", method="")):
        stream = client.take_stream()
        client.send_frame(stream, REQUEST, 0, call)
        assert status_of(client, stream).code == "UNIMPLEMENTED"
    assert client.call("Admin", "Ping", admin.PingRequest(payload=b"x"), admin.PingReply()).payload == b"x"


def test_undecodable_requests(client):
    for payload in (b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a"):
        stream = client.take_stream()
        client.send_frame(stream, REQUEST, 0, request(payload=payload))
        assert status_of(client, stream).code == "INVALID_ARGUMENT"
    stream = client.take_stream()
    client.send_frame(stream, REQUEST, 0, b"\xff\xff")
    assert status_of(client, stream).code == "INVALID_ARGUMENT"


def test_an_oversized_frame_is_refused_and_the_connection_lives(client):
    stream = client.take_stream()
    size = (4 << 20) + 1
    client.socket.sendall(struct.pack(">IIBB", size, stream, REQUEST, 0) + bytes(size))
    assert status_of(client, stream).code == "RESOURCE_EXHAUSTED"
    assert client.call("Admin", "Ping", admin.PingRequest(), admin.PingReply()) is not None


@pytest.mark.parametrize("frame", [
    struct.pack(">IIBB", 1 << 31, 1, REQUEST, 0),   # an absurd length
    struct.pack(">IIBB", 0, 2, REQUEST, 0),         # an even stream id
    struct.pack(">IIBB", 0, 0, REQUEST, 0),
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
], ids=["length", "even", "zero", "http"])
def test_what_is_not_ttrpc_is_closed(daemon, frame):
    with daemon.client() as bad, daemon.client() as good:
        bad.socket.sendall(frame)
        assert closes(bad)
        assert good.stats().engine_restarts == 0


def test_stream_ids_must_rise(daemon):
    with daemon.client() as client:
        for stream in (5, 5):
            client.send_frame(stream, REQUEST, 0, request())
        assert closes(client)


def test_half_a_frame_then_gone(daemon, client):
    whole = struct.pack(">IIBB", 1000, 1, REQUEST, 0) + request()
    for cut in range(1, len(whole)):
        with daemon.client() as half:
            half.socket.sendall(whole[:cut])
    assert client.stats().engine_restarts == 0


def test_data_for_streams_that_never_were(client):
    client.send_frame(99, DATA, 0, b"x")
    client.send_frame(101, 77, 0, b"x")
    stream = client.stream("Processes", "Spawn", processes.ProcessEvent)
    stream.half_close()
    with pytest.raises(RpcError) as caught:
        stream.receive()
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_stream_whose_first_message_is_not_the_start(client):
    stream = client.stream("Processes", "Spawn", processes.ProcessEvent)
    stream.grant(5)
    with pytest.raises(RpcError) as caught:
        stream.receive()
    assert caught.value.code == "INVALID_ARGUMENT"


def test_random_bytes_and_broken_frames(daemon, client):
    seed = random.Random(7)
    for _ in range(400):
        with daemon.client() as bad:
            try:
                for _ in range(seed.randrange(1, 5)):
                    if seed.random() < 0.5:
                        payload = seed.randbytes(seed.randrange(0, 200))
                    else:
                        payload = request("spawnd.v1." + seed.choice(["Processes", "Events", "Admin"]),
                                          seed.choice(["Spawn", "Run", "Attach", "Logs", "Write", "Subscribe", "Hello", "Get"]),
                                          seed.randbytes(seed.randrange(0, 60)))
                    bad.send_frame(seed.randrange(0, 12), seed.randrange(0, 5), seed.randrange(0, 8), payload)
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert client.stats().engine_restarts == 0


def test_a_deadline_of_the_client_is_kept(client):
    process = client.start("sleep", "1000")
    stream = client.start_unary("Processes", "Wait", processes.WaitRequest(process=ttrpc.ref(process)), timeout_ns=50_000_000)
    with pytest.raises(RpcError) as caught:
        client.finish_unary(stream, processes.Process())
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_a_client_killed_in_the_middle_of_anything(daemon, client):
    seed = random.Random(11)
    commands = [["run", "--", "cat"], ["run", "--", "yes"], ["exec", "sleep 1000 & sleep 1000"], ["run", "--transport", "kept", "--", "yes"],
                ["events"], ["run", "--", "sh", "-c", "yes & yes >&2"]]
    for round_ in range(60 if FULL else 18):
        victim = subprocess.Popen([SPAWNCTL, "--socket", str(daemon.socket), *commands[round_ % len(commands)]],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if seed.random() < 0.7 and "yes" in str(victim.args):
            victim.stdout.read(seed.randrange(1, 300000))
        victim.kill()
        victim.wait()
        victim.stdin.close()
        victim.stdout.close()
    while client.stats().processes:
        [client.wait(p.id) for p in client.call("Processes", "List", processes.ListRequest(), processes.ListReply()).processes]
    assert client.stats().engine_restarts == 0 and daemon.zombies() == []


def test_connections_by_thousands(daemon, client):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = []
    try:
        for _ in range(min(20000 if FULL else 3000, hard - 500)):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            one.settimeout(0.5)
            held.append(one)
            try:
                one.connect(str(daemon.socket))
            except (BlockingIOError, socket.timeout):
                if client.stats().clients > 1000:  # else only the machine is slow
                    break
        while client.stats().clients <= 1000:
            pass
        client.hello()
        assert client.spawn("true").collect()[2].exit.code == 0
    finally:
        for one in held:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with daemon.client() as late:
        assert late.call("Admin", "Ping", admin.PingRequest(payload=b"y"), admin.PingReply()).payload == b"y"


def test_connections_opened_and_closed_in_turn(daemon, client):
    fds = client.stats().fds
    for _ in range(100000 if FULL else 5000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.connect(str(daemon.socket))
    client.call("Admin", "Ping", admin.PingRequest(), admin.PingReply())
    while client.stats().clients > 1:
        pass
    assert client.stats().fds <= fds + 2


def test_two_thousand_children_in_flight_on_one_connection(daemon, client):
    client.hello()
    streams = {}
    for _ in range(2000):
        stream = client.spawn("true", stdio=[ttrpc.stdio(n, ttrpc.NULL) for n in range(3)])
        streams[stream.id] = [stream, []]
    for stream, names in streams.values():
        for event in stream:
            names.append(event.WhichOneof("event"))
        assert names == ["spawned", "exited", "closed"]
    stats = client.stats()
    assert stats.processes == 0 and stats.spawned_total == 2000
    assert daemon.zombies() == []
