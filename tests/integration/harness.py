"""The harness: the real daemon on a private socket, ended and checked after every test. Nothing here waits by the clock."""
import json
import os
import pathlib
import select
import signal
import socket
import subprocess

import pytest

BUILD = pathlib.Path(os.environ.get("SPAWND_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build"))
BIN = BUILD / "bin"
SPAWNCTL = str(BIN / "spawnctl")


class Daemon:
    """A spawnd in the foreground. `start` returns once it said READY; `stop` asserts that it ended well."""

    def __init__(self, directory, args=(), env=None, preexec=None, program=BIN / "spawnd"):
        self.program = program
        self.directory = pathlib.Path(directory)
        self.socket = self.directory / "s"
        self.log = self.directory / "log"
        self.args = list(args)
        self.env = dict(os.environ, SPAWND_SOCKET=str(self.socket), **(env or {}))
        self.preexec = preexec
        self.process = None
        self.place = ["--socket", str(self.socket)]

    def start(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            name = str(self.directory / "notify")
            notify.bind(name)
            os.chmod(name, 0o666)  # the daemon may be another user
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    [str(self.program), "--foreground", *self.place, *self.args],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=self.preexec,
                    env=dict(self.env, NOTIFY_SOCKET=name))
            pidfd = os.pidfd_open(self.process.pid)
            try:
                readable, _, _ = select.select([notify, pidfd], [], [], 60)
            finally:
                os.close(pidfd)
            assert notify in readable, f"no READY=1:\n{self.log.read_text()}"
            assert b"READY=1" in notify.recv(4096)
            os.unlink(name)
        return self

    @property
    def pid(self):
        return self.process.pid

    def client(self, **kwargs):
        import ttrpc  # here, because its message classes and those of a client library exclude each other in a process

        return ttrpc.Client(self.socket, **kwargs)

    def ctl(self, *args, **kwargs):
        return spawnctl(self, *args, **kwargs)

    def zombies(self):
        """Children of the keeper that nobody reaped."""
        found = []
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                try:
                    if pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                        found.append(int(child))
                except FileNotFoundError:
                    pass
        return found

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        text = self.log.read_text(errors="replace")
        assert status == 0, f"spawnd ended with {status}:\n{text[-8000:]}"
        assert "ERROR: " not in text and "runtime error" not in text, text[-8000:]


def spawnctl(daemon, *args, input=None, check=None, json_lines=False, timeout=120, **kwargs):
    """Runs spawnctl against the daemon. check: assert this exit status. json_lines: returns the parsed lines of stdout."""
    options = ["--json"] if json_lines else []
    if isinstance(input, str):
        input = input.encode()
    if input is None and "stdin" not in kwargs:
        kwargs["stdin"] = subprocess.DEVNULL
    done = subprocess.run([SPAWNCTL, "--socket", str(daemon.socket), "--no-autostart", *options, *map(str, args)],
                          input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, **kwargs)
    if check is not None:
        assert done.returncode == check, (args, done)
    if json_lines:
        return [json.loads(line) for line in done.stdout.splitlines()]
    return done


@pytest.fixture
def make_daemon(tmp_path):
    """A function that starts daemons of its own options; all are ended and checked."""
    started = []

    def make(*args, **kwargs):
        directory = tmp_path / f"d{len(started)}"
        directory.mkdir()
        daemon = Daemon(directory, args, **kwargs)
        started.append(daemon)
        return daemon.start()

    yield make
    for daemon in started:
        daemon.stop()


@pytest.fixture
def daemon(make_daemon):
    return make_daemon()


@pytest.fixture
def client(daemon):
    with daemon.client() as connected:
        yield connected
