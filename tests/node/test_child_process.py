"""An application and child_process: Node's own, and the same under spawnd, see the same."""
import json
import os
import pathlib
import subprocess

import pytest

import ttrpc

HERE = pathlib.Path(__file__).resolve().parent


def run(node, daemon, script, options="", **more):
    environment = dict(os.environ, SPAWND_SOCKET=str(daemon.socket), NODE_OPTIONS=options, **more)
    return subprocess.run([node, *script], cwd=HERE, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=200)


def register(application):
    return f"--require {application}/node_modules/spawnd/register.js"


def scenarios(node, daemon, options=""):
    done = run(node, daemon, [str(HERE / "run.js")], options)
    assert done.returncode == 0
    return json.loads(done.stdout)


def test_every_scenario_is_the_same(node, daemon, client, application):
    client.hello()
    before = client.stats().spawned_total
    own = scenarios(node, daemon)
    assert client.stats().spawned_total == before
    ours = scenarios(node, daemon, register(application))
    assert client.stats().spawned_total > before + len(own) / 2
    different = {name: {"node": own[name], "spawnd": ours.get(name)} for name in own if own[name] != ours.get(name)}
    assert not different, json.dumps(different, indent=1, ensure_ascii=False)
    assert not [name for name, seen in own.items() if any("it does not end" in word for line in seen for word in line)]


PARENT = '["/proc/self/stat"]).toString().split(" ")[3] != process.pid'


@pytest.mark.parametrize("name,flag,source", [
    ("a.js", "--require", f'console.log(require("child_process").execFileSync("cat", {PARENT})'),
    ("b.js", "--require", f'const {{ execFileSync }} = require("node:child_process"); console.log(execFileSync("cat", {PARENT})'),
    ("c.mjs", "--import", f'import {{ execFileSync }} from "node:child_process"; console.log(execFileSync("cat", {PARENT})'),
    ("d.mjs", "--import", f'import cp from "child_process"; console.log(cp.execFileSync("cat", {PARENT})'),
])
def test_built_in_imports_are_reached(node, daemon, application, name, flag, source):
    script = application / name
    script.write_text(source)
    done = run(node, daemon, [flag, f"{application}/node_modules/spawnd/register.js", str(script)])
    assert done.stdout.strip() == b"true"


def test_the_module_leaves_that_of_node_alone(node, daemon, application):
    script = application / "both.mjs"
    script.write_text("""
        import * as spawnd from "spawnd/child_process";
        import node from "node:child_process";
        import { promisify } from "node:util";
        const parent = "cat /proc/$PPID/comm";
        const out = [spawnd.execFileSync("cat", ["/proc/self/stat"]), node.execFileSync("cat", ["/proc/self/stat"])];
        const ppid = out.map((text) => Number(String(text).split(" ")[3]));
        const { stdout } = await promisify(spawnd.execFile)("cat", ["/proc/self/stat"]);
        console.log(JSON.stringify({
          ours: ppid[0] !== process.pid, nodes: ppid[1] === process.pid, promised: Number(stdout.split(" ")[3]) === ppid[0],
          instance: spawnd.spawn("true") instanceof spawnd.ChildProcess,
        }));
    """)
    done = run(node, daemon, [str(script)])
    assert json.loads(done.stdout) == {"ours": True, "nodes": True, "promised": True, "instance": True}


def test_modules_to_register_are_chosen(node, daemon, application):
    script = application / "who.js"
    script.write_text('process.stdout.write(require("child_process").execFileSync("cat", ["/proc/self/stat"]).toString().split(" ")[3] + " " + process.pid)')
    parent, own = run(node, daemon, [str(script)], register(application), SPAWND_REGISTER="").stdout.split()
    assert parent == own
    done = run(node, daemon, [str(script)], register(application), SPAWND_REGISTER="worker_threads")
    assert done.returncode == 1


def test_children_outlive_a_parent_that_ends(node, daemon, client, application):
    script = application / "leaves.js"
    script.write_text("""
        const child = require("child_process").spawn("sleep", ["1000"], { detached: true, stdio: "ignore" });
        child.unref();
        console.log(child.pid);
    """)
    pid = int(run(node, daemon, [str(script)], register(application)).stdout)
    os.kill(pid, 9)


def test_without_a_daemon_the_reason_is_told(node, application, tmp_path):
    script = application / "none.js"
    script.write_text('try { require("child_process").spawn("true") } catch (error) { console.log(error.status, error.message) }')
    environment = dict(os.environ, SPAWND_SOCKET=str(tmp_path / "none"), SPAWND_DAEMON="/nonexistent", NODE_OPTIONS=register(application))
    told = subprocess.run([node, str(script)], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60).stdout
    assert told.startswith(b"UNAVAILABLE no daemon runs at") and b"spawn /nonexistent ENOENT" in told


def test_a_daemon_is_started_when_there_is_none(node, application, tmp_path):
    script = application / "starts.js"
    script.write_text('console.log(String(require("child_process").execFileSync("echo", ["started"])))')
    environment = dict(os.environ, SPAWND_SOCKET=str(tmp_path / "s"), SPAWND_DAEMON=str(ttrpc.BUILD / "bin" / "spawnd"),
                       NODE_OPTIONS=register(application))
    done = subprocess.run([node, str(script)], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60)
    assert done.stdout.strip() == b"started"
    ctl = subprocess.run([str(ttrpc.BUILD / "bin" / "spawnctl"), "--socket", str(tmp_path / "s"), "daemon", "stop"], timeout=60)
    assert ctl.returncode == 0
