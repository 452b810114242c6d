"""Message channels: Node's children as they are, children of any language, both directions, the end."""
import json

import pytest

import ttrpc
from ttrpc import RpcError, processes, stdio

JSON, ADVANCED, NATIVE = (processes.SERIALIZATION_JSON, processes.SERIALIZATION_ADVANCED, processes.SERIALIZATION_NATIVE)
ECHO = "process.on('message', (m) => process.send({got: m}))"


class Fork:
    """A process with a channel, and its stream."""

    def __init__(self, client, *argv, serialization=JSON, slots=(), **spec):
        self.slot = 3
        self.client = client
        self.stream = client.spawn(*argv, serialization=serialization, stdio=[stdio(3, processes.Stdio.KIND_CHANNEL), *slots], **spec)
        self.next_id = 0
        self.events = []
        self.output = b""
        self.disconnected = self.exit = None

    def send_bytes(self, data, fds=(), **more):
        self.next_id += 1
        self.stream.send(processes.SpawnRequest(control=processes.ProcessControl(
            message=processes.ChannelMessage(id=self.next_id, data=data, **more))), fds=fds)
        return self.next_id

    def send(self, value, **more):
        return self.send_bytes(json.dumps(value).encode(), **more)

    def disconnect(self):
        self.stream.control(disconnect=processes.DisconnectCommand())

    def grant(self, size):
        self.stream.send(processes.SpawnRequest(control=processes.ProcessControl(
            grant=ttrpc.common.Grant(slot=self.slot, bytes=size, messages=1))))

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
            elif kind != "message_grant":
                self.events.append(kind)
                return event

    def message(self):
        """The next message, put together."""
        event = self.next()
        assert event.WhichOneof("event") == "message", event
        first, data = event.message, event.message.data
        self.grant(len(event.message.data))
        while event.message.more:
            event = self.next()
            assert event.WhichOneof("event") == "message" and event.message.offset == len(data) and event.message.id == first.id
            data += event.message.data
            self.grant(len(event.message.data))
        self.last = first
        return data

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
