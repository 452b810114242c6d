"""client/python/spawnd_child.py: both kinds of channel, against bare sockets, itself, libspawnd-runtime and Node."""
import array
import asyncio
import contextlib
import gc
import json
import os
import pathlib
import random
import resource
import select
import shutil
import socket
import subprocess
import sys
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "client" / "runtime" / "examples"
MODULE = ROOT / "client" / "python"
BUILD = pathlib.Path(os.environ.get("SPAWND_BUILD", ROOT / "build"))
sys.path.insert(0, str(MODULE))
import spawnd_child  # noqa: E402
from spawnd_child import NativeChannel, NodeChannel, ProtocolError  # noqa: E402

NODE = shutil.which("node")


def open_fds():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def no_descriptor_leaks():
    before = open_fds()
    yield
    assert open_fds() == before


def pair(kind):
    ours, theirs = socket.socketpair()
    return kind(ours), kind(theirs)


def bare(kind, **options):
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    return kind(ours, **options), theirs


def say(sock, data, fds=()):
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


def lines(sock):
    return sock.recv(1 << 16).decode().splitlines()


def silent(sock):
    """Whether there is nothing to read."""
    return not select.select([sock], [], [], 0)[0]


def child(command, kind, **environment):
    """A program with the other end of a channel, and our end."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.set_inheritable(True)
        name = "SPAWND_CHANNEL_FD" if kind is NativeChannel else "NODE_CHANNEL_FD"
        variables = {name: str(theirs.fileno()), "SPAWND_CHANNEL_VERSION": "1", "PYTHONPATH": str(MODULE), **environment}
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env={**os.environ, **variables})
    return process, kind(ours)


# ---- native


@pytest.mark.parametrize("value, options, wire", [
    (b"hello", {"content_type": "text/plain"}, b"\0\0\0\x13\x12\x0atext/plain\x7a\x05hello"),
    (b"", {}, b"\0\0\0\x02\x7a\0"),
    ("x", {}, b"\0\0\0\x1d\x12\x18text/plain;charset=utf-8\x7a\x01x"),
    ({"a": 1}, {}, b'\0\0\0\x1b\x12\x10application/json\x7a\x07{"a":1}'),
    (bytes(300), {}, b"\0\0\x01\x2f\x7a\xac\x02" + bytes(300)),
])
def test_native_bytes_on_the_wire(value, options, wire):
    channel, sock = bare(NativeChannel)
    with sock:
        channel.send(value, **options)
        assert sock.recv(4096) == wire
        channel.close()


def test_native_values_come_back_as_they_went():
    one, two = pair(NativeChannel)
    with one, two:
        for value in (b"\xff\0", "grüße", {"a": [1, None]}, 3, None, True):
            one.send(value)
            message = two.receive()
            assert message.value == value and not message.handles and not message.lost


def test_native_reads_may_be_torn_at_every_byte():
    stream = spawnd_child.encode_head(5, b"text/plain") + b"hello" + b"\0\0\0\x02\x7a\0" + b"\0\0\0\x03\x7a\x01!"
    for cut in range(1, len(stream)):
        channel, sock = bare(NativeChannel)
        with sock:
            sock.send(stream[:cut])
            got = [m.data for m in channel.ready()]
            sock.send(stream[cut:])
            got += [m.data for m in channel.ready()]
            assert got == [b"hello", b"", b"!"]
            channel.close()


def test_native_64_mib_and_small_ones_in_order():
    one, two = pair(NativeChannel)
    big = random.Random(1).randbytes(1 << 20) * 64
    got = []
    with one, two:
        reader = threading.Thread(target=lambda: got.extend(two))
        reader.start()
        for i in range(20000):
            one.send(i)
        one.send(big)
        one.send("after")
        one.end()
        reader.join()
    assert [m.value for m in got[:20000]] == list(range(20000))
    assert got[20000].data == big and got[20001].value == "after" and len(got) == 20002


def test_native_descriptors():
    one, two = pair(NativeChannel)
    with one, two, open("/dev/null") as file, socket.socket() as sock:
        one.send("many", [file, sock] * 8)
        message = two.receive()
        assert len(message.handles) == 16
        assert os.fstat(message.handles[0]).st_rdev == os.fstat(file.fileno()).st_rdev
        assert isinstance(message.handles[1], socket.socket) and not message.handles[1].get_inheritable()
        message.close()
        with pytest.raises(ValueError, match="at most 16"):
            one.send("more", [file] * 17)
        with pytest.raises(OSError):
            one.send("closed", [900])
        for i in range(2000):
            one.send(i, [file] * (i % 17 if i % 3 == 0 else 0))
            message = two.receive()
            assert message.value == i and len(message.handles) == (i % 17 if i % 3 == 0 else 0)
            message.close()


def test_native_descriptors_without_room_are_lost_and_the_message_is_not():
    one, two = pair(NativeChannel)
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    with one, two:
        free = os.dup(0)
        os.close(free)
        for room in range(3):
            one.send("lost", [0, 1, 2])
            one.send("next", [0])
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, old[1]))
                message = two.receive()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, old)
            assert message.value == "lost" and message.lost and not message.handles
            message = two.receive()
            assert message.value == "next" and not message.lost and len(message.handles) == 1
            message.close()


@pytest.mark.parametrize("data, count, text", [
    (b"GET / HTTP/1.0\r\n\r\n", 0, "limit"),
    (b"\0\0\0\0", 0, "empty"),
    (b"\0\0\0\x02\x08\x11", 0, "more than 16"),
    (b"\0\0\0\x04\x12\x02\xff\xff", 0, "decode"),
    (b"\0\0\0\x05\x7a\x02abc", 0, "does not end with it"),
    (b"\0\0\0\x03\x78\x01a", 0, "no ChannelRecord"),
    (b"\0\0\0\x01\x08", 0, "broken number"),
    (b"\0\0\x01\x04\x22\xff\x01" + bytes(257), 0, "more than 256"),
    (b"\0\0\0\x04\x08\x01\x7a\0", 0, "without the descriptors"),
    (b"\0\0\0\x04\x08\x02\x7a\0", 1, "without the descriptors"),
    (b"\0\0\0\x02\x7a\0", 3, "no message announced"),
    (b"\0\0\0\x02\x7a\0", 250, "more than 16"),
], ids=lambda value: repr(value)[:40])
def test_native_garbage_is_refused_and_leaks_nothing(data, count, text):
    channel, sock = bare(NativeChannel, limit=1 << 20)
    with sock:
        say(sock, data, [0] * count)
        with pytest.raises(ProtocolError, match=text):
            while channel.receive(5):
                pass
        with pytest.raises(ProtocolError, match=text):
            channel.receive(5)
        channel.close()


def test_native_end_inside_a_message():
    channel, sock = bare(NativeChannel)
    sock.send(b"\0\0\0\x07\x7a\x05hel")
    sock.close()
    with pytest.raises(ProtocolError, match="inside a message"):
        channel.receive()
    channel.close()


def test_random_bytes_do_no_harm():
    source = random.Random(3)
    for kind in (NativeChannel, NodeChannel):
        for _ in range(500):
            channel, sock = bare(kind, limit=1 << 20)
            with sock:
                try:
                    for _ in range(4):
                        size = source.randrange(1, 200)
                        data = b"\0\0" + bytes(source.choice((source.randrange(24), source.randrange(256))) for _ in range(size))
                        say(sock, data, [0] * source.randrange(3))
                        for message in channel.ready():
                            message.close()
                except ProtocolError:
                    pass
                channel.close()


# ---- both


@pytest.mark.parametrize("kind", [NativeChannel, NodeChannel])
def test_the_end_comes_after_the_last_message(kind):
    one, two = pair(kind)
    one.send("last")
    one.send("very last")
    one.disconnect()
    assert [m.value for m in two] == ["last", "very last"]
    assert two.receive() is None and two.ended
    with pytest.raises(BrokenPipeError):
        two.send("nobody")
    two.close()
    with pytest.raises(BrokenPipeError):
        two.send("closed")
    assert two.fileno() == -1


@pytest.mark.parametrize("kind", [NativeChannel, NodeChannel])
def test_half_of_a_channel_ends(kind):
    one, two = pair(kind)
    with one, two:
        one.send("question")
        one.end()
        with pytest.raises(BrokenPipeError):
            one.send("more")
        assert [m.value for m in two] == ["question"]
        two.send("answer")
        assert one.receive().value == "answer"


@pytest.mark.parametrize("kind", [NativeChannel, NodeChannel])
def test_a_full_socket_keeps_what_waits_in_order(kind):
    one, two = pair(kind)
    one._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    texts = [str(i) * 50000 for i in range(20)]
    with one, two:
        for text in texts:
            one.send(text, wait=False)
        assert one.unsent
        got = []
        while len(got) < len(texts):
            one.flush()
            got += [m.value for m in two.ready()]
        assert got == texts and not one.unsent


@pytest.mark.parametrize("kind", [NativeChannel, NodeChannel])
def test_timeouts(kind):
    one, two = pair(kind)
    with one, two:
        with pytest.raises(TimeoutError):
            one.receive(0.01)
        for _ in range(100):
            one.send("x" * 10000, wait=False)
        with pytest.raises(TimeoutError):
            one.disconnect(0.01)
        assert one.fileno() >= 0
        assert len(list(two.ready())) > 0
        two.close()


@pytest.mark.parametrize("kind", [NativeChannel, NodeChannel])
def test_asyncio(kind):
    async def talk():
        one, two = pair(kind)
        done = asyncio.get_running_loop().create_future()
        got = []

        def answer(message):
            two.send(message.value)

        def collect(message):
            got.append(message.value)
            if len(got) == 300:
                one.disconnect()
                done.set_result(None)

        ends = []
        two.watch(answer, ends.append)
        one.watch(collect)
        for i in range(300):
            one.send([i, "x" * 5000])
        await asyncio.wait_for(done, 20)
        while not ends:
            await asyncio.sleep(0)
        two.close()
        return got, ends

    got, ends = asyncio.run(talk())
    assert [value[0] for value in got] == list(range(300))
    assert ends == [None]


@pytest.mark.parametrize("environment, text", [
    ({}, "neither"),
    ({"SPAWND_CHANNEL_FD": "0"}, "SPAWND_CHANNEL_VERSION=: "),
    ({"SPAWND_CHANNEL_FD": "0", "SPAWND_CHANNEL_VERSION": "2"}, "SPAWND_CHANNEL_VERSION=2"),
    ({"SPAWND_CHANNEL_FD": "-1", "SPAWND_CHANNEL_VERSION": "1"}, "SPAWND_CHANNEL_FD=-1"),
    ({"SPAWND_CHANNEL_FD": "900", "SPAWND_CHANNEL_VERSION": "1"}, "Bad file descriptor"),
    ({"NODE_CHANNEL_FD": "0"}, "NODE_CHANNEL_FD=0"),
    ({"NODE_CHANNEL_FD": "0", "NODE_CHANNEL_SERIALIZATION_MODE": "advanced"}, "advanced"),
])
def test_what_is_no_channel_is_refused(environment, text):
    code = "import os, spawnd_child\ntry:\n  spawnd_child.attach()\nexcept spawnd_child.ChannelError as e:\n  print(e)\n" \
        "assert not [k for k in os.environ if 'CHANNEL' in k]"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(MODULE), **environment},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    assert text in done.stdout


# ---- Node's protocol


def test_node_bytes_on_the_wire():
    channel, sock = bare(NodeChannel)
    with sock, socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        channel.send({"b": [1, None]})
        assert lines(sock) == ['{"b":[1,null]}']
        channel.send("srv", [server])
        data, fds, _, _ = socket.recv_fds(sock, 4096, 4)
        os.close(fds[0])
        assert data == b'{"cmd":"NODE_HANDLE","type":"net.Server","msg":"srv"}\n' and len(fds) == 1
        channel.send("held 1", wait=False)
        channel.send("held 2", [udp], wait=False)
        channel.send("held 3", wait=False)
        assert silent(sock)
        sock.send(b'{"cmd":"NODE_HANDLE_ACK"}\n')
        assert not list(channel.ready())
        data, fds, _, _ = socket.recv_fds(sock, 4096, 4)
        os.close(fds[0])
        assert data == b'"held 1"\n{"cmd":"NODE_HANDLE","type":"dgram.Socket","dgramType":"udp4","msg":"held 2"}\n'
        sock.send(b'{"cmd":"NODE_HANDLE_NACK"}\n')
        assert not list(channel.ready())
        assert lines(sock) == ['"held 3"']
        channel.close()


def test_node_sockets_that_did_not_arrive_are_sent_three_times_more():
    channel, sock = bare(NodeChannel)
    one, two = socket.socketpair()
    with sock, one, two:
        channel.send("s", [one])
        channel.send("after", wait=False)
        for _ in range(4):
            data, fds, _, _ = socket.recv_fds(sock, 4096, 4)
            assert json.loads(data)["type"] == "net.Socket" and len(fds) == 1
            os.close(fds[0])
            sock.send(b'{"cmd":"NODE_HANDLE_NACK"}\n')
            with pytest.warns(ResourceWarning) if _ == 3 else pytest.MonkeyPatch.context():
                assert not list(channel.ready())
        assert lines(sock) == ['"after"']
        channel.close()


def test_node_handles_are_acknowledged_before_the_user_sees_them():
    channel, sock = bare(NodeChannel)
    with sock, socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        say(sock, b'1\n{"cmd":"NODE_HANDLE","type":"net.Server","msg":{"a":2}}\n3\n', [server.fileno()])
        messages = list(channel.ready())
        assert [m.value for m in messages] == [1, {"a": 2}, 3]
        assert messages[1].handles[0].getsockname() == server.getsockname() and messages[1].handles[0].gettimeout() == 0.0
        messages[1].close()
        assert lines(sock) == ['{"cmd":"NODE_HANDLE_ACK"}']
        say(sock, b'{"cmd":"NODE_HANDLE","type":"net.Server","msg":"none"}\n{"cmd":"NODE_UNKNOWN"}\n')
        assert not list(channel.ready())
        assert lines(sock) == ['{"cmd":"NODE_HANDLE_NACK"}']
        channel.close()


def test_node_counted_sockets():
    channel, sock = bare(NodeChannel)
    one, two = socket.socketpair()
    with sock, one, two:
        for _ in range(3):
            say(sock, b'{"cmd":"NODE_HANDLE","type":"net.Socket","msg":0,"key":"4:::1"}\n', [one.fileno()])
        received = [m.handles[0] for m in channel.ready()]
        assert lines(sock) == ['{"cmd":"NODE_HANDLE_ACK"}'] * 3
        received.pop().close()
        sock.send(b'{"cmd":"NODE_SOCKET_GET_COUNT","key":"4:::1"}\n')
        assert not list(channel.ready())
        assert lines(sock) == ['{"cmd":"NODE_SOCKET_COUNT","key":"4:::1","count":2}']
        sock.send(b'{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"4:::1"}\n')
        assert not list(channel.ready())
        os.close(received.pop().detach())
        assert silent(sock)
        received.pop().close()
        assert lines(sock) == ['{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"4:::1"}']
        channel.close()


def test_node_refuses_what_node_would_choke_on():
    channel, sock = bare(NodeChannel)
    with sock, open("/dev/null") as file:
        with pytest.raises(ValueError, match="only sockets"):
            channel.send("file", [file])
        with pytest.raises(ValueError, match="at most one"):
            channel.send("two", [sock, sock])
        with pytest.raises(ValueError, match="NODE_"):
            channel.send({"cmd": "NODE_HANDLE"})
        with pytest.raises(ValueError):
            channel.send(float("nan"))
        channel.send("fine")
        assert lines(sock) == ['"fine"']
        channel.close()


@pytest.mark.parametrize("data, count, text", [
    (b"no json\n", 0, ""),
    (b"\xff\xfe\n", 0, ""),
    (b"[" * 200000 + b"\n", 0, ""),
    (b"x" * (2 << 20), 0, "more than 1048576"),
    (b"1\n", 2, "no message announced"),
], ids=lambda value: repr(value)[:40])
def test_node_garbage_is_refused_and_leaks_nothing(data, count, text):
    channel, sock = bare(NodeChannel, limit=1 << 20)
    with sock:
        if count:
            say(sock, data, [0] * count)
        def write():
            with contextlib.suppress(BrokenPipeError):
                sock.sendall(b"" if count else data)

        writer = threading.Thread(target=write)
        writer.start()
        with pytest.raises(ProtocolError, match=text):
            while channel.receive(5):
                pass
        channel.close()
        writer.join()


def test_node_half_a_line_at_the_end_is_dropped():
    channel, sock = bare(NodeChannel)
    sock.send(b'1\n{"half":')
    sock.close()
    assert [m.value for m in channel] == [1]
    channel.close()


# ---- against programs


def echo_all(channel, values):
    """All of them on their way at once: receiving writes what the socket did not take."""
    for value in values:
        channel.send(value, wait=False)
    assert [channel.receive(30).value for _ in values] == values


def native_echo(process, channel):
    with channel:
        echo_all(channel, [b"", b"x", b"y" * 65536, b"z" * 65537, "text", {"json": True}, random.Random(5).randbytes(8 << 20) * 8])
        with open("/dev/null") as file, socket.socket() as sock:
            for i in range(1000):
                channel.send(i, [file, sock] * (i % 9))
                message = channel.receive(30)
                assert message.value == i and len(message.handles) == 2 * (i % 9)
                message.close()
            channel.send(bytes(200000), [sock, file], wait=True)
            message = channel.receive(30)
            assert len(message.data) == 200000 and isinstance(message.handles[0], socket.socket) and len(message.handles) == 2
            message.close()
        channel.end()
        assert channel.receive(30) is None
    assert process.wait(30) == 0


def test_the_c_library_sends_everything_back():
    native_echo(*child([str(BUILD / "bin" / "example_child")], NativeChannel))


def test_the_module_sends_everything_back():
    native_echo(*child([sys.executable, str(EXAMPLES / "child.py")], NativeChannel))


def test_the_c_library_tells_garbage_and_ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.set_inheritable(True)
        process = subprocess.Popen([str(BUILD / "bin" / "example_child")], pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, "SPAWND_CHANNEL_FD": str(theirs.fileno()), "SPAWND_CHANNEL_VERSION": "1"})
        ours.send(b"\0\0\0\0")
        assert process.communicate(timeout=30)[1] == "child: receiving: a record is empty\n"
        assert process.returncode == 1


# sh knows descriptors of one digit; Node's fork() and spawnd give 3
AS_3 = """import os, sys
os.dup2(int(os.environ["NODE_CHANNEL_FD"]), 3)
os.environ["NODE_CHANNEL_FD"] = "3"
os.execv(sys.argv[1], sys.argv[1:])"""


def test_two_lines_of_shell_take_part():
    process, channel = child([sys.executable, "-c", AS_3, str(EXAMPLES / "child.sh")], NodeChannel)
    with channel:
        channel.send({"a": "b c"})
        assert channel.receive(30).value == {"got": {"a": "b c"}}
    assert process.wait(30) == 0


def test_a_node_child_sends_everything_back():
    process, channel = child([NODE, str(EXAMPLES / "child.js")], NodeChannel)
    with channel, socket.create_server(("127.0.0.1", 0)) as server:
        echo_all(channel, ["x", {"cmd": "NODE"}, None, [1.5, "ü"], "z" * (4 << 20)])
        for i in range(20):
            channel.send(i, [server])
            message = channel.receive(30)
            assert message.value == i and message.handles[0].getsockname() == server.getsockname()
            message.close()
        with socket.create_connection(server.getsockname()) as near:
            far = server.accept()[0]
            channel.send("connection", [far])
            far.close()
            message = channel.receive(30)
            with message.handles[0] as back:
                back.setblocking(True)
                near.send(b"ping")
                assert back.recv(10) == b"ping"
    assert process.wait(30) == 0


PARENT = """
const {fork} = require('child_process'), net = require('net');
const child = fork(process.argv[1], {execPath: process.argv[2], stdio: ['ignore', 1, 2, 'ipc']});
const server = net.createServer(), seen = [];
server.listen(0, '127.0.0.1', () => { child.send('plain'); child.send('server', server); child.send({n: 3}); });
child.on('message', (message, handle) => {
  seen.push([message, handle ? handle.constructor.name : null]);
  if (handle instanceof net.Server) handle.close();
  if (seen.length === 3) net.connect(server.address().port, '127.0.0.1');
  if (seen.length === 4) { handle.destroy(); server.close(() => { child.disconnect(); }); }
});
server.on('connection', (socket) => child.send('socket', socket));
child.on('exit', (code) => console.log(JSON.stringify({seen, code})));
"""


def test_a_parent_in_node_forks_the_module():
    done = subprocess.run([NODE, "-e", PARENT, str(EXAMPLES / "child.py"), sys.executable], stdout=subprocess.PIPE, text=True, timeout=30,
                          env={**os.environ, "PYTHONPATH": str(MODULE)}, check=True)
    assert json.loads(done.stdout) == {
        "seen": [["plain", None], ["server", "Server"], [{"n": 3}, None], ["socket", "Socket"]], "code": 0}
