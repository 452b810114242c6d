"""A plain ttrpc client for tests: blocking, one thread, every frame visible. Written from docs/PROTOCOL.md alone.

Stubs are made from proto/ by protoc when this module is first used.
"""
import array
import importlib
import os
import pathlib
import socket
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SPAWND_BUILD", ROOT / "build"))
STUBS = BUILD / "proto" / "python"

REQUEST, RESPONSE, DATA = 1, 2, 3
REMOTE_CLOSED, REMOTE_OPEN, NO_DATA = 1, 2, 4


def _generate():
    STUBS.mkdir(parents=True, exist_ok=True)
    protos = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto").glob("spawnd/v1/*.proto"))
    subprocess.run(["protoc", f"--python_out={STUBS}", "-I", str(ROOT / "proto"), "ttrpc.proto", *protos], check=True)
    sys.path.insert(0, str(STUBS))


_generate()
envelope = importlib.import_module("ttrpc_pb2")
common = importlib.import_module("spawnd.v1.common_pb2")
processes = importlib.import_module("spawnd.v1.processes_pb2")
events = importlib.import_module("spawnd.v1.events_pb2")
pools = importlib.import_module("spawnd.v1.pools_pb2")
admin = importlib.import_module("spawnd.v1.admin_pb2")

CODES = ["OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
         "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
         "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"]


class RpcError(Exception):
    """A status that is not OK; `detail` is the spawnd.v1.ErrorDetail, empty when none came."""

    def __init__(self, status):
        super().__init__(f"{CODES[status.code]}: {status.message}")
        self.code = CODES[status.code]
        self.message = status.message
        self.detail = common.ErrorDetail()
        for any_ in status.details:
            assert any_.type_url == "type.googleapis.com/spawnd.v1.ErrorDetail"
            self.detail.ParseFromString(any_.value)


class Closed(Exception):
    """The daemon closed the connection."""


class Client:
    """One connection: to a path, or one that was made already. Frames of other streams are kept until their reader asks."""

    def __init__(self, path, timeout=30):
        given = isinstance(path, socket.socket)
        self.socket = path if given else socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        if not given:
            self.socket.connect(str(path))
        self.next_stream = 1
        self.waiting = {}
        self.buffer = b""
        self.cut = b""  # header of a frame whose payload did not come whole
        self.fds = []

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- frames

    def send_frame(self, stream, type_, flags, payload=b"", fds=()):
        frame = struct.pack(">IIBB", len(payload), stream, type_, flags) + payload
        if fds:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            sent = self.socket.sendmsg([frame], rights)
            frame = frame[sent:]
        self.socket.sendall(frame)

    def _read(self, size):
        while len(self.buffer) < size:
            data, rights, _, _ = self.socket.recvmsg(1 << 18, socket.CMSG_SPACE(253 * 4))
            for level, kind, raw in rights:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(raw[: len(raw) - len(raw) % numbers.itemsize])
                    self.fds.extend(numbers)
            if not data:
                raise Closed()
            self.buffer += data
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def read_frame(self):
        self.cut = self._read(10)
        length, stream, type_, flags = struct.unpack(">IIBB", self.cut)
        payload = self._read(length)
        self.cut = b""
        return stream, type_, flags, payload

    def frame_of(self, stream):
        """The next frame of one stream, keeping those of others."""
        queue = self.waiting.setdefault(stream, [])
        while not queue:
            got, type_, flags, payload = self.read_frame()
            self.waiting.setdefault(got, []).append((type_, flags, payload))
        return queue.pop(0)

    def take_stream(self):
        stream = self.next_stream
        self.next_stream += 2
        return stream

    # ---- calls

    def start_unary(self, service, method, request, timeout_ns=0):
        stream = self.take_stream()
        call = envelope.Request(service=f"spawnd.v1.{service}", method=method, payload=request.SerializeToString(),
                                timeout_nano=timeout_ns)
        self.send_frame(stream, REQUEST, 0, call.SerializeToString())
        return stream

    def finish_unary(self, stream, reply):
        type_, _, payload = self.frame_of(stream)
        assert type_ == RESPONSE, type_
        response = envelope.Response.FromString(payload)
        if response.status.code:
            raise RpcError(response.status)
        reply.ParseFromString(response.payload)
        return reply

    def call(self, service, method, request, reply):
        return self.finish_unary(self.start_unary(service, method, request), reply)

    def stream(self, service, method, reply_type):
        return Stream(self, service, method, reply_type)

    # ---- shorthands

    def hello(self, **context):
        request = admin.HelloRequest(client="tests", version=1, features=["fd_passing"])
        context.setdefault("cwd", os.getcwd().encode())
        context.setdefault("env", [f"{k}={v}".encode() for k, v in os.environ.items()])
        request.context.CopyFrom(admin.ClientContext(**context))
        return self.call("Admin", "Hello", request, admin.HelloReply())

    def start(self, *argv, **spec):
        request = processes.StartRequest(spec=make_spec(*argv, **spec))
        return self.call("Processes", "Start", request, processes.Process())

    def spawn(self, *argv, reader=None, key="", fds=(), **spec):
        stream = self.stream("Processes", "Spawn", processes.ProcessEvent)
        start = processes.SpawnStart(spec=make_spec(*argv, **spec), idempotency_key=key)
        if reader:
            start.reader.CopyFrom(reader)
        stream.send(processes.SpawnRequest(start=start), fds=fds)
        return stream

    def get(self, process):
        return self.call("Processes", "Get", processes.GetRequest(process=ref(process)), processes.Process())

    def wait(self, process, closed=False, timeout_ms=0):
        request = processes.WaitRequest(process=ref(process), closed=closed, timeout_ms=timeout_ms)
        return self.call("Processes", "Wait", request, processes.Process())

    def stats(self):
        return self.call("Admin", "Stats", admin.StatsRequest(), admin.StatsReply())


class Stream:
    """One bidirectional stream, opened the way stock clients do: an empty Request, then Data."""

    def __init__(self, client, service, method, reply_type):
        self.client = client
        self.reply_type = reply_type
        self.id = client.take_stream()
        request = envelope.Request(service=f"spawnd.v1.{service}", method=method)
        client.send_frame(self.id, REQUEST, REMOTE_OPEN, request.SerializeToString())

    def send(self, message, fds=()):
        self.client.send_frame(self.id, DATA, 0, message.SerializeToString(), fds)

    def half_close(self):
        self.client.send_frame(self.id, DATA, REMOTE_CLOSED | NO_DATA)

    def receive(self):
        """The next message, or None at the end; RpcError when the stream failed."""
        type_, flags, payload = self.client.frame_of(self.id)
        if type_ == RESPONSE:
            response = envelope.Response.FromString(payload)
            if response.status.code:
                raise RpcError(response.status)
            return None
        if flags == REMOTE_CLOSED | NO_DATA:
            return None
        assert type_ == DATA and not flags
        return self.reply_type.FromString(payload)

    def __iter__(self):
        while (message := self.receive()) is not None:
            yield message

    def control(self, **what):
        self.send(processes.SpawnRequest(control=processes.ProcessControl(**what)))

    def grant(self, size, messages=64):
        self.control(grant=common.Grant(bytes=size, messages=messages))

    def write(self, data, eof=False, slot=0):
        self.control(stdin=processes.StdinData(slot=slot, data=data, eof=eof))

    def collect(self):
        """Reads to the end with endless credit: (output by slot, names of all events in order, Closed)."""
        output, names, closed = {}, [], None
        for event in self:
            kind = event.WhichOneof("event")
            if not (kind == "output" and names[-1:] == ["output"]):
                names.append(kind)
            if kind == "output":
                output[event.output.slot] = output.get(event.output.slot, b"") + event.output.data
                self.grant(len(event.output.data), 1)
            if kind == "closed":
                closed = event.closed
        return output, names, closed


def ref(process):
    if isinstance(process, str):
        return common.ProcessRef(name=process)
    return common.ProcessRef(id=process if isinstance(process, int) else process.id)


def make_spec(*argv, **spec):
    """A ProcessSpec; str arguments become bytes."""
    encoded = [a.encode() if isinstance(a, str) else a for a in argv]
    return processes.ProcessSpec(argv=encoded, **spec)


PIPE, NULL, FILE, FD, PTY, SAME, NONE = (
    processes.Stdio.KIND_PIPE, processes.Stdio.KIND_NULL, processes.Stdio.KIND_FILE, processes.Stdio.KIND_FD,
    processes.Stdio.KIND_PTY, processes.Stdio.KIND_SAME, processes.Stdio.KIND_NONE)


def stdio(slot, kind, **more):
    return processes.Stdio(slot=slot, kind=kind, **more)
