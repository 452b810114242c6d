"""Message channels: Node's children as they are, children of any language, both directions, the end."""
import contextlib
import hashlib
import json
import os
import signal
import socket
import urllib.request

import pytest

import ttrpc
from ttrpc import RpcError, processes, stdio

JSON, ADVANCED, NATIVE = (processes.SERIALIZATION_JSON, processes.SERIALIZATION_ADVANCED, processes.SERIALIZATION_NATIVE)
SANITIZED = bool(os.environ.get("SPAWND_SANITIZED"))  # such a program keeps much of what it frees
ECHO = "process.on('message', (m) => process.send({got: m}))"


class Fork:
    """A process with a channel, and its stream."""

    def __init__(self, client, *argv, serialization=JSON, slots=(), **spec):
        self.slot = 3
        self.client = client
        self.stream = client.spawn(*argv, serialization=serialization, stdio=[stdio(3, processes.Stdio.KIND_CHANNEL), *slots], **spec)
        self.next_id = 0
        self.owed = (0, 0)
        self.room = [1 << 20, 1024]
        self.events = []
        self.output = b""
        self.disconnected = self.exit = None

    def send_bytes(self, data, fds=(), **more):
        self.next_id += 1
        self.wait_for_room(len(data))
        self.stream.send(processes.SpawnRequest(control=processes.ProcessControl(
            message=processes.ChannelMessage(id=self.next_id, data=data, **more))), fds=fds)
        return self.next_id

    def send(self, value, **more):
        return self.send_bytes(json.dumps(value).encode(), **more)

    def disconnect(self):
        self.stream.control(disconnect=processes.DisconnectCommand())

    def grant(self, size):
        """Gives back what one event cost, some events at a time."""
        self.owed = (self.owed[0] + size, self.owed[1] + 1)
        if self.owed[1] >= 16 or self.owed[0] >= 1 << 18:
            self.stream.send(processes.SpawnRequest(control=processes.ProcessControl(
                grant=ttrpc.common.Grant(slot=self.slot, bytes=self.owed[0], messages=self.owed[1]))))
            self.owed = (0, 0)

    def next(self):
        """The next event that is not output, which is kept."""
        while True:
            event = self.stream.receive()
            if event is None:
                return None
            kind = event.WhichOneof("event")
            if kind == "output":
                self.output += event.output.data
                self.stream.grant(len(event.output.data), 1)
            elif kind == "message_grant":
                self.room[0] += event.message_grant.bytes
                self.room[1] += event.message_grant.messages
                self.grant(0)
            else:
                self.events.append(kind)
                if kind != "message":
                    self.grant(0)
                return event

    def wait_for_room(self, size):
        while self.room[0] < size or not self.room[1]:
            event = self.stream.receive()
            assert event.WhichOneof("event") == "message_grant", event
            self.room[0] += event.message_grant.bytes
            self.room[1] += event.message_grant.messages
            self.grant(0)
        self.room[0] -= size
        self.room[1] -= 1

    def message(self):
        """The next message, put together."""
        data, more = bytearray(), True
        while more:
            event = self.next()
            if event.WhichOneof("event") == "exited":
                self.exit = event.exited.exit
                continue
            assert event.WhichOneof("event") == "message" and event.message.offset == len(data), event
            self.last = event.message if not data else self.last
            assert event.message.id == self.last.id
            data += event.message.data
            more = event.message.more
            self.grant(len(event.message.data))
        return bytes(data)

    def value(self):
        return json.loads(self.message())

    def finish(self):
        """All that still comes: messages as values, the end."""
        values = []
        while (event := self.next()) is not None:
            kind = event.WhichOneof("event")
            if kind == "message":
                values.append(json.loads(event.message.data))
                self.grant(len(event.message.data))
            elif kind == "disconnected":
                self.disconnected = event.disconnected
            elif kind == "exited":
                self.exit = event.exited.exit
        return values


def test_messages_of_a_node_child_as_it_is(client):
    client.hello()
    fork = Fork(client, "node", "-e", ECHO)
    for value in ({"a": [1, "zwölf", None]}, "text", 7, True, None, [], "line\nend \u2028", {"cmd": "NODE"}):
        fork.send(value)
        if fork.next_id == 1:
            assert fork.next().WhichOneof("event") == "spawned"
        assert fork.value() == {"got": value}
    fork.disconnect()
    assert fork.finish() == []
    assert fork.exit.code == 0 and fork.disconnected.reason == processes.Disconnected.REASON_CLIENT
    assert fork.events.index("disconnected") < fork.events.index("closed")


def python(script):
    return ("/usr/bin/python3", "-c", script)


# a native child: records read and written by hand
NATIVE_CHILD = """
import array, os, socket, struct, sys
channel = socket.socket(fileno=int(os.environ['SPAWND_CHANNEL_FD']))
assert os.environ['SPAWND_CHANNEL_VERSION'] == '1' and 'NODE_CHANNEL_FD' not in os.environ
def varint(n):
    out = b''
    while n > 127: out += bytes([n & 127 | 128]); n >>= 7
    return out + bytes([n])
def take(data, at):
    n = shift = 0
    while True:
        n |= (data[at] & 127) << shift; shift += 7; at += 1
        if data[at - 1] < 128: return n, at
def read():
    global fds
    fds = []
    head = b''
    while len(head) < 4:
        more, rights, _, _ = channel.recvmsg(4 - len(head), 4096)
        for _, _, raw in rights: fds += array.array('i', raw)
        if not more: return None
        head += more
    body = bytearray(struct.unpack('>I', head)[0])
    view = memoryview(body)
    while view: view = view[channel.recv_into(view):]
    at, kind, count = 0, b'', 0
    while at < len(body):
        tag, at = take(body, at)
        n, at = take(body, at)
        if tag == 8: count = n
        elif tag == 18: kind = bytes(body[at:at + n]); at += n
        elif tag == 122: return kind, body[at:], count
    return kind, b'', count
def write(data, kind=b'', fds=()):
    body = (varint(8) + varint(len(fds)) if fds else b'') + (b'\\x12' + varint(len(kind)) + kind if kind else b'') + b'\\x7a' + varint(len(data))
    frame = struct.pack('>I', len(body) + len(data)) + body + data
    if fds:
        sent = channel.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])
        frame = frame[sent:]
    channel.sendall(frame)
"""


def test_native_messages_of_any_bytes_with_their_type(client):
    client.hello()
    script = NATIVE_CHILD + "while (m := read()): write(m[1][::-1], m[0])"
    fork = Fork(client, *python(script), serialization=NATIVE)
    assert fork.next().WhichOneof("event") == "spawned"
    for data, kind in ((b"abc", ""), (b"", "text/plain"), (bytes(range(256)) * 40, "a" * 127), (b"x" * 65536, "b")):
        fork.send_bytes(data, content_type=kind)
        assert fork.message() == data[::-1] and fork.last.content_type == kind and fork.last.size == len(data)
    fork.disconnect()
    assert fork.finish() == [] and fork.exit.code == 0


def test_native_descriptors_of_any_kind_both_ways(client, tmp_path):
    client.hello()
    script = NATIVE_CHILD + """
m = read()
names = [os.readlink(f'/proc/self/fd/{fd}') for fd in fds]
assert m[2] == len(fds)
write('\\n'.join(names).encode(), b'', fds)
read()
"""
    fork = Fork(client, *python(script), serialization=NATIVE)
    fork.next()
    files = [open(tmp_path / str(i), "w+") for i in range(16)]
    handles = [processes.ChannelHandle(fd=processes.FdSpec(attached=i)) for i in range(16)]
    fork.send_bytes(b"take these", fds=[f.fileno() for f in files], handles=handles)
    names = fork.message().decode().splitlines()
    assert names == [str(tmp_path / str(i)) for i in range(16)]
    assert [h.kind for h in fork.last.handles] == [processes.ChannelHandle.KIND_OTHER] * 16
    assert [os.readlink(f"/proc/self/fd/{fd}") for fd in client.fds] == names
    for fd in client.fds:
        os.close(fd)
    client.fds.clear()
    fork.disconnect()
    fork.finish()
    assert fork.exit.code == 0


def test_a_node_child_serves_http_on_what_it_is_given(client):
    client.hello()
    script = """
    const http = require('http');
    const server = http.createServer((q, r) => r.end('served ' + q.url));
    process.on('message', (m, handle) => {
      if (m === 'server') server.listen(handle, () => process.send('listening'));
      else if (m === 'socket') { server.emit('connection', handle); handle.resume(); process.send('taken'); }
      else process.exit(0);
    });"""
    fork = Fork(client, "node", "-e", script)
    fork.next()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fork.send("server", fds=[listener.fileno()], handles=[processes.ChannelHandle(fd=processes.FdSpec(attached=0))])
        assert fork.value() == "listening"
        port = listener.getsockname()[1]
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/a", timeout=20).read() == b"served /a"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fork.send("socket", fds=[theirs.fileno()], handles=[processes.ChannelHandle(fd=processes.FdSpec(attached=0))])
        assert fork.value() == "taken"
        theirs.close()
        ours.sendall(b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := ours.recv(65536):
            answer += piece
        assert answer.endswith(b"served /b")
    fork.send("end")
    fork.finish()
    assert fork.exit.code == 0


def test_a_node_child_sends_its_server_and_everything_behind_it_waits(client):
    client.hello()
    script = """
    const server = require('net').createServer((c) => c.end('from the child'));
    server.listen(0, '127.0.0.1', () => {
      process.send('before');
      process.send({port: server.address().port}, server);
      for (let i = 0; i < 100; i++) process.send(i);
    });
    process.on('message', () => process.exit(0));"""
    fork = Fork(client, "node", "-e", script)
    fork.next()
    assert fork.value() == "before"
    port = fork.value()["port"]
    [handle] = fork.last.handles
    assert handle.kind == processes.ChannelHandle.KIND_SERVER and not handle.lost
    assert [fork.value() for _ in range(100)] == list(range(100))
    [fd] = client.fds
    client.fds.clear()
    fork.send("end")
    fork.finish()
    with socket.socket(fileno=fd) as server, socket.create_connection(("127.0.0.1", port)) as connection:
        # the child is gone, its server is ours
        assert server.getsockname()[1] == port
        server.setblocking(True)
        accepted, _ = server.accept()
        accepted.sendall(b"from us")
        accepted.close()
        assert connection.recv(100) == b"from us"


@pytest.mark.parametrize("what", ["file", "pipe", "unix datagram"])
def test_what_node_cannot_take_is_never_sent_to_it(client, tmp_path, what):
    client.hello()
    fork = Fork(client, "node", "-e", ECHO)
    fork.next()
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    fds = {"file": os.open(tmp_path / "f", os.O_CREAT | os.O_RDWR), "pipe": os.pipe()[0], "unix datagram": pair[0].fileno()}
    number = fork.send("m", fds=[fds[what]], handles=[processes.ChannelHandle(fd=processes.FdSpec(attached=0))])
    event = fork.next()
    assert event.message_result.id == number and event.message_result.error.field == "message.handles"
    fork.send("still there")
    assert fork.value() == {"got": "still there"}
    fork.disconnect()
    fork.finish()
    assert fork.exit.code == 0


def test_messages_sent_before_the_exit_arrive_and_closed_is_last(client):
    client.hello()
    fork = Fork(client, "node", "-e", "for (let i = 0; i < 1000; i++) process.send(i, i === 999 ? () => process.disconnect() : undefined); process.exitCode = 3")
    assert fork.finish() == list(range(1000))
    assert fork.exit.code == 3 and fork.events[-1] == "closed"
    assert fork.disconnected.reason == processes.Disconnected.REASON_CHILD
    assert fork.events.index("disconnected") > max(i for i, kind in enumerate(fork.events) if kind == "message")


def test_a_shell_of_two_lines_takes_part(client):
    client.hello()
    fork = Fork(client, "sh", "-c", 'while read -r line <&3; do echo "[1,$line]" >&3; done')
    fork.next()
    fork.send_bytes(b'{\n "pretty":\n 1\n}')
    assert fork.value() == [1, {"pretty": 1}]
    fork.disconnect()
    assert fork.finish() == [] and fork.exit.code == 0


def test_what_is_no_message_for_the_child_is_told_and_the_channel_goes_on(client):
    client.hello()
    fork = Fork(client, "node", "-e", ECHO)
    fork.next()
    for data in (b"{", b"", b"1 2", b'"\n"', b'{"cmd":"NODE_HANDLE_ACK"}', b'{"a":1,"cmd":"\\u004eODE_X"}'):
        number = fork.send_bytes(data)
        result = fork.next().message_result
        assert result.id == number and result.error.field == "message.data", result
    number = fork.send_bytes(b"1", tell=True)
    told = [fork.next(), fork.next()]
    assert {e.WhichOneof("event") for e in told} == {"message_result", "message"}
    [result] = [e.message_result for e in told if e.WhichOneof("event") == "message_result"]
    assert result.id == number and not result.HasField("error")
    fork.disconnect()
    fork.finish()
    number = None


GARBAGE = {
    "no JSON": (JSON, "os.write(3, b'hello\\n')", "not JSON"),
    "half a value": (JSON, "os.write(3, b'{\"a\":\\n')", "breaks off"),
    "an empty line": (JSON, "os.write(3, b'\\n')", "empty line"),
    "a binary": (JSON, "os.write(3, bytes(range(256)))", "not JSON"),
    "an endless line": (JSON, "\nwhile True: os.write(3, b'\"' + b'x' * 65536 + b'\\1')", "not JSON"),
    "handles without descriptors": (JSON, "\nfor _ in range(5): os.write(3, b'{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":1}\\n')",
                                    "without the descriptors"),
    "a thousand descriptors": (JSON, "s = socket.socket(fileno=3)\nfor _ in range(1000): socket.send_fds(s, [b'1\\n'], [0])",
                               "no message names"),
    "sixty descriptors at once": (JSON, "s = socket.socket(fileno=3)\nsocket.send_fds(s, [b'{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":1}\\n'], [0] * 60)",
                                  "more than one descriptor"),
    "no V8": (ADVANCED, "os.write(3, b'\\0\\0\\0\\5hello')", "V8"),
    "a short frame": (ADVANCED, "os.write(3, b'\\0\\0\\0\\1h')", "too short"),
    "an empty record": (NATIVE, "os.write(3, b'\\0\\0\\0\\0')", "empty record"),
    "no record": (NATIVE, "os.write(3, b'\\0\\0\\0\\5hello')", "ChannelRecord"),
    "descriptors nobody named": (NATIVE, "s = socket.socket(fileno=3)\nsocket.send_fds(s, [b'\\0\\0\\0\\2\\x7a\\0'], [0])", "no message names"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_a_child_that_talks_garbage_loses_its_channel_and_nobody_else(daemon, client, name):
    client.hello()
    serialization, script, why = GARBAGE[name]
    other = Fork(client, "node", "-e", ECHO)
    assert other.next().WhichOneof("event") == "spawned"
    Fork(client, *python("")).finish()  # the daemon keeps the directories of programs open
    before = client.stats().fds
    fork = Fork(client, *python("import os, socket, sys, signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\n" + script + "\nsys.stdin.read()"),
                serialization=serialization)
    while (event := fork.next()).WhichOneof("event") != "disconnected":
        pass
    assert event.disconnected.reason == processes.Disconnected.REASON_ERROR and why in event.disconnected.why, event
    fork.stream.write(b"", eof=True)
    fork.finish()
    assert client.stats().fds <= before
    other.send("alive")
    assert other.value() == {"got": "alive"}
    other.disconnect()
    other.finish()


def test_half_a_line_at_the_end_is_dropped_and_told(client):
    client.hello()
    fork = Fork(client, *python("import os; os.write(3, b'1\\n{\"half\":')"))
    assert fork.finish() == [1]
    assert fork.disconnected.reason == processes.Disconnected.REASON_CHILD and "8 bytes are lost" in fork.disconnected.why


def pieces(data, size=262144):
    return [data[i:i + size] for i in range(0, len(data), size)] or [b""]


def send_large(fork, data, **more):
    """In pieces, within the window; counts what is granted. Results end it."""
    fork.next_id += 1
    parts, at = pieces(data), 0
    for index, part in enumerate(parts):
        fork.wait_for_room(len(part))
        first = {"size": len(data), **more} if index == 0 else {}
        fork.stream.send(processes.SpawnRequest(control=processes.ProcessControl(message=processes.ChannelMessage(
            id=fork.next_id, offset=at, more=index + 1 < len(parts), data=part, **first))))
        at += len(part)


@pytest.mark.parametrize("serialization", [JSON, NATIVE])
def test_a_large_message_arrives_whole_and_costs_the_daemon_nothing(client, serialization):
    client.hello()
    size = 256 << 20
    if serialization == JSON:
        script = "import hashlib, sys\nh = hashlib.sha256(); c = open(3, 'rb', buffering=0)\nn = 0\nlast = b''\n" \
                 "while not last.endswith(b'\\n'):\n  last = c.read(1 << 20); h.update(last); n += len(last)\n" \
                 "open(3, 'wb', buffering=0, closefd=False).write(b'\"%s %d\"\\n' % (h.hexdigest().encode(), n))"
        data = b'"' + b"0123456789abcdef" * (size // 16) + b'"'
        expected = json.dumps(f"{hashlib.sha256(data + bytes([10])).hexdigest()} {len(data) + 1}").encode()
    else:
        script = NATIVE_CHILD + "import hashlib; m = read(); write(('%s %d' % (hashlib.sha256(m[1]).hexdigest(), len(m[1]))).encode())"
        data = b"0123456789abcdef" * (size // 16)
        expected = f"{hashlib.sha256(data).hexdigest()} {len(data)}".encode()
    fork = Fork(client, *python(script), serialization=serialization)
    fork.next()
    before = client.stats().rss_bytes
    send_large(fork, data)
    assert SANITIZED or client.stats().rss_bytes < before + (24 << 20)
    assert fork.message() == expected
    fork.finish()


def test_a_large_message_of_a_child_while_the_client_pauses(client):
    client.hello()
    size = 64 << 20
    script = f"const s = 'x'.repeat({size}); for (let i = 0; i < 1000; i++) process.send(i); process.send(s, () => process.disconnect())"
    fork = Fork(client, "node", "-e", script)
    assert fork.next().WhichOneof("event") == "spawned"
    before = client.stats().rss_bytes  # the pause: nothing is granted until here
    assert [fork.value() for _ in range(1000)] == list(range(1000))
    data = fork.message()
    assert data == b'"' + b"x" * size + b'"'
    assert client.stats().rss_bytes < before + (24 << 20)
    fork.finish()


def test_many_small_messages_in_order(client):
    client.hello()
    count = 100000
    fork = Fork(client, "node", "-e", "let n = 0; process.on('message', (m) => { if (m !== n++) process.exit(9); if (n === %d) process.disconnect(); });" % count)
    fork.next()
    for i in range(count):
        fork.send(i)
    fork.finish()
    assert fork.exit.code == 0
    fork = Fork(client, "node", "-e", "let n = 0; (function go() { while (n < %d) if (!process.send(n, n++ === %d ? () => process.disconnect() : undefined)) return setImmediate(go); })()" % (count, count - 1))
    assert fork.finish() == list(range(count))


def test_send_and_disconnect_from_another_client(daemon, client):
    client.hello()
    fork = Fork(client, "node", "-e", ECHO)
    process = fork.next().spawned.id
    with daemon.client() as other:
        stream = other.stream("Processes", "Send", processes.SendReply)
        stream.send(processes.SendRequest(start=processes.SendStart(process=ttrpc.ref(process))))
        stream.send(processes.SendRequest(data=processes.ChannelMessage(id=5, data=b'"a"', tell=True)))
        stream.send(processes.SendRequest(data=processes.ChannelMessage(id=6, data=b"nothing")))
        stream.half_close()
        results = {reply.result.id: reply.result for reply in stream}
        assert set(results) == {5, 6} and not results[5].HasField("error") and results[6].error.field == "message.data"
        assert fork.value() == {"got": "a"}
        once = processes.DisconnectRequest(process=ttrpc.ref(process), idempotency_key="once")
        other.call("Processes", "Disconnect", once, processes.DisconnectReply())
        fork.finish()
        other.call("Processes", "Disconnect", once, processes.DisconnectReply())
        with pytest.raises(RpcError) as error:
            other.call("Processes", "Disconnect", processes.DisconnectRequest(process=ttrpc.ref(process)), processes.DisconnectReply())
        assert error.value.detail.code == "ERR_IPC_CHANNEL_CLOSED"


def test_messages_wait_for_their_first_reader(daemon, client):
    client.hello()
    process = client.start("node", "-e", "process.send('early'); process.on('message', (m) => process.send(m))",
                           stdio=[stdio(4, processes.Stdio.KIND_CHANNEL)])
    stream = client.stream("Processes", "Attach", processes.ProcessEvent)
    reader = processes.Reader(messages=processes.Reader.MESSAGES_READ)
    stream.send(processes.AttachRequest(start=processes.AttachStart(process=ttrpc.ref(process), reader=reader)))
    while (event := stream.receive()).WhichOneof("event") != "message":
        pass
    assert event.message.data == b'"early"' and event.message.id == 1
    stream.send(processes.AttachRequest(control=processes.ProcessControl(disconnect=processes.DisconnectCommand())))
    assert [e.WhichOneof("event") for e in stream][-1] == "closed"


@pytest.mark.parametrize("spec, field", [
    ({"stdio": [stdio(3, processes.Stdio.KIND_CHANNEL), stdio(4, processes.Stdio.KIND_CHANNEL)]}, "spec.stdio[1].kind"),
    ({"serialization": ADVANCED}, "spec.serialization"),
])
def test_what_a_spec_cannot_ask_for(client, spec, field):
    with pytest.raises(RpcError) as error:
        client.start("true", **spec)
    assert error.value.code == "INVALID_ARGUMENT" and error.value.detail.field == field


# ---- many descriptors


def open_fds(pid):
    """What messages and their channels are made of, open in a process."""
    names = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return sorted(name.split(":")[0] for name in names if name.startswith(("socket:", "pipe:", "/memfd:spawnd-channel", "/memfd:spawnd-ring")))


class Counted:
    """Descriptors of daemon and keeper before and after."""

    def __init__(self, client):
        self.order(client)
        self.before = self.now(client)

    @staticmethod
    def order(client):
        """The keeper drops what it held with its next order, which leaves nothing there itself."""
        client.wait(client.start("true", stdio=[stdio(slot, processes.Stdio.KIND_NULL) for slot in range(3)]), closed=True)

    @staticmethod
    def now(client):
        stats = client.stats()
        return open_fds(stats.engine_pid), open_fds(stats.keeper_pid)

    def settle(self, client, process):
        """The process has ended and is removed: nothing is left of it."""
        client.wait(process, closed=True)
        client.call("Processes", "Remove", processes.RemoveRequest(process=ttrpc.ref(process)), processes.RemoveReply())
        assert client.stats().channel_fds == 0
        for _ in range(100):
            self.order(client)
            now = self.now(client)
            if all(len(there) <= len(before) for there, before in zip(now, self.before)):
                return
        raise AssertionError(f"left: {now}, before: {self.before}")


def handles(count):
    return [processes.ChannelHandle(fd=processes.FdSpec(attached=i)) for i in range(count)]


RETURN_NATIVE = NATIVE_CHILD + """
while (m := read()):
    write(m[1], b'', fds)
    for fd in fds: os.close(fd)
    fds.clear()
"""
RETURN_NODE = "process.on('message', (m, handle) => process.send(m, handle, () => handle.close()))"


def take_fds(client, count):
    taken, client.fds[:count] = client.fds[:count], []
    return taken


def test_ten_thousand_native_descriptors_there_and_back(client):
    client.hello()
    counted = Counted(client)
    fork = Fork(client, *python(RETURN_NATIVE), serialization=NATIVE)
    process = fork.next().spawned.id
    files = [os.memfd_create(str(i)) for i in range(16)]
    inodes = [os.fstat(fd).st_ino for fd in files]
    for i in range(625):
        fork.send_bytes(b"%d" % i, fds=files, handles=handles(16))
        assert fork.message() == b"%d" % i
        back = take_fds(client, 16)
        assert [os.fstat(fd).st_ino for fd in back] == inodes
        for fd in back:
            os.close(fd)
    fork.disconnect()
    fork.finish()
    assert fork.exit.code == 0 and client.fds == []
    counted.settle(client, process)
    for fd in files:
        os.close(fd)


def test_ten_thousand_sockets_through_node_and_back(client):
    client.hello()
    counted = Counted(client)
    fork = Fork(client, "node", "-e", RETURN_NODE)
    process = fork.next().spawned.id
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inode, under_way, sent = os.fstat(listener.fileno()).st_ino, 16, 0
        for got in range(10000):
            while sent < min(10000, got + under_way):
                fork.send(sent, fds=[listener.fileno()], handles=handles(1))
                sent += 1
            assert fork.value() == got
            [back] = take_fds(client, 1)
            assert os.fstat(back).st_ino == inode
            os.close(back)
    fork.disconnect()
    fork.finish()
    assert client.fds == []
    counted.settle(client, process)


@pytest.mark.parametrize("end", ["child", "client"])
@pytest.mark.parametrize("child, serialization", [(python(RETURN_NATIVE), NATIVE), (("node", "-e", RETURN_NODE), JSON)], ids=["native", "node"])
def test_an_end_that_is_killed_in_the_middle_leaks_no_descriptor(daemon, client, end, child, serialization):
    client.hello()
    counted = Counted(client)
    with daemon.client() as other, socket.create_server(("127.0.0.1", 0)) as listener:
        other.hello()
        fork = Fork(other, *child, serialization=serialization, on_disconnect=processes.ON_DISCONNECT_STOP)
        spawned = fork.next().spawned
        for i in range(200):  # unread: some wait on every part of the way
            fork.send_bytes(b"1", fds=[listener.fileno()], handles=handles(1))
        assert fork.message() == b"1"
        if end == "child":
            os.kill(spawned.pid, signal.SIGKILL)
            fork.finish()
        for fd in other.fds:
            os.close(fd)
    counted.settle(client, spawned.id)


# ---- what others see of it


def test_events_and_numbers_of_a_channel(daemon, client):
    client.hello()
    before = client.stats()
    events = client.stream("Events", "Subscribe", ttrpc.events.Event)
    events.send(ttrpc.events.SubscribeRequest(start=ttrpc.events.SubscribeStart(types=["message", "disconnected"])))
    fork = Fork(client, "node", "-e", ECHO)
    process = fork.next().spawned.id
    fork.send("hello")
    assert fork.value() == {"got": "hello"}
    told = events.receive()
    assert (told.type, told.process, told.message.id, told.message.messages) == ("message", process, 1, 1)
    record = client.get(process).channel
    assert (record.slot, record.open, record.sent, record.received) == (3, True, 1, 1)
    assert client.stats().channels == before.channels + 1
    [shown] = daemon.ctl("inspect", process, json_lines=True, check=0)
    assert shown["channel"]["open"] is True and shown["channel"]["received"] == 1
    fork.disconnect()
    fork.finish()
    told = events.receive()
    assert (told.type, told.process, told.disconnected.reason) == ("disconnected", process, processes.Disconnected.REASON_CLIENT)
    after = client.stats()
    assert after.channels == before.channels and after.channel_bytes == after.channel_fds == 0
    assert (after.messages_sent_total, after.messages_received_total) == (before.messages_sent_total + 1, before.messages_received_total + 1)


def test_many_messages_are_few_events(client):
    client.hello()
    fork = Fork(client, "node", "-e", "for (let i = 0; i < 5000; i++) process.send(i, i < 4999 ? undefined : () => process.disconnect())")
    process = fork.next().spawned.id
    assert fork.finish()[-1] == 4999
    events = client.stream("Events", "Subscribe", ttrpc.events.Event)
    events.send(ttrpc.events.SubscribeRequest(start=ttrpc.events.SubscribeStart(since_seq=1, types=["message", "disconnected"])))
    told = [events.receive()]
    while told[-1].type == "message":
        told.append(events.receive())
    messages = [event.message for event in told[:-1]]
    assert told[-1].process == process and len(messages) < 100
    assert [m.id - m.messages for m in messages] == [0, *[m.id for m in messages[:-1]]]
