"""Where spawnctl's own output cannot go: a full disk is an error, a reader that has gone is none, a closed stdout is one."""
import os
import signal
import subprocess

import pytest

from harness import SPAWNCTL

FULL = "/dev/full"


@pytest.fixture
def talker(daemon):
    """A process that has written to both slots and ended."""
    daemon.ctl("run", "-d", "--name", "talker", "--", "sh", "-c", "echo out; echo err >&2", check=0)
    daemon.ctl("wait", "talker", check=0)
    return daemon


# what is printed, and what a failure ends with
COMMANDS = [
    (["logs", "talker"], 1),
    (["--json", "logs", "talker"], 1),
    (["ps", "-a"], 1),
    (["--json", "ps", "-a"], 1),
    (["inspect", "talker"], 1),
    (["events", "--since", "1"], 1),
    (["metrics"], 1),
    (["daemon", "status"], 1),
    (["--help"], 1),
    (["--version"], 1),
    (["--json", "wait", "talker"], 125),
    (["run", "--", "echo", "hello"], 125),
    (["run", "-d", "--", "true"], 125),
    (["exec", "echo hello"], 125),
]


def ctl(daemon, words, **kwargs):
    kwargs.setdefault("stderr", subprocess.PIPE)
    return subprocess.run([SPAWNCTL, "--socket", str(daemon.socket), "--no-autostart", *words], stdin=subprocess.DEVNULL,
                          timeout=60, **kwargs)


@pytest.mark.parametrize("words, status", COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_full_disk_is_told(talker, words, status):
    with open(FULL, "wb") as full:
        done = ctl(talker, words, stdout=full)
    assert done.returncode == status
    assert done.stderr.endswith(b"stdout: No space left on device\n") and done.stderr.count(b"No space") == 1


@pytest.mark.parametrize("words, status", COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_closed_stdout_is_told(talker, words, status):
    done = ctl(talker, words, preexec_fn=lambda: os.close(1))
    assert done.returncode == status
    assert done.stderr.endswith(b"stdout: Bad file descriptor\n")


@pytest.mark.parametrize("words", [words for words, _ in COMMANDS], ids=" ".join)
def test_a_reader_that_has_gone_is_nothing_to_tell(talker, words):
    readable, writable = os.pipe()
    os.close(readable)
    done = ctl(talker, words, stdout=writable)
    os.close(writable)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr.replace(b"err\n", b"") == b""


@pytest.mark.parametrize("words", [["run", "--", "true"], ["rm", "talker"], ["exec", "echo >&2"]], ids=" ".join)
def test_who_prints_nothing_needs_no_stdout(talker, words):
    assert ctl(talker, words, preexec_fn=lambda: os.close(1)).returncode == 0


def test_without_stderr_the_rest_works(talker):
    done = ctl(talker, ["exec", "echo out; echo err >&2; exit 3"], stdout=subprocess.PIPE, stderr=None, preexec_fn=lambda: os.close(2))
    assert (done.returncode, done.stdout) == (3, b"out\n")


def test_without_stdin_there_is_nothing_to_read(talker):
    talker.ctl("run", "-d", "--name", "cat", "--stdio", "0=pipe", "--", "cat", check=0)
    for words in (["run", "--", "cat"], ["write", "cat"], ["attach", "--eof", "cat"]):
        done = subprocess.run([SPAWNCTL, "--socket", str(talker.socket), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=60, preexec_fn=lambda: os.close(0))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("words", [["events"], ["logs", "-f", "silent"]], ids=" ".join)
def test_followers_leave_with_their_reader_although_nothing_comes(daemon, words):
    daemon.ctl("run", "-d", "--name", "silent", "--", "sleep", "1000", check=0)
    follower = subprocess.Popen([SPAWNCTL, "--socket", str(daemon.socket), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with daemon.client() as client:
        while client.stats().clients < 2:
            pass
    follower.stdout.close()
    assert follower.wait(30) == 128 + signal.SIGPIPE
    assert follower.stderr.read() == b""


def test_a_pipe_that_does_not_block_is_waited_for(daemon):
    daemon.ctl("run", "-d", "--name", "seq", "--retain", "2M", "--", "seq", "200000", check=0)
    daemon.ctl("wait", "seq", check=0)
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    follower = subprocess.Popen([SPAWNCTL, "--socket", str(daemon.socket), "logs", "seq"], stdout=writable)
    os.close(writable)
    with open(readable, "rb") as stream:
        assert stream.read() == "".join(f"{i}\n" for i in range(1, 200001)).encode()
    assert follower.wait(30) == 0
