"""Where a daemon is found, and starting one when there is none.

Starters of one socket take turns at a lock beside it and look again once they have it, so that many at once start one daemon; it is
the same lock that libspawnd takes. All of this blocks and runs in a thread.
"""
from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import stat
import subprocess
import tempfile

from .errors import AccessDenied, InvalidArgument, Unavailable

PATH_MAX = 107  # of sockaddr_un, without its NUL
IDLE_EXIT = "10m"


def default_socket() -> str:
    """The path that connect() uses when none is given (docs/PROTOCOL.md, section 1)."""
    given = os.environ.get("SPAWND_SOCKET")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if given:
        return given
    if runtime:
        return os.path.join(runtime, "spawnd", "spawnd.sock")
    if os.geteuid() == 0:
        return "/run/spawnd/spawnd.sock"
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"spawnd-{os.geteuid()}", "spawnd.sock")


def _check_directory(directory: str) -> None:
    """The usual socket is trusted only where nobody else can put one."""
    status = os.stat(directory)
    if status.st_uid not in (0, os.geteuid()):
        raise AccessDenied(f"{directory} belongs to uid {status.st_uid}, not to uid {os.geteuid()}; refused for a socket")
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise AccessDenied(f"{directory} can be written by others; refused for a socket")


def find_socket(path: "os.PathLike[str] | str | None") -> str:
    """The absolute path of the socket to use."""
    found = os.fspath(path) if path is not None else default_socket()
    if path is None and not os.environ.get("SPAWND_SOCKET") and os.path.isdir(os.path.dirname(found)):
        _check_directory(os.path.dirname(found))
    found = os.path.abspath(found)
    if len(os.fsencode(found)) > PATH_MAX:
        raise InvalidArgument(f"{found}: the path of a socket may have {PATH_MAX} bytes")
    return found


def try_connect(path: str, blocking: bool = False) -> socket.socket:
    """A connected socket that does not block from now on, or OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(blocking)
        sock.connect(path)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def unreachable(path: str, error: OSError) -> Unavailable:
    failure = Unavailable(f"connect {error.strerror}: {path}")
    failure.code, failure.syscall, failure.path = errno.errorcode.get(error.errno or 0, ""), "connect", path
    return failure


def is_absent(error: OSError) -> bool:
    """Nobody listens there: a daemon can be started."""
    return error.errno in (errno.ENOENT, errno.ECONNREFUSED)


def _program() -> str:
    named = os.environ.get("SPAWND_DAEMON") or "spawnd"
    found = shutil.which(named)
    if not found:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), named)
    return os.path.abspath(found)


def _start(path: str) -> None:
    """Starts a daemon and waits until it is ready: what we start ends then. It gets little of our environment, to outlive us."""
    environment = {name: value for name, value in os.environ.items() if name in ("HOME", "PATH", "USER") or name.startswith("XDG_")}
    with tempfile.TemporaryFile() as said:
        try:
            done = subprocess.run([_program(), "--socket", path, "--idle-exit", IDLE_EXIT], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=said, cwd="/", env=environment, start_new_session=True)
        except OSError as error:
            raise Unavailable(f"no daemon runs at {path} and none could be started: {error}") from None
        said.seek(0)
        text = said.read(4096).decode(errors="replace").strip()
    if done.returncode:
        raise Unavailable(f"no daemon runs at {path} and none could be started: {text or 'it ended without a word'}")


def reach(path: str, autostart: bool) -> socket.socket:
    """A connection to the daemon at path, started if need be. Blocks."""
    try:
        return try_connect(path, blocking=True)
    except OSError as error:
        if not autostart or not is_absent(error):
            raise unreachable(path, error) from None
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    _check_directory(os.path.dirname(path))
    with open(f"{path}.start", "ab", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return try_connect(path, blocking=True)
        except OSError:
            _start(path)
        try:
            return try_connect(path, blocking=True)
        except OSError as error:
            raise unreachable(path, error) from None
