"""What spawnctl says when something is wrong: the thing by its name, and the status of the contract."""
import os
import pwd
import subprocess

import pytest

from harness import SPAWNCTL


def from_nowhere(daemon, directory, *args):
    """spawnctl from a directory that was removed under it."""
    directory.mkdir()
    script = 'cd "$0" && rmdir "$0" && exec "$@"'
    return subprocess.run(["sh", "-c", script, str(directory), SPAWNCTL, "--socket", str(daemon.socket), "--no-autostart", *args],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)


@pytest.mark.parametrize("way", [["run"], ["run", "-d"], ["exec"], ["run", "-t"]])
def test_a_directory_that_is_gone_is_an_error(daemon, tmp_path, way):
    done = from_nowhere(daemon, tmp_path / "gone", *way, "pwd")
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"spec.cwd: getcwd ENOENT" in done.stderr


def test_without_a_directory_all_else_works(daemon, tmp_path):
    done = from_nowhere(daemon, tmp_path / "gone", "run", "--cwd", str(tmp_path), "--", "pwd")
    assert (done.returncode, done.stdout, done.stderr) == (0, str(tmp_path).encode() + b"\n", b"")
    assert from_nowhere(daemon, tmp_path / "gone", "ps").returncode == 0
    done = from_nowhere(daemon, tmp_path / "gone", "run", "--cwd", "sub", "--", "pwd")
    assert done.returncode == 125 and b"--cwd sub: getcwd ENOENT" in done.stderr


def test_a_directory_that_cannot_be_entered_is_named(daemon, tmp_path):
    (tmp_path / "file").touch()
    done = daemon.ctl("run", "--cwd", tmp_path / "none", "--", "true", check=127)
    assert f"spawn true ENOENT: changing its directory to {tmp_path}/none".encode() in done.stderr
    done = daemon.ctl("run", "--cwd", tmp_path / "file", "--", "true", check=126)
    assert f"spawn true ENOTDIR: changing its directory to {tmp_path}/file".encode() in done.stderr


def test_a_file_that_cannot_be_opened_is_named(daemon, tmp_path):
    missing = tmp_path / "none" / "log"
    done = daemon.ctl("run", "--log-file", missing, "--", "true", check=125)
    assert f"open {missing} ENOENT".encode() in done.stderr
    done = daemon.ctl("run", "--stdio", f"1=file:{missing}", "--", "true", check=127)
    assert f"spawn true ENOENT: opening {missing}".encode() in done.stderr


@pytest.mark.parametrize("content, line, why", [
    (b"A=1\n\nB C\n=x\n", 4, "not of the form NAME=VALUE"),
    (b"A=1\nB=\0\n", 2, "contains a NUL byte"),
    (b"\0", 1, "contains a NUL byte"),
])
def test_a_bad_line_of_an_env_file_is_named(daemon, tmp_path, content, line, why):
    path = tmp_path / "env"
    path.write_bytes(content)
    done = daemon.ctl("run", "--env-file", path, "--", "true", check=125)
    assert done.stderr == f"spawnctl: run: {path}: line {line}: {why}\n".encode()


def test_an_env_file_that_cannot_be_read_is_named(daemon, tmp_path):
    done = daemon.ctl("run", "--env-file", tmp_path, "--", "true", check=125)
    assert done.stderr == f"spawnctl: run: {tmp_path}: Is a directory\n".encode()
    done = daemon.ctl("run", "--env-file", tmp_path / "none", "--", "true", check=125)
    assert done.stderr == f"spawnctl: run: {tmp_path}/none: No such file or directory\n".encode()


def test_env_wins_over_env_files_in_any_order(daemon, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("A=first\nB=first\nC=first\n")
    second.write_text("# comment\n\nB=second\nFROM_US\n")
    options = [["--env-file", first], ["--env-file", second], ["--env", "C=option"]]
    for order in (options, options[::-1][:1] + options[:2]):
        words = [word for option in order for word in option]
        done = daemon.ctl("run", *words, "--", "sh", "-c", "echo $A $B $C $FROM_US", check=0, env=dict(os.environ, FROM_US="ours"))
        assert done.stdout == b"first second option ours\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_user_brings_its_groups_along(daemon):
    nobody = pwd.getpwnam("nobody")
    groups = os.getgrouplist("nobody", nobody.pw_gid)
    done = daemon.ctl("run", "--uid", "nobody", "--", "sh", "-c", "id -u; id -g; id -G", check=0)
    user, group, all_groups = done.stdout.decode().splitlines()
    assert (int(user), int(group)) == (nobody.pw_uid, nobody.pw_gid)
    assert sorted(map(int, all_groups.split())) == sorted(set(groups))
    assert daemon.ctl("run", "--uid", "nobody", "--gid", "0", "--", "id", "-g", check=0).stdout == b"0\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_user_nobody_knows_needs_a_group(daemon):
    unknown = 61234
    with pytest.raises(KeyError):
        pwd.getpwuid(unknown)
    done = daemon.ctl("run", "--uid", unknown, "--", "true", check=125)
    assert b"--uid 61234: " in done.stderr and b"--gid" in done.stderr
    assert daemon.ctl("run", "--uid", unknown, "--gid", unknown, "--", "id", "-G", check=0).stdout == b"61234\n"
    assert daemon.ctl("run", "--uid", "no-such-user", "--", "true", check=2).stderr.startswith(b"spawnctl: run: invalid value 'no-such-user'")


@pytest.mark.parametrize("words, said", [
    (["-s", "-1"], "invalid value '-1' for -s: unknown signal"),
    (["--signal", "-9"], "invalid value '-9' for --signal: unknown signal"),
    (["-s", "65"], "invalid value '65' for -s: not from 0 to 64"),
    (["-999"], "invalid value '999' for -s: not from 0 to 64"),
    (["-s", "SIGFOO"], "invalid value 'SIGFOO' for -s: unknown signal"),
    (["-s", ""], "invalid value '' for -s: unknown signal"),
])
def test_signals_that_are_none(daemon, words, said):
    done = daemon.ctl("kill", *words, "1", check=2)
    assert done.stderr.decode().startswith(f"spawnctl: kill: {said}\n")


@pytest.mark.parametrize("words", [["-9"], ["-s", "9"], ["-s9"], ["-KILL"], ["-SIGKILL"], ["--signal=KILL"], ["--signal", "sigkill"]])
def test_ways_to_name_a_signal(daemon, words):
    daemon.ctl("run", "-d", "--name", "sleeper", "--", "sleep", "1000", check=0)
    daemon.ctl("kill", *words, "sleeper", check=0)
    daemon.ctl("wait", "sleeper", check=137)
