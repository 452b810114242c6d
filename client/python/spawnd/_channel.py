"""Messages of a channel: what goes, within its window and kept until it is sure to arrive; what comes, put together."""
from __future__ import annotations

import asyncio
import collections
import fcntl
import os
import socket
import stat
from typing import Callable, Deque, List, Optional, Sequence, Tuple, Union

from ._pipes import Waiters
from ._wire import close_all
from .errors import ChannelClosed, SpawndError
from .types import JSON_TYPE, Message
from .v1 import processes_pb2

WINDOW = 1 << 20
WINDOW_PIECES = 1024
PIECE = 1 << 17  # bytes
MAX_DESCRIPTORS = 16
INBOX_MESSAGES = 4096  # beyond these, the credit of messages comes back only as they are taken

Handle = Union[socket.socket, int]


class Unsent:
    """A message that has still to be sent, or perhaps to be sent again."""

    def __init__(self, number: int, data: bytes, content_type: str, handles: Sequence[Handle], told: "asyncio.Future[None]") -> None:
        self.id = number
        self.data = memoryview(data)
        self.content_type = content_type
        self.sent = 0
        self.begun = False
        self.told = told
        self.fds: List[int] = []
        for handle in handles:
            self.fds.append(os.dup(handle if isinstance(handle, int) else handle.fileno()))

    def piece(self, size: int) -> processes_pb2.ChannelMessage:
        first = not self.begun
        message = processes_pb2.ChannelMessage(id=self.id, offset=self.sent, more=self.sent + size < len(self.data), tell=True)
        if first:
            message.size = len(self.data)
            message.content_type = self.content_type
            for number in range(len(self.fds)):
                message.handles.add().fd.attached = number
        message.data = bytes(self.data[self.sent:self.sent + size])
        return message

    def finish(self, error: Optional[BaseException] = None) -> None:
        close_all(self.fds)
        self.fds = []
        if not self.told.done():
            if error:
                self.told.set_exception(error)
                self.told.exception()
            else:
                self.told.set_result(None)


class Postbox:
    """Messages to the child, in their order."""

    def __init__(self, send: Callable[[processes_pb2.ChannelMessage, Sequence[int]], None]) -> None:
        self._send = send
        self._last_id = 0
        self._list: Deque[Unsent] = collections.deque()
        self._room, self._pieces = WINDOW, WINDOW_PIECES
        self.held = False  # nothing goes until it is known what arrived
        self.waiters = Waiters()

    @property
    def idle(self) -> bool:
        """Everything is on its way."""
        return not self.held and all(unsent.begun and unsent.sent == len(unsent.data) for unsent in self._list)

    def put(self, data: bytes, content_type: str, handles: Sequence[Handle]) -> "asyncio.Future[None]":
        told: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        self._list.append(Unsent(self._last_id + 1, data, content_type, handles, told))
        self._last_id += 1
        self.flush()
        return told

    def flush(self) -> None:
        if self.held:
            return
        for unsent in self._list:
            while not unsent.begun or unsent.sent < len(unsent.data):
                size = min(PIECE, len(unsent.data) - unsent.sent)
                if not self._pieces or self._room < size:
                    return
                self._send(unsent.piece(size), [] if unsent.begun else unsent.fds)
                unsent.begun = True
                unsent.sent += size
                self._room -= size
                self._pieces -= 1
        self.waiters.wake()

    def grant(self, size: int, pieces: int) -> None:
        self._room += size
        self._pieces += pieces
        self.flush()

    def result(self, number: int, error: Optional[SpawndError]) -> None:
        for unsent in self._list:
            if unsent.id == number:
                unsent.finish(error)
                self._list.remove(unsent)
                return

    def resume(self, taken: int) -> None:
        """A new connection: those up to `taken` arrived or will, the others go again."""
        while self._list and self._list[0].id <= taken:
            self._list.popleft().finish()
        for unsent in self._list:
            unsent.begun, unsent.sent = False, 0
        self._room, self._pieces = WINDOW, WINDOW_PIECES
        self.held = False
        self.flush()

    def close(self, error: SpawndError) -> None:
        while self._list:
            self._list.popleft().finish(error)
        self.waiters.wake()


def _adopt(fd: int) -> Handle:
    """A received descriptor as what the user gets. A socket in non-blocking mode stays so: its other owners share the mode."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return fd
    received = socket.socket(fileno=fd)
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK:
        received.setblocking(False)
    return received


class Inbox:
    """Messages from the child. `grant(bytes, messages)` gives credit back; `wanted` is what a new connection must go on with."""

    def __init__(self, content_type: str, grant: Callable[[int, int, bool], None]) -> None:
        self._content_type = content_type
        self._grant = grant
        self._queue: Deque[Tuple[Message, int]] = collections.deque()
        self._making = bytearray()
        self._made_cost = 0
        self._message = Message(b"")
        self._waiters = Waiters()
        self._ended = False
        self._error: Optional[SpawndError] = None
        self.wanted = (0, 0)
        self.debt = 0  # bytes waiting here that were paid for on a connection before

    def feed(self, piece: processes_pb2.ChannelMessage, fds: List[int]) -> None:
        if not piece.offset:
            self._begin(piece, fds)
        self._making += piece.data
        self._made_cost += len(piece.data)
        urgent = bool(piece.handles)
        if piece.more:
            self.wanted = (piece.id, len(self._making))
        else:
            self.wanted = (piece.id + 1, 0)
            self._message.data = bytes(self._making)
            self._queue.append((self._message, self._made_cost))
            self._making, self._made_cost = bytearray(), 0
            self._waiters.wake()
        self._grant(0, 1 if len(self._queue) <= INBOX_MESSAGES else 0, urgent)
        self._release()

    def _begin(self, piece: processes_pb2.ChannelMessage, fds: List[int]) -> None:
        self._making, self._made_cost = bytearray(), 0
        self._message = Message(b"", piece.content_type or self._content_type)
        for handle in piece.handles:
            if handle.lost or not fds:
                self._message.lost = True
            else:
                self._message.handles.append(_adopt(fds.pop(0)))

    def _release(self) -> None:
        """A message that is larger than the window comes on while nobody else waits."""
        if not self._queue and self._made_cost:
            self._pay(self._made_cost, 0)
            self._made_cost = 0

    def _pay(self, size: int, messages: int) -> None:
        old = min(self.debt, size)
        self.debt -= old
        self._grant(size - old, messages, False)

    def resume(self) -> None:
        self.debt = self._made_cost + sum(cost for _, cost in self._queue)

    def end(self, error: Optional[SpawndError]) -> None:
        if not self._ended:
            self._ended, self._error = True, error
            self._waiters.wake()

    async def receive(self) -> Optional[Message]:
        while not self._queue:
            if self._ended:
                if self._error:
                    raise self._error
                return None
            await self._waiters.wait()
        full = len(self._queue) > INBOX_MESSAGES
        message, cost = self._queue.popleft()
        self._pay(cost, 1 if full else 0)
        self._release()
        return message


def closed_error(why: str = "the channel is closed") -> ChannelClosed:
    return ChannelClosed(why)


__all__ = ["Handle", "Inbox", "Postbox", "JSON_TYPE", "MAX_DESCRIPTORS", "closed_error"]
