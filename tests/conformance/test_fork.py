"""fork(): one script under Node's own fork() and under spawnd, Node 18 to 24, both serializations: the same messages, order, ends."""
import base64
import json
import os
import pathlib
import signal
import subprocess

import pytest

import nodes
from ttrpc import common, processes, stdio

HERE = pathlib.Path(__file__).resolve().parent
SCENARIOS = json.loads((HERE / "forks.json").read_text())
CASES = [(version, format_, scenario) for version in nodes.VERSIONS for scenario in SCENARIOS
         for format_ in ([scenario["serialization"]] if "serialization" in scenario else ["json", "advanced"])]
PIECE = 256 << 10


def on_node(node, scenario, script):
    done = subprocess.run([node, str(HERE / "fork_driver.js"), json.dumps(scenario), str(script)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          check=True, timeout=60)
    return json.loads(done.stdout)


def convert(node, lines):
    done = subprocess.run([node, str(HERE / "values.js")], input="\n".join(lines), stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def pieces_of(payloads):
    for number, data in enumerate(payloads, 1):
        for at in range(0, max(len(data), 1), PIECE):
            yield processes.ChannelMessage(id=number, offset=at, more=at + PIECE < len(data), size=0 if at else len(data), data=data[at:at + PIECE])


class Seen:
    """What came on the stream, in the words of the driver."""

    def __init__(self, stream, scenario):
        self.stream, self.scenario = stream, scenario
        self.log = {"order": [], "messages": []}
        self.raw, self.part, self.room = [], b"", 1 << 20

    def note(self, event):
        kind = event.WhichOneof("event")
        if kind == "message_grant":
            self.room += event.message_grant.bytes
        if kind == "message":
            self.part += event.message.data
            if not event.message.more:
                self.raw.append(self.part)
                self.part = b""
                self.act()
        if kind == "exited":
            record = event.exited.exit
            self.log["code"] = record.code if record.HasField("code") else None
            self.log["signal"] = signal.Signals(record.signal).name if record.HasField("signal") else None
        elif kind in ("spawned", "message", "disconnected", "closed") and self.log["order"][-1:] != [kind]:
            self.log["order"].append(kind)
        if kind != "closed":
            self.stream.control(grant=common.Grant(slot=3, bytes=len(event.message.data) if kind == "message" else 0, messages=1))

    def act(self):
        if len(self.raw) == self.scenario.get("disconnect_after"):
            self.stream.control(disconnect=processes.DisconnectCommand())
        if len(self.raw) == self.scenario.get("kill_after"):
            self.stream.control(signal=processes.SignalCommand(signal=signal.SIGTERM))


def on_spawnd(client, node, scenario, format_, script):
    sends = [base64.b64decode(line) for line in convert(node, [f"{format_} in {text}" for text in scenario.get("sends", [])])]
    serialization = processes.SERIALIZATION_JSON if format_ == "json" else processes.SERIALIZATION_ADVANCED
    stream = client.spawn(node, str(script), *scenario.get("args", []), serialization=serialization, stdio=[stdio(3, processes.Stdio.KIND_CHANNEL)])
    seen = Seen(stream, scenario)
    seen.note(stream.receive())
    for piece in pieces_of(sends):
        while seen.room < len(piece.data):
            seen.note(stream.receive())
        seen.room -= len(piece.data)
        stream.control(message=piece)
    if scenario.get("disconnect_after") == 0:
        stream.control(disconnect=processes.DisconnectCommand())
    for event in stream:
        seen.note(event)
    seen.log["messages"] = [json.loads(line) for line in convert(node, [f"{format_} out {base64.b64encode(data).decode()}" for data in seen.raw])]
    return seen.log


@pytest.mark.parametrize("version, format_, scenario", CASES, ids=[f"{v}-{f}-{s['name']}" for v, f, s in CASES])
def test_same_as_nodes_fork(client, tmp_path, version, format_, scenario):
    node = nodes.need(version)
    client.hello(env=[f"{k}={v}".encode() for k, v in os.environ.items()])
    script = tmp_path / "child.js"
    script.write_text(scenario["script"])
    seen, expected = on_spawnd(client, node, scenario, format_, script), on_node(node, dict(scenario, serialization=format_), script)
    assert seen["order"][-1] == "closed"
    if "disconnect_after" in scenario:
        # Node forgets its 'close' when the parent itself disconnected; here it always comes
        assert "closed" not in expected["order"]
        expected["order"].append("closed")
    assert seen == expected
