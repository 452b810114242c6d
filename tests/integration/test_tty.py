"""`spawnctl run -t` in a real terminal: bash, vim and less, resize, ^C, ^Z, and the terminal as it was before."""
import os
import re
import signal
import termios

import pexpect
import pytest

from harness import SPAWNCTL


@pytest.fixture
def terminal(daemon):
    """A function that runs `spawnctl run -t -- ...` in a terminal of its own."""
    opened = []

    def run(*command, options=()):
        child = pexpect.spawn(SPAWNCTL, ["--socket", str(daemon.socket), "run", "-t", *options, "--", *command],
                              env=dict(os.environ, TERM="xterm", PS1="ready> "), dimensions=(24, 80), timeout=30, echo=True)
        child.before_flags = termios.tcgetattr(child.child_fd)
        opened.append(child)
        return child

    yield run
    for child in opened:
        child.close(force=True)


def is_cooked(child):
    flags = termios.tcgetattr(child.child_fd)
    return bool(flags[3] & termios.ICANON and flags[3] & termios.ECHO and flags[0] & termios.ICRNL)


def test_bash_works_and_its_status_comes_through(terminal):
    child = terminal("bash", "--norc", "--noprofile")
    child.expect_exact("ready> ")
    child.sendline("tty; echo $((6 * 7))")
    child.expect(r"/dev/pts/\d+\r\n42\r\n")
    child.sendline("exit 7")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 7
    assert is_cooked(child)


def start_cat(child):
    """A foreground job that surely runs: it has answered."""
    child.sendline("cat")
    child.sendline("ping")
    child.expect("ping\r\n.*ping\r\n")


def test_control_c_and_control_z_are_the_terminals(terminal):
    child = terminal("bash", "--norc", "--noprofile")
    child.expect_exact("ready> ")
    start_cat(child)
    child.sendintr()
    child.expect_exact("^C")
    child.expect_exact("ready> ")
    start_cat(child)
    child.send("\x1a")
    child.expect("Stopped")
    child.expect_exact("ready> ")
    child.sendline("exit")
    child.expect_exact("There are stopped jobs.")
    child.expect_exact("ready> ")
    child.sendline("exit 0")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_the_window_follows(terminal):
    child = terminal("bash", "--norc", "--noprofile")
    child.expect_exact("ready> ")
    child.sendline("trap 'stty size' WINCH; stty size")
    child.expect_exact("24 80\r\n")
    child.expect_exact("ready> ")
    child.setwinsize(40, 123)
    child.expect_exact("40 123")
    child.sendline("exit")
    child.expect(pexpect.EOF)


def test_vim_edits_a_file(terminal, tmp_path):
    target = tmp_path / "text"
    child = terminal("vi", str(target))
    child.expect_exact("text")
    child.send("ihello from vi\x1b")
    child.expect_exact("hello from vi")
    child.send(":wq\r")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0 and target.read_text() == "hello from vi\n"
    assert is_cooked(child)


def test_less_pages(terminal, tmp_path):
    text = tmp_path / "text"
    text.write_text("".join(f"line {i}\n" for i in range(1, 1001)))
    child = terminal("less", str(text))
    child.expect_exact("line 1\r\n")
    child.send("G")
    child.expect_exact("line 1000")
    child.send("q")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_restored_when_spawnctl_is_signalled(terminal, number):
    child = terminal("bash", "--norc", "--noprofile", options=["--grace", "100ms"])
    child.expect_exact("ready> ")
    assert not is_cooked(child)
    flags = termios.tcgetattr(child.child_fd)
    child.kill(number)
    child.sendline("exit 3")
    child.expect(pexpect.EOF)
    child.wait()
    assert is_cooked(child), flags


def test_the_terminal_is_restored_when_the_child_is_killed(daemon, terminal):
    child = terminal("bash", "--norc", "--noprofile")
    child.expect_exact("ready> ")
    child.sendline("kill -9 $$")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 128 + 9
    assert is_cooked(child)


@pytest.fixture
def shell(daemon):
    """A function that opens an interactive shell with job control, which finds spawnctl."""
    opened = []

    def open_shell(*command):
        path = f"{os.path.dirname(SPAWNCTL)}:{os.environ['PATH']}"
        env = dict(daemon.env, PATH=path, TERM="dumb", PS1="shell> ", ENV="")
        child = pexpect.spawn(command[0], list(command[1:]), env=env, dimensions=(24, 200), timeout=30)
        opened.append(child)
        child.expect_exact("shell> ")
        return child

    yield open_shell
    for child in opened:
        child.close(force=True)


SHELLS = [["bash", "--norc", "--noprofile"], ["dash", "-i"]]


@pytest.mark.parametrize("command", SHELLS, ids=lambda command: command[0])
def test_a_job_that_comes_to_the_foreground_reads(shell, command):
    child = shell(*command)
    child.sendline("spawnctl run -- sh -c 'echo up; cat; echo end; exit 3' &")
    child.expect("up\r+\n")
    child.sendline("echo still $((6 * 7))")
    child.expect("still 42\r\n")
    child.sendline("fg")
    child.expect("spawnctl run")
    child.sendline("word")
    child.expect("word\r\n.*word\r\n")
    child.sendeof()
    child.expect("end\r\n")
    child.sendline("echo status $?")
    child.expect("status 3\r\n")


@pytest.mark.parametrize("command", SHELLS, ids=lambda command: command[0])
def test_a_job_that_was_stopped_and_continued_reads(shell, command):
    child = shell(*command)
    child.sendline("spawnctl run -- sh -c 'echo up; cat; echo end'")
    child.expect("up\r+\n")
    child.send("\x1a")
    child.expect("shell> ")
    child.sendline("bg")
    child.expect("shell> ")
    child.sendline("echo still $((6 * 7))")
    child.expect("still 42\r\n")
    child.sendline("fg")
    child.expect("spawnctl run")
    child.sendline("word")
    child.expect("word\r\n.*word\r\n")
    child.sendeof()
    child.expect("end\r\n")


def test_a_background_job_leaves_the_terminal_alone(shell):
    child = shell("dash", "-i")
    child.sendline("spawnctl run -t -- sh -c 'echo up; read word; echo got $word' &")
    child.expect("up\r+\n")
    child.sendline("stty -a")
    child.expect(r"[^-]icanon")
    assert b"-icanon" not in child.before
    child.sendline("fg")
    child.expect("spawnctl run")
    child.sendline("it")
    child.expect("got it\r\n")
    child.sendline("stty -a")
    child.expect(r"[^-]icanon")
    assert b"-icanon" not in child.before


def test_two_streams_are_one_terminal(terminal):
    child = terminal("sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo all three >&2")
    child.expect_exact("all three")
    child.expect(pexpect.EOF)
    assert re.search("spawnctl", child.before.decode()) is None
