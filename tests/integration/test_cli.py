"""Every other command of spawnctl, by the contract of its names, codes and JSON."""
import json
import os
import re
import signal
import subprocess

import pexpect
import pytest

from harness import SPAWNCTL

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")


def background(daemon, *args):
    return int(daemon.ctl("run", "-d", *args, check=0).stdout)


def test_run_in_the_background_prints_the_id_alone(daemon):
    done = daemon.ctl("run", "-d", "--", "sleep", "1000", check=0)
    assert re.fullmatch(rb"\d+\n", done.stdout)


def test_ps_and_inspect_have_the_fields_of_the_contract(daemon):
    number = background(daemon, "--name", "sleeper", "--label", "tier=test", "--", "sleep", "1000")
    [row] = daemon.ctl("ps", json_lines=True, check=0)
    assert (row["id"], row["name"], row["state"], row["labels"], row["argv"]) == (number, "sleeper", "running", {"tier": "test"}, ["sleep", "1000"])
    assert row["pid"] > 0 and row["uptime"] >= 0 and row["restarts"] == 0 and row["transport"] == "kept" and TIME.match(row["started_at"])
    [full] = daemon.ctl("inspect", "sleeper", json_lines=True, check=0)
    assert full["id"] == number and full["spec"]["argv"] == ["sleep", "1000"]
    daemon.ctl("stop", "sleeper", check=0)
    assert daemon.ctl("ps", json_lines=True, check=0) == []
    [row] = daemon.ctl("ps", "-a", json_lines=True, check=0)
    assert row["state"] == "exited"
    assert row["exit"]["code"] is None and row["exit"]["signal"] == 15 and row["exit"]["reason"] == "stopped"
    assert [(o["slot"], o["bytes"], o["retained_from"]) for o in row["exit"]["output"]] == [(1, 0, 0), (2, 0, 0)]
    assert {"core", "error", "rusage"} <= row["exit"].keys()


def test_ps_filters_and_prints_a_table(daemon):
    background(daemon, "--label", "a=1", "--", "sleep", "1000")
    second = background(daemon, "--label", "a=2", "--", "sleep", "1000")
    assert [row["id"] for row in daemon.ctl("ps", "--filter", "a=2", json_lines=True, check=0)] == [second]
    lines = daemon.ctl("ps", check=0).stdout.decode().splitlines()
    assert lines[0].split() == ["ID", "NAME", "PID", "STATE", "UPTIME", "RESTARTS", "CPU", "MEMORY", "COMMAND"]
    assert len(lines) == 3


def test_filters_that_can_match_nothing_are_refused(daemon):
    for bad, why in (("state=bogus", "not one of starting running stopping backoff exited failed"), ("id=abc", "not a whole number"),
                     ("pid=-1", "not from 1 to"), ("name", "not of the form NAME=VALUE"), ("=x", "not of the form NAME=VALUE")):
        assert f"invalid value '{bad}' for --filter: {why}" in daemon.ctl("ps", "--filter", bad, check=2).stderr.decode()
    one = background(daemon, "--name", "one", "--label", "tier=a", "--", "sleep", "1000")
    two = background(daemon, "--", "true")
    daemon.ctl("wait", two, check=0)
    [pid] = [row["pid"] for row in daemon.ctl("ps", json_lines=True, check=0)]
    for good, found in ((f"id={one}", [one]), (f"pid={pid}", [one]), ("name=one", [one]), ("state=running", [one]), ("label=tier", [one]),
                        ("label=tier=a", [one]), ("tier=a", [one]), ("tier=b", []), ("state=exited", [two]), ("id=99999999999", [])):
        assert [row["id"] for row in daemon.ctl("ps", "--filter", good, json_lines=True, check=0)] == found


def test_a_narrow_terminal_gets_narrow_lines(daemon):
    name = "n" * 100
    number = background(daemon, "--name", name, "--", "sleep", "1000")
    child = pexpect.spawn(SPAWNCTL, ["--socket", str(daemon.socket), "ps"], dimensions=(24, 80), timeout=30)
    lines = child.read().decode().splitlines()
    child.close()
    assert len(lines) == 2 and all(len(line) <= 80 for line in lines)
    assert lines[1].split()[0] == str(number) and lines[1].split()[1].startswith("nnnn") and "sleep 1000" in lines[1]
    assert name in daemon.ctl("ps", check=0).stdout.decode()


def test_write_says_why_it_cannot(daemon):
    background(daemon, "--name", "deaf", "--", "sleep", "1000")
    background(daemon, "--name", "gone", "--stdio", "0=pipe", "--", "true")
    daemon.ctl("wait", "gone", check=0)
    for name, why in (("deaf", "its stdin is no pipe or terminal; --stdio 0=pipe makes it one"), ("gone", "it has ended"),
                      ("nobody", "no process named nobody")):
        for input in ("", "word\n"):
            assert daemon.ctl("write", name, input=input, check=1).stderr.decode() == f"spawnctl: write: {name}: {why}\n"
    assert daemon.ctl("kill", "gone", check=1).stderr == b"spawnctl: kill: gone: kill ESRCH: it has ended\n"


@pytest.mark.parametrize("name, why", [("deaf", "its stdin is no pipe or terminal"), ("gone", "it has ended; 'spawnctl logs gone'")])
def test_attach_tells_a_person_why_typing_does_nothing(daemon, name, why):
    background(daemon, "--name", "deaf", "--", "sleep", "1000")
    background(daemon, "--name", "gone", "--", "sh", "-c", "exit 3")
    daemon.ctl("wait", "gone", check=3)
    child = pexpect.spawn(SPAWNCTL, ["--socket", str(daemon.socket), "attach", name], dimensions=(24, 200), timeout=30)
    child.expect_exact(why)
    daemon.ctl("stop", "deaf", check=0)
    child.expect(pexpect.EOF)
    child.close()
    done = daemon.ctl("attach", "gone", check=3)
    assert done.stderr == b""


def test_what_the_daemon_refuses_is_a_usage_error(daemon):
    for words, field in ((["--rlimit", "bogus=1"], b"spec.rlimits[0].name"), (["--name", "a name"], b"spec.name")):
        assert field in daemon.ctl("run", *words, "--", "true", check=2).stderr
    background(daemon, "--name", "taken", "--", "sleep", "1000")
    daemon.ctl("run", "--name", "taken", "--", "true", check=125)
    assert b"descriptor 77" in daemon.ctl("run", "--stdio", "7=fd:77", "--", "true", check=125).stderr


def test_wait_gives_the_status_of_the_last(daemon):
    one, two = background(daemon, "--", "sh", "-c", "exit 3"), background(daemon, "--", "sh", "-c", "exit 4")
    daemon.ctl("wait", two, one, check=3)
    daemon.ctl("wait", one, two, check=4)


def test_logs_by_stream_offset_and_follow(daemon):
    number = background(daemon, "--", "sh", "-c", "echo one; echo two >&2; echo three")
    daemon.ctl("wait", number, check=0)
    done = daemon.ctl("logs", number, check=0)
    assert (done.stdout, done.stderr) == (b"one\nthree\n", b"two\n")
    assert daemon.ctl("logs", "--stream", "stdout", "--since", "1:4", number, check=0).stdout == b"three\n"
    follower = subprocess.Popen([SPAWNCTL, "--socket", str(daemon.socket), "logs", "-f", "writer"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    follower.wait(30)
    assert b"writer" in follower.stderr.read()
    background(daemon, "--name", "writer", "--stdio", "0=pipe", "--", "cat")
    follower = subprocess.Popen([SPAWNCTL, "--socket", str(daemon.socket), "logs", "-f", "writer"], stdout=subprocess.PIPE)
    daemon.ctl("write", "writer", input="hello\n", check=0)
    assert follower.stdout.readline() == b"hello\n"
    daemon.ctl("stop", "writer", check=0)
    assert follower.stdout.read() == b""
    assert follower.wait(30) == 0


def test_attach_passes_input_output_and_status(daemon):
    background(daemon, "--name", "talker", "--stdio", "0=pipe", "--", "sh", "-c", "read line; echo got $line; exit 9")
    done = daemon.ctl("attach", "talker", input="word\n")
    assert (done.returncode, done.stdout) == (9, b"got word\n")


def first_line(daemon, number):
    """Waits until the process has written a line."""
    follower = subprocess.Popen([SPAWNCTL, "--socket", str(daemon.socket), "logs", "-f", str(number)], stdout=subprocess.PIPE)
    line = follower.stdout.readline()
    follower.kill()
    follower.wait()
    return line


def test_kill_and_stop_report_what_ended(daemon):
    number = background(daemon, "--", "sh", "-c", "trap '' TERM USR2; echo up; while :; do sleep 0.01; done")
    assert first_line(daemon, number) == b"up\n"
    [killed] = daemon.ctl("kill", "-s", "USR2", number, json_lines=True, check=0)
    assert killed["method"] == "signal" and len(killed["ended"]) == 1 and killed["survived"] == []
    [stopped] = daemon.ctl("stop", "--grace", "100ms", number, json_lines=True, check=0)
    assert stopped["complete"] is True and stopped["survived"] == [] and stopped["method"] in ("cgroup", "freezer", "sweep")
    assert killed["ended"][0] in stopped["ended"]
    daemon.ctl("kill", number, check=1)


def test_rm_forgets_only_what_has_ended(daemon):
    number = background(daemon, "--name", "x", "--", "sleep", "1000")
    assert b"x" in daemon.ctl("rm", "x", check=1).stderr
    daemon.ctl("stop", "x", check=0)
    daemon.ctl("rm", number, check=0)
    daemon.ctl("inspect", number, check=1)


def test_events_are_numbered_and_typed(daemon):
    daemon.ctl("run", "--name", "one", "--", "true", check=0)
    follower = subprocess.Popen([SPAWNCTL, "--socket", str(daemon.socket), "--json", "events", "--since", "1"], stdout=subprocess.PIPE)
    seen = []
    while not seen or seen[-1]["type"] != "closed":
        seen.append(json.loads(follower.stdout.readline()))
    follower.terminate()
    follower.wait(30)
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert [event["type"] for event in seen] == ["spawned", "exited", "closed"]
    assert all(TIME.match(event["time"]) and event["process"] == seen[0]["process"] for event in seen)
    assert seen[0]["pid"] > 0 and seen[0]["name"] == "one"


def test_events_since_any_number(daemon):
    daemon.ctl("run", "--", "true", check=0)
    for since in ("0", "1"):
        follower = subprocess.Popen([SPAWNCTL, "--socket", str(daemon.socket), "events", "--since", since], stdout=subprocess.PIPE)
        first = json.loads(follower.stdout.readline())
        follower.terminate()
        follower.wait(30)
        assert (first["seq"], first["type"]) == (1, "spawned")
    done = daemon.ctl("events", "--since", "9223372036854775807", check=1)
    assert done.stderr == b"spawnctl: events: start.since_seq: the last event so far has the number 3\n"
    for wrong, why in (("-1", "not from 0 to"), ("18446744073709551616", "not from 0 to"), ("abc", "not a whole number"), ("", "not a whole"),
                       ("1.5", "not a whole number")):
        assert why in daemon.ctl("events", "--since", wrong, check=2).stderr.decode()


def test_daemon_status_and_metrics(daemon):
    [status] = daemon.ctl("daemon", "status", json_lines=True, check=0)
    assert status["socket"] == str(daemon.socket) and status["keeper_pid"] == daemon.pid
    assert status["engine_pid"] != daemon.pid and status["engine_restarts"] == 0 and status["processes"] == 0
    assert {"version", "threads", "pools", "clients", "rss_bytes", "keeper_rss_bytes", "fds", "degraded"} <= status.keys()
    assert daemon.ctl("metrics", check=0).stdout.endswith(b"# EOF\n")


def test_autostart_many_at_once_gives_one_daemon(tmp_path):
    socket = tmp_path / "run" / "s"
    socket.parent.mkdir(mode=0o700)
    clients = [subprocess.Popen([SPAWNCTL, "--socket", str(socket), "--json", "daemon", "start"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for _ in range(12)]
    for client in clients:
        assert client.wait(60) == 0, client.stderr.read()
    status = json.loads(subprocess.run([SPAWNCTL, "--socket", str(socket), "--json", "daemon", "status"], stdout=subprocess.PIPE, check=True).stdout)
    assert status["socket"] == str(socket)
    assert sorted(path.name for path in socket.parent.iterdir()) == ["s", "s.lock", "s.log"]
    subprocess.run([SPAWNCTL, "--socket", str(socket), "daemon", "stop"], check=True)
    assert not socket.exists()
    assert subprocess.run([SPAWNCTL, "--socket", str(socket), "daemon", "status"], stderr=subprocess.PIPE).returncode == 69


def test_the_log_of_a_daemon_in_the_background(tmp_path):
    """Beside the socket, from every engine and the keeper; shown by status; too large a one is put aside by the next daemon."""
    socket, log = tmp_path / "s", tmp_path / "s.log"

    def ctl(*args):
        done = subprocess.run([SPAWNCTL, "--socket", str(socket), "--json", *args], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)

    ctl("daemon", "start")
    status = ctl("daemon", "status")
    assert status["log"] == str(log) and log.stat().st_mode & 0o777 == 0o600
    os.kill(status["engine_pid"], signal.SIGKILL)
    while ctl("daemon", "status")["engine_restarts"] == 0:
        pass
    ctl("daemon", "stop")
    text = log.read_text()
    assert text.count("serving ") == 2 and "the engine ended with signal 9" in text
    with log.open("a") as file:
        file.truncate(2 << 20)
    ctl("daemon", "start")
    ctl("daemon", "stop")
    assert (tmp_path / "s.log.1").stat().st_size == 2 << 20 and log.read_text().count("serving ") == 1


def test_a_daemon_in_the_foreground_has_no_log_file(daemon):
    [status] = daemon.ctl("daemon", "status", json_lines=True, check=0)
    assert status.get("log", "") == "" and not (daemon.directory / "s.log").exists()


def test_the_first_command_starts_the_daemon(tmp_path):
    socket = tmp_path / "s"
    done = subprocess.run([SPAWNCTL, "--socket", str(socket), "run", "--", "echo", "hello"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    subprocess.run([SPAWNCTL, "--socket", str(socket), "daemon", "stop"], check=True)


def test_options_of_later_features_are_refused(daemon):
    daemon.ctl("run", "--restart", "always", "--", "true", check=2)
