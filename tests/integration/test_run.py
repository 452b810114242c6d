"""`spawnctl run` and `exec`: bytes, statuses and errors come through untouched."""
import fcntl
import hashlib
import os
import signal
import struct
import subprocess
import termios
import threading

import pytest

import ttrpc
from harness import SPAWNCTL

HELPER = str(ttrpc.ROOT / "tests" / "child" / "helper.py")
FULL = bool(os.environ.get("SPAWND_FULL_SIZE"))
VOLUME = (1 << 30) if FULL else (32 << 20)


def peak_rss(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def pump_random(daemon, options, volume, pause_after=None):
    """Random bytes through `run -- cat`; a reader that stops for a while until the writer is stuck, if asked."""
    child = subprocess.Popen([SPAWNCTL, "--socket", str(daemon.socket), "--no-autostart", "run", *options, "--", "cat"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    sent, stuck = hashlib.sha256(), threading.Event()

    def write():
        left = volume
        while left:
            piece = os.urandom(min(left, 1 << 20))
            sent.update(piece)
            left -= len(piece)
            if pause_after and volume - left > pause_after:
                stuck.set()
            child.stdin.write(piece)
        child.stdin.close()

    writer = threading.Thread(target=write)
    writer.start()
    got = hashlib.sha256()
    if pause_after:
        stuck.wait(60)
    while piece := child.stdout.read(1 << 18):
        got.update(piece)
    writer.join()
    assert child.wait(60) == 0
    assert got.hexdigest() == sent.hexdigest()


@pytest.mark.parametrize("transport", ["direct", "kept"])
def test_random_bytes_come_back_identical(daemon, transport):
    pump_random(daemon, ["--transport", transport], VOLUME)
    with daemon.client() as client:
        engine = client.stats().engine_pid
    if not os.environ.get("SPAWND_SANITIZED"):
        assert peak_rss(engine) < 32 << 20


@pytest.mark.parametrize("transport", ["direct", "kept"])
def test_a_reader_that_stops_for_a_while_loses_nothing(daemon, transport):
    pump_random(daemon, ["--transport", transport], 24 << 20, pause_after=1 << 20)


@pytest.mark.parametrize("transport", ["direct", "kept", "handover"])
def test_stderr_flows_while_nobody_reads_stdout(daemon, transport):
    """stdout is a full pipe; what is said on stderr still comes, line by line, until stdin ends; nothing of stdout is lost."""
    script = "yes & while read x; do echo $x >&2; done; kill $!"
    child = subprocess.Popen([SPAWNCTL, "--socket", str(daemon.socket), "--no-autostart", "run", "--transport", transport, "--window",
                              "128k", "--", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    capacity = fcntl.fcntl(child.stdout, fcntl.F_GETPIPE_SZ)
    while struct.unpack("i", fcntl.ioctl(child.stdout, termios.FIONREAD, b"    "))[0] < capacity - 4096:
        assert child.poll() is None
    for i in range(300):
        child.stdin.write(b"%d\n" % i)
        child.stdin.flush()
        assert child.stderr.readline() == b"%d\n" % i
    child.stdin.close()
    output = child.stdout.read()
    assert len(output) > capacity and output == (b"y\n" * len(output))[:len(output)]
    assert child.stderr.read() == b"" and child.wait(60) == 0


def test_handover_gives_the_pipes_themselves(daemon):
    pump_random(daemon, ["--transport", "handover"], 8 << 20)


def test_stdout_and_stderr_never_mix(daemon):
    script = "for i in $(seq 500); do echo out$i; echo err$i >&2; done"
    done = daemon.ctl("exec", script, check=0)
    assert done.stdout == "".join(f"out{i}\n" for i in range(1, 501)).encode()
    assert done.stderr == "".join(f"err{i}\n" for i in range(1, 501)).encode()


def test_every_exit_status_comes_through(daemon):
    for code in range(256) if FULL else (0, 1, 2, 7, 69, 124, 125, 126, 127, 128, 200, 255):
        daemon.ctl("run", "--", "sh", "-c", f"exit {code}", check=code)


def test_every_deadly_signal_comes_through(daemon):
    harmless = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN,
                signal.SIGTTOU}
    for number in sorted(signal.valid_signals() - harmless):
        daemon.ctl("run", "--rlimit", "core=0", "--", "sh", "-c", f"kill -{int(number)} $$", check=128 + number)


def test_not_found_is_127_in_the_words_of_node(daemon):
    done = daemon.ctl("run", "--", "/nonexistent", check=127)
    assert b"spawn /nonexistent ENOENT" in done.stderr
    assert done.stdout == b""


def test_not_executable_is_126(daemon, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("not a program")
    done = daemon.ctl("run", "--", plain, check=126)
    assert f"spawn {plain} EACCES".encode() in done.stderr
    plain.chmod(0o755)
    done = daemon.ctl("run", "--", plain, check=126)
    assert f"spawn {plain} ENOEXEC".encode() in done.stderr


def test_timeout_is_124_and_leaves_nothing(daemon):
    daemon.ctl("run", "--timeout", "0.2", "--", "sleep", "1000", check=124)


def test_usage_is_2_and_no_daemon_is_69(daemon, tmp_path):
    daemon.ctl("run", "--no-such-option", "--", "true", check=2)
    daemon.ctl("frobnicate", check=2)
    done = subprocess.run([SPAWNCTL, "--socket", str(tmp_path / "none"), "--no-autostart", "ps"], stderr=subprocess.PIPE)
    assert done.returncode == 69
    assert done.stderr.startswith(b"spawnctl: ")


def test_nothing_passes_through_a_shell_by_accident(daemon):
    assert daemon.ctl("run", "--", "echo", "$HOME", "`id`", "a  b", "*", check=0).stdout == b"$HOME `id` a  b *\n"


def test_arguments_need_not_be_utf8(daemon):
    done = subprocess.run([SPAWNCTL.encode(), b"--socket", os.fsencode(daemon.socket), b"run", b"--", b"printf", b"%s", b"\xff\xfe"],
                          stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert done.stdout == b"\xff\xfe"


def test_the_child_gets_environment_directory_and_umask_of_the_client(daemon, tmp_path):
    done = daemon.ctl("run", "--env", "B=2", "--", "sh", "-c", "pwd; echo $A$B; umask", check=0, cwd=tmp_path,
                      env=dict(os.environ, A="1"), preexec_fn=lambda: os.umask(0o057))
    assert done.stdout == f"{tmp_path}\n12\n0057\n".encode()
    done = daemon.ctl("run", "--clear-env", "--env", "ONLY=1", "--", "/usr/bin/env", check=0)
    assert {line.split(b"=")[0] for line in done.stdout.splitlines()} <= {b"ONLY", b"SPAWND_ID"}


def test_descriptors_signals_session_are_clean(daemon):
    assert daemon.ctl("run", "--", HELPER, "fds", check=0).stdout == b"0 1 2\n"
    done = daemon.ctl("run", "--", HELPER, "signals", check=0,
                      preexec_fn=lambda: (signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])))
    blocked, ignored, session, group = done.stdout.split()
    assert int(blocked, 16) == 0
    # Python itself ignores SIGPIPE and SIGXFSZ
    assert int(ignored, 16) & ~((1 << (signal.SIGPIPE - 1)) | (1 << (signal.SIGXFSZ - 1))) == 0
    assert (session, group) == (b"True", b"True")


def test_signals_of_the_terminal_go_to_the_childs_group(daemon):
    child = subprocess.Popen([SPAWNCTL, "--socket", str(daemon.socket), "run", "--", "sh", "-c", "trap 'echo usr1; exit 5' USR1; echo ready; while :; do sleep 1; done"],
                             stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGUSR1)
    assert child.stdout.read() == b"usr1\n"
    assert child.wait(30) == 5


def test_output_into_a_closed_pipe_ends_the_run(daemon):
    done = subprocess.run(["sh", "-c", f"{SPAWNCTL} --socket {daemon.socket} run -- yes | head -n 1"], stdout=subprocess.PIPE, timeout=60)
    assert done.stdout == b"y\n"
    with daemon.client() as client:
        while client.stats().processes:
            pass
