"""A connected socket on the loop: frames with their descriptors, both ways, never blocking."""
from __future__ import annotations

import array
import asyncio
import collections
import os
import socket
from typing import Callable, Deque, List, Optional, Sequence, Tuple

from ._frames import HEADER, FormatError, Frame, Splitter

READ_SIZE = 1 << 18
RIGHTS_SIZE = socket.CMSG_SPACE(253 * array.array("i").itemsize)  # SCM_MAX_FD


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


class Wire:
    """One connection. `on_lost` comes once, when all that had arrived was told; then the owner closes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, on_frame: Callable[[Frame], None],
                 on_lost: Callable[[str], None]) -> None:
        self._loop = loop
        self._socket = sock
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._splitter = Splitter()
        self._queue: Deque[Tuple[memoryview, List[int]]] = collections.deque()
        self._mute = False  # the other side takes nothing more
        self._closed = False
        loop.add_reader(sock.fileno(), self._on_readable)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._drop_queue()
        close_all(self._splitter.take_fds())

    def rest(self) -> Optional[Tuple[int, bytes, int]]:
        return self._splitter.rest()

    # ---- sending

    def send(self, stream: int, kind: int, flags: int, payload: bytes = b"", fds: Sequence[int] = ()) -> None:
        """Sends one frame, or queues it with duplicates of its descriptors."""
        if self._mute or self._closed:
            return
        data = memoryview(HEADER.pack(len(payload), stream, kind, flags) + payload)
        sent = 0 if self._queue else self._write(data, fds)
        if sent == len(data):
            return
        if not self._queue:
            self._loop.add_writer(self._socket.fileno(), self._on_writable)
        self._queue.append((data[sent:], [] if sent else [os.dup(fd) for fd in fds]))

    def _write(self, data: memoryview, fds: Sequence[int]) -> int:
        """Bytes that the socket took."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            return self._socket.sendmsg([data], rights, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._mute = True  # what has arrived is still read to its end
            return len(data)

    def _on_writable(self) -> None:
        while self._queue:
            data, fds = self._queue[0]
            sent = self._write(data, fds)
            if not sent:
                return
            close_all(fds)
            if sent < len(data):
                self._queue[0] = (data[sent:], [])
            else:
                self._queue.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _drop_queue(self) -> None:
        while self._queue:
            close_all(self._queue.popleft()[1])

    # ---- receiving

    def _receive(self) -> Tuple[bytes, List[int]]:
        data, ancillary, _, _ = self._socket.recvmsg(READ_SIZE, RIGHTS_SIZE, socket.MSG_CMSG_CLOEXEC)
        fds = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
        return data, list(fds)

    def _on_readable(self) -> None:
        why = "the daemon closed the connection"
        try:
            data, fds = self._receive()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            data, fds, why = b"", [], str(error)
        if not data:
            self._on_lost(why)
            return
        try:
            for frame in self._splitter.feed(data, fds):
                self._on_frame(frame)
                if self._closed:
                    return
        except FormatError as error:
            self._on_lost(f"the daemon sent {error}")
