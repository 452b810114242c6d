"""The child's side of the message channel that spawnd, or Node's fork(), gave to this process.

    import spawnd_child

    with spawnd_child.attach() as channel:
        for message in channel:                 # until the other side has ended
            channel.send({"got": message.value}, message.handles)

Two kinds of channel have the same methods: NativeChannel (SPAWND_CHANNEL_FD: bytes with a content type, up to 16 descriptors) and
NodeChannel (NODE_CHANNEL_FD, json: JSON values, one socket). This file needs Python 3.9 and nothing else; copy it where you like.

Blocking. `for`, receive() and send() wait; in an event loop use watch(), or fileno(), unsent, ready() and flush(). A send that
waits does not receive, so two sides that send without receiving wait for each other; receive() does write what send(wait=False)
left. Only a NodeChannel reads on while a socket it sent is not acknowledged, because the protocol holds back everything until
then; what it reads is kept for receive().

Descriptors. send() duplicates: close yours whenever you like. Received sockets are socket objects, other descriptors are numbers;
all are yours. A socket that came in non-blocking mode stays so, because its other owners share the mode.

A channel belongs to one thread at a time.
"""
import array
import asyncio
import collections
import fcntl
import json
import os
import select
import socket
import stat
import struct
import time
import warnings
import weakref

__all__ = ["attach", "Channel", "NativeChannel", "NodeChannel", "Message", "ChannelError", "NoChannel", "ProtocolError"]

VERSION = "1"
MAX_DESCRIPTORS = 16
MAX_CONTENT_TYPE = 127
MAX_HEAD = 256
MAX_LENGTH = 2**32 - 1
LIMIT = 1 << 30  # bytes of one message, unless attach() is told otherwise
READ_SIZE = 1 << 16
RETRIES = 3  # of a socket that did not arrive, as Node counts
JSON_TYPE = "application/json"


class ChannelError(Exception):
    """Something is wrong with the channel."""


class NoChannel(ChannelError):
    """This process was given no channel."""


class ProtocolError(ChannelError):
    """What came does not follow the protocol, or ended in its middle; nothing more can be received."""


class Message:
    """A message: `data` (bytes), `content_type`, `handles` (sockets and descriptor numbers), and `lost`: descriptors came that
    this process had no room for."""

    __slots__ = ("data", "content_type", "handles", "lost", "_value")
    _UNREAD = object()

    def __init__(self, data, content_type, handles=(), lost=False, value=_UNREAD):
        self.data = data
        self.content_type = content_type
        self.handles = list(handles)
        self.lost = lost
        self._value = value

    @property
    def value(self):
        """The data as what its content type says: a JSON value, a str for text/..., else bytes."""
        if self._value is self._UNREAD:
            kind = self.content_type.partition(";")[0].strip().lower()
            if kind == JSON_TYPE:
                self._value = json.loads(self.data)
            else:
                self._value = self.data.decode() if kind.startswith("text/") else self.data
        return self._value

    def close(self):
        """Closes the handles."""
        for handle in self.handles:
            os.close(handle) if isinstance(handle, int) else handle.close()
        self.handles.clear()

    def __repr__(self):
        return f"<Message {self.content_type or 'application/octet-stream'} {len(self.data)} bytes, {len(self.handles)} handles>"


class _Outgoing:
    """A message on its way: pieces not yet written, descriptors (ours) for its first byte."""

    def __init__(self, pieces, fds=(), kind=None):
        self.pieces = [memoryview(piece) for piece in pieces if piece]
        self.whole = list(self.pieces)
        self.fds = list(fds)
        self.kind = kind  # of a NODE_HANDLE
        self.retries = 0
        self.started = False
        self.written = False

    def rewind(self):
        self.pieces = list(self.whole)
        self.started = self.written = False

    def wrote(self, size):
        self.started = True
        while self.pieces and size >= len(self.pieces[0]):
            size -= len(self.pieces.pop(0))
        if size:
            self.pieces[0] = self.pieces[0][size:]

    def close_fds(self):
        while self.fds:
            os.close(self.fds.pop())


def _duplicates(handles):
    fds = []
    try:
        for handle in handles:
            fds.append(os.dup(handle if isinstance(handle, int) else handle.fileno()))
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return fds


def _adopt(fd, make=socket.socket):
    """A received descriptor as what the user gets."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return fd
    received = make(fileno=fd)
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK:
        received.setblocking(False)
    return received


class Channel:
    """What both kinds have in common."""

    def __init__(self, sock, limit=LIMIT):
        sock.setblocking(False)
        sock.set_inheritable(False)
        self._socket = sock
        self._limit = limit
        self._buffer = bytearray()
        self._needed = 0  # bytes that must be in the buffer before it is worth looking
        self._arrived = collections.deque()  # per read that brought descriptors: a list, or None when they were lost
        self._inbox = collections.deque()
        self._out = collections.deque()
        self._flushing = False
        self._ended = False  # the other side sends no more
        self._ending = False  # nor do we
        self._failure = None
        self._loop = None
        self._end_told = False

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.disconnect()
        else:
            self.close()

    def __iter__(self):
        return iter(self.receive, None)

    def fileno(self):
        """The descriptor, for event loops; -1 once closed."""
        return self._socket.fileno()

    @property
    def unsent(self):
        """Whether flush() has something to do when the descriptor is writable."""
        return bool(self._out)

    @property
    def ended(self):
        """Whether everything was received that ever will be."""
        return self._ended and not self._inbox

    # ---- sending

    def flush(self):
        """Writes what can be written without blocking. True: all is written."""
        if self._flushing:
            return False
        self._flushing = True
        try:
            while self._out and self._write(self._out[0]):
                pass
        except OSError:
            self._drop_unsent()
            raise
        finally:
            self._flushing = False
        if self._ending and not self._out and not self._held():
            self._shut()
        if self._loop:
            self._watch_writing()
        return not self._out

    def _write(self, outgoing):
        """One system call for the first message of the queue. False: the socket takes nothing."""
        fds = [] if outgoing.started else outgoing.fds
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            size = self._socket.sendmsg(outgoing.pieces, control, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            raise BrokenPipeError("nobody receives on the other side of the channel") from None
        outgoing.wrote(size)
        if not outgoing.pieces:
            self._out.popleft()
            outgoing.written = True
        if outgoing.kind is None:
            outgoing.close_fds()
        return True

    def _check_open(self):
        if self.fileno() < 0 or self._ending:
            raise BrokenPipeError("the channel is closed for sending")

    def _send(self, outgoing, wait):
        self._queue(outgoing)
        self.flush()
        if wait and self._loop is None:
            while not outgoing.written:
                self._move(None)

    def _queue(self, outgoing):
        self._out.append(outgoing)

    def _held(self):
        """Whether the other side must say something before all is sent."""
        return False

    def _drop_unsent(self):
        while self._out:
            self._out.popleft().close_fds()

    def _shut(self):
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone already

    def end(self):
        """Half of a disconnect: once all is written the other side reads the end; receiving goes on."""
        if not self._ending:
            self._ending = True
            try:
                self.flush()
            except OSError:
                pass  # nobody is there to read the end

    def disconnect(self, timeout=None):
        """Waits until all is sent, then closes. TimeoutError after `timeout` seconds: not closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while self.fileno() >= 0 and (not self.flush() or self._held()) and not (self._ended and self._held()):
                self._move(deadline)
        except (BrokenPipeError, ProtocolError):
            pass  # nobody wants it
        self.close()

    def close(self):
        """Closes at once. What is unsent or unread is lost."""
        if self.fileno() < 0:
            return
        self._unwatch()
        self._socket.close()
        self._ended = True
        self._drop_unsent()
        self._drop_arrived()

    # ---- receiving

    def receive(self, timeout=None):
        """The next message; None when the other side has ended. TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self._take_in()
            if self._inbox:
                return self._inbox.popleft()
            if self._failure:
                raise self._failure
            if self._ended:
                return None
            self._move(deadline, receiving=True)

    def ready(self):
        """Every message that can be had without blocking, one after the other."""
        while True:
            self._take_in()
            if not self._inbox:
                break
            yield self._inbox.popleft()
        if self._failure:
            raise self._failure

    def _take_in(self):
        """Reads and parses until there is a message, or nothing to read."""
        while not self._inbox and not self._ended and not self._failure:
            if not self._read():
                break

    def _move(self, deadline, receiving=False):
        """Waits until the socket lets us go on, and writes. TimeoutError at the deadline."""
        reading = (receiving or self._held()) and not self._ended
        if self.unsent or reading:
            poll = select.poll()
            poll.register(self.fileno(), (select.POLLIN if reading else 0) | (select.POLLOUT if self.unsent else 0))
            left = None if deadline is None else max(0, deadline - time.monotonic()) * 1000
            if not poll.poll(left):
                raise TimeoutError("the channel did not move in time")
        elif self._held():
            raise BrokenPipeError("the other side ended before it acknowledged a socket")
        try:
            self.flush()
        except OSError:
            if not receiving:
                raise
        if reading and self._held():
            self._read()
            if self._failure:
                raise self._failure

    def _read(self):
        """Reads once and parses. False: there is nothing to read now."""
        if len(self._arrived) > (1 if self._buffer else 0):
            self._fail("descriptors came that no message announced")
            return True
        size = READ_SIZE if self._needed - len(self._buffer) <= READ_SIZE else 4 * READ_SIZE
        try:
            data, control, flags, _ = self._socket.recvmsg(
                size, socket.CMSG_SPACE(MAX_DESCRIPTORS * 4), socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data, control, flags = b"", [], 0
        if control or flags & socket.MSG_CTRUNC:
            self._take_descriptors(control, flags)
        if not data:
            self._end_of_file()
            return True
        self._buffer += data
        try:
            while len(self._buffer) >= self._needed and not self._failure and self._parse():
                pass
        except (ValueError, RecursionError) as error:
            self._fail(str(error))
        return True

    def _take_descriptors(self, control, flags):
        fds = array.array("i")
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
        if not flags & socket.MSG_CTRUNC:
            self._arrived.append(list(fds))
            return
        for fd in fds:
            os.close(fd)
        if len(fds) == MAX_DESCRIPTORS:
            self._fail("more than 16 descriptors came at once")
        else:
            self._arrived.append(None)

    def _end_of_file(self):
        if self._buffer and self._incomplete_is_error:
            self._fail("the channel ended inside a message")
        self._ended = True
        self._buffer.clear()
        self._drop_arrived()

    def _fail(self, text):
        self._failure = ProtocolError(text)
        self._buffer.clear()
        self._drop_arrived()

    def _drop_arrived(self):
        while self._arrived:
            for fd in self._arrived.popleft() or ():
                os.close(fd)

    # ---- asyncio

    def watch(self, on_message, on_end=None, loop=None):
        """Calls on_message(message) from an asyncio loop (the running one), and once on_end(None or an error) at the end. send()
        does not block any more."""
        self._loop = loop or asyncio.get_running_loop()
        self._loop.add_reader(self.fileno(), self._on_readable, on_message, on_end)
        self._watch_writing()
        self._loop.call_soon(self._on_readable, on_message, on_end)

    def _on_readable(self, on_message, on_end):
        error = None
        if self._loop is None or self._end_told:
            return
        try:
            for message in self.ready():
                on_message(message)
        except ProtocolError as failure:
            error = failure
        if self._loop and (error or self.ended):
            self._loop.remove_reader(self.fileno())
            self._end_told = True
            if on_end:
                on_end(error)

    def _on_writable(self):
        try:
            self.flush()
        except OSError:
            self._watch_writing()  # nothing is left to write; reading tells the end

    def _watch_writing(self):
        if self._out:
            self._loop.add_writer(self.fileno(), self._on_writable)
        else:
            self._loop.remove_writer(self.fileno())

    def _unwatch(self):
        if self._loop:
            self._loop.remove_reader(self.fileno())
            self._loop.remove_writer(self.fileno())
            self._loop = None


# ---- native


def _varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data, at):
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a record has a broken number")
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at


def encode_head(size, content_type=b"", descriptors=0):
    """What stands in front of the data of a record."""
    fields = b"\x08" + _varint(descriptors) if descriptors else b""
    if content_type:
        fields += b"\x12" + _varint(len(content_type)) + content_type
    fields += b"\x7a" + _varint(size)
    if len(fields) + size > MAX_LENGTH:
        raise ValueError(f"{size} bytes are too many for a message")
    return struct.pack(">I", len(fields) + size) + fields


def decode_record(record):
    """(descriptors, content type, where the data begins) of a ChannelRecord."""
    descriptors, content_type, at = 0, b"", 0
    while at < len(record):
        tag, at = _read_varint(record, at)
        if at > MAX_HEAD:
            raise ValueError("more than 256 bytes stand before a record's data")
        number, wire = tag >> 3, tag & 7
        if wire not in (0, 1, 2, 5) or number == 0 or (number in (1, 2, 15) and wire != (0 if number == 1 else 2)):
            raise ValueError("a record is no ChannelRecord")
        length, at = _read_varint(record, at) if wire in (0, 2) else ({1: 8, 5: 4}[wire], at)
        if number == 15:
            if at + length != len(record):
                raise ValueError("a record's data does not end with it")
            return descriptors, content_type.decode(), at
        if number == 1:
            if length > MAX_DESCRIPTORS:
                raise ValueError("a record announces more than 16 descriptors")
            descriptors = length
        if wire == 0:
            continue
        if number == 2:
            if length > MAX_CONTENT_TYPE:
                raise ValueError("a record's content type is longer than 127 bytes")
            content_type = bytes(record[at:at + length])
        at += length
        if at > len(record):
            raise ValueError("a record's field is longer than the record")
    return descriptors, content_type.decode(), at


class NativeChannel(Channel):
    """SPAWND_CHANNEL_FD."""

    _incomplete_is_error = True

    def send(self, value, handles=(), content_type=None, wait=True):
        """Sends bytes as they are, a str as UTF-8 text, anything else as JSON, with up to 16 sockets, files or descriptor
        numbers. Waits until the kernel has it (wait=False: what it does not take goes with flush())."""
        self._check_open()
        if isinstance(value, (bytes, bytearray, memoryview)):
            data, natural = bytes(value), ""
        elif isinstance(value, str):
            data, natural = value.encode(), "text/plain;charset=utf-8"
        else:
            data, natural = json.dumps(value, separators=(",", ":")).encode(), JSON_TYPE
        kind = (natural if content_type is None else content_type).encode()
        if len(kind) > MAX_CONTENT_TYPE:
            raise ValueError("a content type has at most 127 bytes")
        handles = list(handles)
        if len(handles) > MAX_DESCRIPTORS:
            raise ValueError(f"{len(handles)} descriptors: a message has at most 16")
        head = encode_head(len(data), kind, len(handles))
        self._send(_Outgoing([head, data], _duplicates(handles)), wait)

    def _parse(self):
        buffer = self._buffer
        self._needed = 4
        if len(buffer) < 4:
            return False
        length = int.from_bytes(buffer[:4], "big")
        if length == 0:
            raise ValueError("a record is empty")
        if length > self._limit + MAX_HEAD:
            raise ValueError(f"a record has {length} bytes, the limit is {self._limit}")
        if len(buffer) < 4 + length:
            self._needed = 4 + length
            return False
        with memoryview(buffer) as view, view[4:4 + length] as record:
            descriptors, content_type, at = decode_record(record)
            data = bytes(record[at:])
        fds = self._match(descriptors)
        self._inbox.append(Message(data, content_type, map(_adopt, fds or ()), fds is None))
        del buffer[:4 + length]
        return True

    def _match(self, descriptors):
        if descriptors == 0:
            return []
        if not self._arrived or (self._arrived[0] is not None and len(self._arrived[0]) != descriptors):
            raise ValueError("a message came without the descriptors it announces")
        return self._arrived.popleft()


# ---- Node, json


class _CountedSocket(socket.socket):
    """A socket whose sender wants to know when it is closed."""

    def count(self, channel, key):
        self._channel = weakref.ref(channel)
        self._gone = weakref.finalize(self, channel._gone.append, key)
        self._gone.atexit = False

    def _tell(self):
        channel = self._channel()
        self._gone()
        if channel and channel.fileno() >= 0:
            channel._settle_counts()

    def close(self):
        super().close()
        if self.fileno() < 0 and self._gone.alive:
            self._tell()

    def detach(self):
        fd = super().detach()
        if self._gone.alive:
            self._tell()
        return fd


def _handle_type(fd):
    """How Node names this socket, and dgramType for datagrams."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise ValueError("only sockets can be sent to Node")
    with socket.socket(fileno=os.dup(fd)) as sock:
        if sock.type == socket.SOCK_DGRAM and sock.family in (socket.AF_INET, socket.AF_INET6):
            return {"type": "dgram.Socket", "dgramType": "udp4" if sock.family == socket.AF_INET else "udp6"}
        if sock.type != socket.SOCK_STREAM:
            raise ValueError("Node knows stream sockets and UDP only")
        return {"type": "net.Server" if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) else "net.Socket"}


class NodeChannel(Channel):
    """NODE_CHANNEL_FD in json mode: a line of JSON per message, at most one socket with it, which must be acknowledged before
    anything else is sent."""

    _incomplete_is_error = False

    def __init__(self, sock, limit=LIMIT):
        super().__init__(sock, limit)
        self._looked = 0  # bytes of the buffer without a line's end
        self._waiting = collections.deque()  # behind the socket in flight
        self._in_flight = None
        self._counts = collections.Counter()
        self._notify = set()
        self._gone = collections.deque()  # keys of counted sockets that were closed; finalizers append

    def send(self, value, handles=(), wait=True):
        """Sends a JSON value, with at most one socket. Waits until the kernel has it, which may need the other side to
        acknowledge a socket before (wait=False: it goes with flush() and what is received)."""
        self._check_open()
        handles = list(handles)
        if isinstance(value, dict) and str(value.get("cmd", "")).startswith("NODE_"):
            raise ValueError("messages whose cmd begins with NODE_ are Node's own")
        if len(handles) > 1:
            raise ValueError(f"{len(handles)} handles: a message to Node has at most one")
        if not handles:
            self._send(_Outgoing([_line(value)]), wait)
            return
        fds = _duplicates(handles)
        try:
            kind = _handle_type(fds[0])
            line = _line({"cmd": "NODE_HANDLE", **kind, "msg": value})
        except BaseException:
            os.close(fds[0])
            raise
        self._send(_Outgoing([line], fds, kind["type"]), wait)

    def _queue(self, outgoing):
        self._waiting.append(outgoing)
        self._release()

    def _release(self):
        """Moves messages to the socket's queue, up to and with the next handle."""
        while self._waiting and not self._in_flight:
            outgoing = self._waiting.popleft()
            if outgoing.kind:
                self._in_flight = outgoing
            self._out.append(outgoing)

    def _held(self):
        return self._in_flight is not None

    def _drop_unsent(self):
        super()._drop_unsent()
        for outgoing in [self._in_flight, *self._waiting]:
            if outgoing:
                outgoing.close_fds()
        self._in_flight = None
        self._waiting.clear()

    def _answer(self, **command):
        """Sends one of Node's own messages, which wait for nobody."""
        self._out.insert(1 if self._out and self._out[0].started else 0, _Outgoing([_line(command)]))

    def _parse(self):
        end = self._buffer.find(b"\n", self._looked)
        if end < 0:
            self._looked = len(self._buffer)
            if self._looked > self._limit:
                raise ValueError(f"a line has more than {self._limit} bytes")
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[:end + 1]
        self._looked = 0
        value = json.loads(line)
        command = value.get("cmd") if isinstance(value, dict) else None
        if isinstance(command, str) and command.startswith("NODE_") and len(command) > 5:
            self._internal(command, value)
            try:
                self.flush()
            except OSError:
                pass  # reading tells the end
        else:
            self._inbox.append(Message(line, JSON_TYPE, value=value))
        return True

    def _internal(self, command, value):
        if command == "NODE_HANDLE":
            self._take_handle(value)
        elif command == "NODE_HANDLE_ACK":
            self._acknowledged()
        elif command == "NODE_HANDLE_NACK":
            self._refused()
        elif command == "NODE_SOCKET_GET_COUNT":
            self._settle_counts()
            self._answer(cmd="NODE_SOCKET_COUNT", key=value.get("key"), count=self._counts[value.get("key")])
        elif command == "NODE_SOCKET_NOTIFY_CLOSE":
            self._notify.add(value.get("key"))
            self._settle_counts()

    def _take_handle(self, value):
        fds = self._arrived.popleft() if self._arrived else None
        if not fds:
            self._answer(cmd="NODE_HANDLE_NACK")
            return
        for fd in fds[1:]:
            os.close(fd)
        key = value.get("key")
        handle = _adopt(fds[0], _CountedSocket if isinstance(key, str) else socket.socket)
        if isinstance(handle, _CountedSocket):
            self._counts[key] += 1
            handle.count(self, key)
        message = value.get("msg")
        self._answer(cmd="NODE_HANDLE_ACK")
        self._inbox.append(Message(_line(message)[:-1], JSON_TYPE, [handle], value=message))

    def _acknowledged(self):
        if self._in_flight and self._in_flight.written:
            self._in_flight.close_fds()
            self._in_flight = None
            self._release()

    def _refused(self):
        outgoing = self._in_flight
        if not outgoing or not outgoing.written:
            return
        if outgoing.kind == "net.Socket" and outgoing.retries < RETRIES:
            outgoing.retries += 1
            outgoing.rewind()
            self._out.append(outgoing)
            return
        if outgoing.kind == "net.Socket":
            warnings.warn("a socket was sent and did not arrive", ResourceWarning)
        outgoing.written = True
        self._acknowledged()

    def _settle_counts(self):
        """Counts what was closed, and tells those keys that nothing is left of."""
        while self._gone:
            self._counts[self._gone.popleft()] -= 1
        for key in [key for key in self._notify if self._counts[key] <= 0]:
            self._notify.discard(key)
            self._answer(cmd="NODE_SOCKET_ALL_CLOSED", key=key)
        try:
            self.flush()
        except OSError:
            pass  # reading tells the end


def _line(value):
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"


# ---- attaching


def _take_socket(name, text):
    """The channel's socket out of its number."""
    if not (text.isascii() and text.isdigit()):
        raise ChannelError(f"{name}={text}: not a descriptor")
    try:
        sock = socket.socket(fileno=int(text))
    except (OSError, OverflowError) as error:
        raise ChannelError(f"{name}={text}: {error}") from None
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        sock.detach()
        raise ChannelError(f"{name}={text}: not a Unix stream socket")
    return sock


def attach(limit=LIMIT):
    """The channel that this process was given, once: the variables go from the environment, so that programs started later do not
    take part. Messages of more than `limit` bytes are a ProtocolError. Raises NoChannel, or ChannelError for one that cannot be
    used."""
    native, version = os.environ.pop("SPAWND_CHANNEL_FD", None), os.environ.pop("SPAWND_CHANNEL_VERSION", None)
    node, mode = os.environ.pop("NODE_CHANNEL_FD", None), os.environ.pop("NODE_CHANNEL_SERIALIZATION_MODE", "json")
    if native is not None:
        if version != VERSION:
            raise ChannelError(f"SPAWND_CHANNEL_VERSION={version or ''}: this module speaks {VERSION}")
        return NativeChannel(_take_socket("SPAWND_CHANNEL_FD", native), limit)
    if node is None:
        raise NoChannel("neither SPAWND_CHANNEL_FD nor NODE_CHANNEL_FD is set")
    if mode != "json":
        raise ChannelError(f"NODE_CHANNEL_SERIALIZATION_MODE={mode}: this module speaks json")
    return NodeChannel(_take_socket("NODE_CHANNEL_FD", node), limit)
