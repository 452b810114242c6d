"""A client that does what docs/PROTOCOL.md asks of one that wants to lose nothing: it comes back and resumes by offsets."""
import os

import ttrpc
from ttrpc import processes


def varint(data, at):
    """(value, position behind it), or None when it is not whole."""
    value = shift = 0
    while at < len(data):
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
        shift += 7
    return None


def partial_output(frame):
    """(slot, offset, bytes) of an Output event whose frame was cut; None when not even its head is there."""
    if len(frame) < 10 or frame[8] != ttrpc.DATA:
        return None
    body, at, slot, offset = frame[10:], 0, 0, 0
    if body[:1] != b"\x12":
        return None
    at = varint(body, 1)
    at = at and at[1]
    while at and at < len(body):
        tag, found = body[at], varint(body, at + 1)
        if not found:
            return None
        value, at = found
        if tag == 0x7A:
            return slot, offset, body[at:]
        slot = value if tag == 0x08 else slot
        offset = value if tag == 0x10 else offset
    return None


class Follower:
    """One process by Spawn with a key, followed to its end whatever happens to the engine."""

    def __init__(self, daemon, *argv, input=b"", **spec):
        self.daemon = daemon
        self.key = os.urandom(8).hex()
        self.spec = ttrpc.make_spec(*argv, **spec)
        self.output = {}
        self.input = input
        self.engine = None
        self.process = self.pid = None

    def take(self, slot, offset, data):
        have = self.output.setdefault(slot, bytearray())
        assert offset == len(have), (slot, offset, len(have))
        have += data

    def feed(self, spawned):
        """What the daemon has not taken yet, in pieces."""
        taken = {at.slot: at.offset for at in spawned.stdin}.get(0, 0)
        for at in range(taken, len(self.input), 1 << 16):
            yield processes.StdinData(data=self.input[at:at + (1 << 16)], offset=at)
        yield processes.StdinData(offset=len(self.input), eof=True)

    def once(self, client, on_output):
        self.engine = client.stats().engine_pid
        stream = client.stream("Processes", "Spawn", processes.ProcessEvent)
        start = processes.SpawnStart(idempotency_key=self.key, spec=self.spec)
        for slot, have in self.output.items():
            getattr(start, "from").add(slot=slot, offset=len(have))
        stream.send(processes.SpawnRequest(start=start))
        room, pending = 1 << 20, None
        for event in stream:
            kind = event.WhichOneof("event")
            if kind == "spawned":
                assert self.process in (None, event.spawned.id), "started twice"
                self.process, self.pid = event.spawned.id, event.spawned.pid
                pending = self.feed(event.spawned) if self.input else None
            elif kind == "stdin_grant":
                room += event.stdin_grant.bytes
            elif kind == "output":
                self.take(event.output.slot, event.output.offset, event.output.data)
                if on_output:
                    on_output(self)
                self.say(stream, grant=ttrpc.common.Grant(bytes=len(event.output.data), messages=1))
            elif kind == "closed":
                return event.closed
            else:
                self.say(stream, grant=ttrpc.common.Grant(messages=1))
            while pending and room >= 1 << 16:
                data = next(pending, None)
                if data is None:
                    pending = None
                    break
                room -= len(data.data)
                self.say(stream, stdin=data)
        raise ttrpc.Closed()

    @staticmethod
    def say(stream, **what):
        """What cannot be sent any more is said again later; what has arrived is read to its end first."""
        try:
            stream.control(**what)
        except ConnectionError:
            pass

    def run(self, on_output=None):
        while True:
            with self.daemon.client() as client:
                try:
                    return self.once(client, on_output)
                except (ttrpc.Closed, ConnectionError):
                    rest = partial_output(client.cut + client.buffer)
                    if rest:
                        self.take(*rest)


class Correspondent(Follower):
    """A forked process, to which all of `letters` (bytes, id by id) are sent, and whose messages are all kept, each once."""

    def __init__(self, daemon, *argv, letters=(), **spec):
        super().__init__(daemon, *argv, stdio=[ttrpc.stdio(3, processes.Stdio.KIND_CHANNEL)], **spec)
        self.letters = letters
        self.got, self.part = [], b""
        self.taken = 0
        self.failed, self.ending = {}, None

    def start(self):
        reader = processes.Reader(keep_messages=True, none=True, message=len(self.got) + 1, message_offset=len(self.part))
        return processes.SpawnStart(idempotency_key=self.key, spec=self.spec, reader=reader)

    def take_piece(self, piece):
        assert (piece.id, piece.offset) == (len(self.got) + 1, len(self.part)), (piece.id, piece.offset, len(self.got), len(self.part))
        self.part += piece.data
        if not piece.more:
            self.got.append(self.part)
            self.part = b""

    def once(self, client, on_message):
        self.engine = client.stats().engine_pid
        stream = client.stream("Processes", "Spawn", processes.ProcessEvent)
        stream.send(processes.SpawnRequest(start=self.start()))
        room, owed, letters = [1 << 20, 1024], [0, 0], None
        for event in stream:
            kind = event.WhichOneof("event")
            owed[1] += 1
            if kind == "spawned":
                assert self.process in (None, event.spawned.id), "started twice"
                self.process = event.spawned.id
                self.taken = max(self.taken, event.spawned.messages_taken)
                letters = iter(range(self.taken, len(self.letters)))
            elif kind == "message":
                self.take_piece(event.message)
                owed[0] += len(event.message.data)
                if on_message:
                    on_message(self)
            elif kind == "message_grant":
                self.taken = max(self.taken, event.message_grant.message - 1)
                room = [room[0] + event.message_grant.bytes, room[1] + event.message_grant.messages]
            elif kind == "message_result":
                self.failed[event.message_result.id] = event.message_result.why
            elif kind == "disconnected":
                self.ending = event.disconnected
            elif kind == "closed":
                return event.closed
            if owed[0] >= 1 << 15 or owed[1] >= 8:
                self.say(stream, grant=ttrpc.common.Grant(slot=3, bytes=owed[0], messages=owed[1], message=len(self.got) + 1,
                                                          message_offset=len(self.part)))
                owed = [0, 0]
            while letters and room[0] >= 1 << 17 and room[1]:
                at = next(letters, None)
                if at is None:
                    letters = None
                    break
                room = [room[0] - len(self.letters[at]), room[1] - 1]
                self.say(stream, message=processes.ChannelMessage(id=at + 1, data=self.letters[at]))
        raise ttrpc.Closed()

    def run(self, on_message=None):
        while True:
            with self.daemon.client() as client:
                try:
                    return self.once(client, on_message)
                except (ttrpc.Closed, ConnectionError):
                    pass
