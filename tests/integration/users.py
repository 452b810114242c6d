"""Clients under other users: the connection is made by a child that has become the user, so that the kernel says so.

The daemon must be able to tell users apart, so these tests run as root, and say so where they do not.
"""
import array
import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import tempfile

import pytest

import ttrpc
from harness import Daemon
from ttrpc import admin

ALICE, BOB, CAROL = 61001, 61002, 61003  # uid and gid of nobody else
GROUP = 61050
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 0x20000, 0x10000000, 0x20000000, 4, 38
libc = ctypes.CDLL(None, use_errno=True)


def need_root():
    if os.geteuid() != 0:
        pytest.fail("these tests need root: they connect as other users")


@contextlib.contextmanager
def process_of(uid, gid=None, groups=(), unshare=0, no_new_privs=False, dumpable=True, path=None):
    """A process of that user, waiting; yields (its socket to us, its pid). With path it has connected there and sent us that."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            if unshare and libc.unshare(unshare) != 0:
                os._exit(3)
            if unshare & CLONE_NEWPID:
                # only children are in the new namespace
                inner = os.fork()
                if inner:
                    os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) & 255)
            if no_new_privs and libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
                os._exit(4)
            if uid:
                os.setgroups(list(groups))
                os.setgid(uid if gid is None else gid)
                os.setuid(uid)
            libc.prctl(PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)  # as a program that was started by the user
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(str(path))
            except OSError as error:
                theirs.sendall(bytes([error.errno]))
            else:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))]
                theirs.sendmsg([b"\0"], rights)
            theirs.recv(1)  # until the test is done with it: the daemon looks at this process
        finally:
            os._exit(0)
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        os.waitpid(pid, 0)


@contextlib.contextmanager
def client(daemon, uid, **kwargs):
    """A connection of that user; PermissionError and the like when it could not connect."""
    need_root()
    with process_of(uid, path=daemon.socket, **kwargs) as channel:
        said, rights, _, _ = channel.recvmsg(1, socket.CMSG_SPACE(4))
        if not said:
            raise RuntimeError("the process of the user ended before it connected")
        if said != b"\0":
            raise OSError(said[0], os.strerror(said[0]))
        numbers = array.array("i")
        numbers.frombytes(rights[0][2])
        with ttrpc.Client(socket.socket(fileno=numbers[0])) as connected:
            yield connected


def configure(daemon_directory, *lines):
    """Writes a configuration file and returns its path."""
    path = daemon_directory / "spawnd.conf"
    path.write_text("".join(line + "\n" for line in lines))
    return path


@pytest.fixture
def open_daemon():
    """Starts daemons with a configuration in a directory that everybody may pass."""
    need_root()
    started, directories = [], []

    def make(*lines, args=(), uid=0, own_directory=False):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="spawnd-security-"))
        directories.append(directory)
        directory.chmod(0o711)
        daemon = Daemon(directory, ["--config", str(configure(directory, *lines)), *args])
        if uid:
            os.chown(directory, uid, uid)
            daemon.preexec = lambda: (os.setgroups([]), os.setgid(uid), os.setuid(uid))
        if own_directory:
            daemon.socket, daemon.place = directory / "spawnd" / "spawnd.sock", []
            daemon.env.pop("SPAWND_SOCKET")
            daemon.env["XDG_RUNTIME_DIR"] = str(directory)
        started.append(daemon)
        return daemon.start()

    yield make
    for daemon in started:
        daemon.stop()
    for directory in directories:
        shutil.rmtree(directory)


def reload(daemon, *lines):
    """Another configuration; returns when it is in force."""
    configure(daemon.directory, *lines)
    before = daemon.log.read_text().count("configuration:")
    os.kill(daemon.pid, signal.SIGHUP)
    with daemon.client() as root:
        while daemon.log.read_text().count("configuration:") == before:
            root.call("Admin", "Ping", admin.PingRequest(), admin.PingReply())


def refusal(action, code="PERMISSION_DENIED"):
    with pytest.raises(ttrpc.RpcError) as caught:
        action()
    assert caught.value.code == code, caught.value
    return caught.value
