"""One scenario, run on real Node and on spawnd: the same output, the same order, the same errors."""
import base64
import json
import os
import pathlib
import signal
import subprocess

import pytest

import ttrpc
from ttrpc import RpcError, processes, stdio

HERE = pathlib.Path(__file__).resolve().parent


SCENARIOS = json.loads((HERE / "scenarios.json").read_text())


def on_node(scenario):
    done = subprocess.run(["node", str(HERE / "node_driver.js"), json.dumps(scenario)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True,
                          timeout=60)
    return json.loads(done.stdout)


def spec_of(scenario):
    spec = {"argv": [word.encode() for word in scenario.get("argv", [])]}
    for name in ("cwd", "argv0", "shell_command", "shell"):
        if name in scenario:
            spec[name] = scenario[name].encode()
    if "env" in scenario:
        spec["env"] = processes.Environment(origin=processes.Environment.ORIGIN_EMPTY, set=[f"{k}={v}".encode() for k, v in scenario["env"].items()])
    if "timeout_ms" in scenario:
        spec["timeout_ms"] = scenario["timeout_ms"]
    if "kill_signal" in scenario:
        spec["kill_signal"] = int(signal.Signals[scenario["kill_signal"]])
    spec["stdio"] = [stdio(0, ttrpc.NULL if scenario.get("ignore_stdin") else ttrpc.PIPE)]
    if scenario.get("extra_pipe"):
        spec["stdio"].append(stdio(3, ttrpc.PIPE))
    return processes.ProcessSpec(**spec)


def error_of(error, argv):
    """As Node has it. Behind Node's own sentence ours may say more: which directory could not be entered."""
    detail = error.detail
    return {"code": detail.code, "errno": -detail.errnum, "syscall": detail.syscall, "path": detail.path.decode(),
            "spawnargs": [word.decode() for word in detail.spawnargs], "message": error.message.split(":")[0]}


def on_spawnd(client, scenario):
    stream = client.stream("Processes", "Spawn", processes.ProcessEvent)
    stream.send(processes.SpawnRequest(start=processes.SpawnStart(spec=spec_of(scenario))))
    if not scenario.get("ignore_stdin"):
        stream.write(scenario.get("input", "").encode(), eof=True)
    seen = {"order": [], "output": {str(slot): b"" for slot in ([1, 2, 3] if scenario.get("extra_pipe") else [1, 2])}}
    try:
        for event in stream:
            kind = event.WhichOneof("event")
            if kind == "output":
                seen["output"][str(event.output.slot)] += event.output.data
            elif kind in ("spawned", "exited", "closed"):
                seen["order"].append(kind)
            if kind == "exited":
                record = event.exited.exit
                seen["code"] = record.code if record.HasField("code") else None
                seen["signal"] = signal.Signals(record.signal).name if record.HasField("signal") else None
    except RpcError as error:
        if error.code == "INVALID_ARGUMENT":
            seen["thrown"] = "ERR_INVALID_ARG_VALUE"
        else:
            seen["error"] = error_of(error, scenario.get("argv"))
    seen["output"] = {slot: base64.b64encode(data).decode() for slot, data in seen["output"].items()}
    return seen


def without_our_own(seen):
    """SPAWND_ID is the one variable every child of spawnd has besides those asked for."""
    for slot, text in seen["output"].items():
        lines = base64.b64decode(text).splitlines(keepends=True)
        seen["output"][slot] = base64.b64encode(b"".join(line for line in lines if not line.startswith(b"SPAWND_ID="))).decode()
    return seen


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[s["name"] for s in SCENARIOS])
def test_same_as_node(client, scenario):
    client.hello(env=[f"{k}={v}".encode() for k, v in os.environ.items()])
    node, spawnd = on_node(scenario), without_our_own(on_spawnd(client, scenario))
    if "error" in node or "thrown" in node:
        node["output"] = spawnd["output"]
    assert spawnd == node
