"""Specs marked `persist`: started again with the daemon, until they are removed."""
import os
import shutil
import signal
import subprocess

import pytest

from harness import BIN
from ttrpc import FD, PIPE, RpcError, processes, ref, stdio


def ended(daemon):
    daemon.stop()
    return daemon


def names(client):
    return sorted(p.name for p in client.call("Processes", "List", processes.ListRequest(), processes.ListReply()).processes)


def wait_text(path):
    while not path.exists() or not path.read_text().endswith("\n"):
        os.sched_yield()
    return path.read_text()


def test_it_starts_again_with_the_daemon(make_daemon, tmp_path):
    state = tmp_path / "state"
    daemon = make_daemon("--state-dir", str(state))
    out = tmp_path / "out"
    with daemon.client() as client:
        client.hello(cwd=b"/usr", env=[b"A=of the session"], umask=0o027)
        client.start("sh", "-c", f'echo "$A $B $PWD $(umask) $(ulimit -n)" >{out}; exec sleep 1000', name="it", persist=True,
                     env=processes.Environment(set=[b"B=set"]), labels={"k": "v"},
                     rlimits=[processes.Rlimit(name="nofile", soft=77, hard=88)])
        client.start("sleep", "1000", name="other")
    first = wait_text(out)
    assert first == "of the session set /usr 0027 77\n"
    assert (state.stat().st_mode & 0o777, [f.stat().st_mode & 0o777 for f in (state / "specs").iterdir()]) == (0o700, [0o600])
    out.unlink()
    ended(daemon).start()
    with daemon.client() as client:
        assert names(client) == ["it"] and wait_text(out) == first
        again = client.get("it")
        assert again.labels == {"k": "v"} and again.spec.persist
        # an engine that dies does not start it a second time
        os.kill(client.stats().engine_pid, signal.SIGKILL)
    with daemon.client() as client:
        assert client.get("it").pid == again.pid
        client.call("Processes", "Stop", processes.StopRequest(process=ref("it")), processes.KillReply())
        assert os.listdir(state / "specs") == ["it"]
        client.call("Processes", "Remove", processes.RemoveRequest(process=ref("it")), processes.RemoveReply())
        assert os.listdir(state / "specs") == []
    ended(daemon).start()
    with daemon.client() as client:
        assert names(client) == []


def test_a_removal_that_is_refused_leaves_it_persisted(make_daemon, tmp_path):
    daemon = make_daemon("--state-dir", str(tmp_path / "state"))
    with daemon.client() as client:
        client.hello()
        client.start("sh", "-c", "sleep 1000 >/dev/null 2>&1 &", name="it", persist=True)
        client.wait("it", closed=True)
        daemon.ctl("rm", "it", check=1)
        assert os.listdir(tmp_path / "state" / "specs") == ["it"]
        daemon.ctl("rm", "-f", "it", check=0)
        assert os.listdir(tmp_path / "state" / "specs") == []


def test_by_spawnctl(make_daemon, tmp_path):
    daemon = make_daemon("--state-dir", str(tmp_path / "state"))
    daemon.ctl("run", "-d", "--name", "it", "--persist", "sleep", "1000", check=0)
    assert daemon.ctl("run", "-d", "--persist", "sleep", "1000").returncode != 0
    ended(daemon).start()
    [process] = daemon.ctl("ps", json_lines=True)
    assert process["name"] == "it" and process["state"] in ("starting", "running")


def test_damaged_files_are_named_and_others_go_on(make_daemon, tmp_path):
    state = tmp_path / "state"
    daemon = make_daemon("--state-dir", str(state))
    with daemon.client() as client:
        for name in ("a", "b", "c"):
            client.start("sleep", "1000", name=name, persist=True)
        shutil.copy(shutil.which("sleep"), tmp_path / "prog")
        client.start(str(tmp_path / "prog"), "1000", name="gone", persist=True)
    daemon.stop()
    specs = state / "specs"
    data = bytearray((specs / "b").read_bytes())
    data[-3] ^= 1
    (specs / "b").write_bytes(data)
    (specs / "short").write_bytes(b"x")
    (specs / "open").write_bytes((specs / "a").read_bytes())
    (specs / "open").chmod(0o666)
    (specs / ".new").write_bytes(b"what was being written")
    (tmp_path / "prog").unlink()
    daemon.start()
    with daemon.client() as client:
        while names(client) != ["a", "c"]:
            pass  # the third is found to have no program
        log = daemon.log.read_text()
        for name, why in (("b", "damaged"), ("short", "too short"), ("open", "nobody else can write"), ("gone", "ENOENT")):
            assert any(f"specs/{name} is not started" in line and why in line for line in log.splitlines()), (name, log)
        assert (specs / "gone").exists()  # its program may come back
        for name in ("gone", "b"):
            client.call("Processes", "Remove", processes.RemoveRequest(process=ref(name)), processes.RemoveReply())
            assert not (specs / name).exists()
        with pytest.raises(RpcError) as caught:
            client.call("Processes", "Remove", processes.RemoveRequest(process=ref("gone")), processes.RemoveReply())
        assert caught.value.code == "NOT_FOUND"


def test_what_cannot_be_persisted_is_refused(make_daemon, tmp_path):
    state = tmp_path / "state"
    daemon = make_daemon("--state-dir", str(state))
    with daemon.client() as client:
        for field, spec in ((None, dict()), (None, dict(name="x", stdio=[stdio(1, FD)]))):
            with pytest.raises(RpcError) as caught:
                client.start("sleep", "1000", persist=True, **spec)
            assert caught.value.code == "INVALID_ARGUMENT"
        with pytest.raises(RpcError) as caught:
            client.spawn("sleep", "1000", name="x", persist=True).receive()
        assert caught.value.detail.field == "spec.persist"
        with pytest.raises(RpcError) as caught:
            client.start("/nowhere", name="x", persist=True, stdio=[stdio(0, PIPE)])
        assert caught.value.detail.code == "ENOENT" and os.listdir(state / "specs") == []
        shutil.rmtree(state)  # the state directory is removed: what runs goes on
        child = client.start("sleep", "1000")
        with pytest.raises(RpcError) as caught:
            client.start("sleep", "1000", name="x", persist=True)
        assert str(state) in caught.value.message and "ENOENT" in caught.value.message
        assert client.get(child).state == processes.PROCESS_STATE_RUNNING
    plain = make_daemon()
    with plain.client() as client, pytest.raises(RpcError) as caught:
        client.start("sleep", "1000", name="x", persist=True)
    assert caught.value.code == "FAILED_PRECONDITION" and "--state-dir" in caught.value.message


def test_a_directory_of_others_is_refused(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    done = subprocess.run([BIN / "spawnd", "--foreground", "--socket", tmp_path / "s", "--state-dir", state], capture_output=True)
    assert done.returncode == 1 and b"writable by nobody else" in done.stderr
