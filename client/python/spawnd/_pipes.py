"""The two ends that a program has of a child's pipes: what it reads, by credit, and what it writes, as far as it is granted."""
from __future__ import annotations

import asyncio
import collections
import errno
import os
from typing import AsyncIterator, Callable, Deque, Iterable, List, Optional, Set, Tuple

HIGH_WATER = 1 << 16  # bytes that wait here before drain() waits


class Waiters:
    """Coroutines that wait until somebody looks again."""

    def __init__(self) -> None:
        self._futures: Set["asyncio.Future[None]"] = set()

    async def wait(self) -> None:
        future: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        self._futures.add(future)
        try:
            await future
        finally:
            self._futures.discard(future)

    def wake(self) -> None:
        for future in self._futures:
            if not future.done():
                future.set_result(None)


class OutputReader:
    """What a child writes to one slot, with the methods of asyncio.StreamReader; iterating gives lines.

    At most the window is buffered here; a child that writes more waits until it is read. `lost` counts bytes that a reader which may
    lose some (attach) has lost. The end is known when the process has ended.
    """

    def __init__(self, slot: int, window: int, taken: Callable[[int, int], None]) -> None:
        self.slot = slot
        self.lost = 0
        self._window = window
        self._taken = taken
        self._buffer = bytearray()
        self._eof = False
        self._discarding = False
        self._error: Optional[BaseException] = None
        self._waiters = Waiters()
        self._reading = False

    # ---- what the stream tells

    def feed(self, data: bytes) -> None:
        if self._discarding or self._eof:
            self._taken(self.slot, len(data))
            return
        self._buffer += data
        self._waiters.wake()

    def feed_eof(self, error: Optional[BaseException] = None) -> None:
        if not self._eof:
            self._eof, self._error = True, error
            self._waiters.wake()

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    # ---- reading

    def at_eof(self) -> bool:
        """Whether all was read."""
        return self._eof and not self._buffer

    def discard(self) -> None:
        """Reads on for nobody, so that the child does not wait."""
        self._discarding = True
        self._take(len(self._buffer))

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        if data:
            self._taken(self.slot, len(data))
        return data

    async def _more(self) -> bool:
        """Waits for bytes beyond those that are there. False: there are no more."""
        if self._reading:
            raise RuntimeError("another coroutine is reading this output already")
        have = len(self._buffer)
        self._reading = True
        try:
            while len(self._buffer) == have and not self._eof:
                await self._waiters.wait()
        finally:
            self._reading = False
        if len(self._buffer) == have and self._error:
            raise self._error
        return len(self._buffer) > have

    async def read(self, n: int = -1) -> bytes:
        """Up to n bytes, at least one; b"" at the end. n < 0: all until the end."""
        if n == 0:
            return b""
        if n > 0:
            if not self._buffer:
                await self._more()
            return self._take(n)
        parts: List[bytes] = []
        while self._buffer or await self._more():
            parts.append(self._take(len(self._buffer)))
        return b"".join(parts)

    async def readexactly(self, n: int) -> bytes:
        """n bytes; asyncio.IncompleteReadError when there are not so many."""
        parts: List[bytes] = []
        missing = n
        while missing:
            if not self._buffer and not await self._more():
                raise asyncio.IncompleteReadError(b"".join(parts), n)
            parts.append(self._take(missing))
            missing -= len(parts[-1])
        return b"".join(parts)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """Up to and with the separator. asyncio.LimitOverrunError when the window has no room for so much."""
        if not separator:
            raise ValueError("Separator should be at least one-byte string")
        start = 0
        while True:
            at = self._buffer.find(separator, start)
            if at >= 0:
                return self._take(at + len(separator))
            start = max(0, len(self._buffer) - len(separator) + 1)
            if len(self._buffer) >= self._window:
                raise asyncio.LimitOverrunError("Separator is not found, and chunk exceed the limit", start)
            if not await self._more():
                raise asyncio.IncompleteReadError(self._take(len(self._buffer)), None)

    async def readline(self) -> bytes:
        """A line with its newline; what is left at the end; b"" then. ValueError when it is longer than the window."""
        try:
            return await self.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            return error.partial
        except asyncio.LimitOverrunError as error:
            raise ValueError(error.args[0]) from None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def chunks(self) -> AsyncIterator[bytes]:
        """Bytes as they come, whole lines or not."""
        while self._buffer or await self._more():
            yield self._take(len(self._buffer))


class InputWriter:
    """What a child reads from one slot, with the methods of asyncio.StreamWriter. write() never waits, drain() does while the child
    is slow: so memory stays bounded for who calls it."""

    def __init__(self, slot: int, pump: Callable[["InputWriter"], None]) -> None:
        self.slot = slot
        self._pump = pump
        self._queue: Deque[memoryview] = collections.deque()
        self._size = 0
        self._closing = False
        self._ended = False  # its end is said
        self._broken: Optional[BaseException] = None
        self._waiters = Waiters()

    # ---- what the stream does

    @property
    def pending(self) -> int:
        return self._size

    @property
    def end_is_due(self) -> bool:
        return self._closing and not self._queue and not self._ended and not self._broken

    @property
    def ended(self) -> bool:
        return self._ended

    def take(self, room: int) -> memoryview:
        """The next bytes, at most so many."""
        piece = self._queue[0]
        if len(piece) > room:
            self._queue[0] = piece[room:]
            piece = piece[:room]
        else:
            self._queue.popleft()
        self._size -= len(piece)
        if self._size <= HIGH_WATER:
            self._waiters.wake()
        return piece

    def end(self) -> None:
        self._ended = True
        self._waiters.wake()

    def break_off(self, error: Optional[BaseException] = None) -> None:
        """What is written from now on goes nowhere."""
        if not self._broken:
            self._broken = error or BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            self._queue.clear()
            self._size = 0
            self._waiters.wake()

    # ---- writing

    def write(self, data: "bytes | bytearray | memoryview") -> None:
        if self._closing:
            raise RuntimeError("the input was closed")
        if self._broken or not data:
            return
        self._queue.append(memoryview(bytes(data)))
        self._size += len(self._queue[-1])
        self._pump(self)

    def writelines(self, data: "Iterable[bytes | bytearray | memoryview]") -> None:
        self.write(b"".join(data))

    async def drain(self) -> None:
        """Waits while too much is waiting. BrokenPipeError: the child reads no more."""
        while not self._broken and self._size > HIGH_WATER:
            await self._waiters.wait()
        if self._broken:
            raise self._broken

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.close()

    def close(self) -> None:
        """The end comes after what was written."""
        if not self._closing:
            self._closing = True
            self._pump(self)

    def is_closing(self) -> bool:
        return self._closing

    async def wait_closed(self) -> None:
        """Until all of it, and the end, is on its way."""
        while not self._ended and not self._broken:
            await self._waiters.wait()


class Kept:
    """Input that was sent and is not known to be taken: a new connection needs it again. Of no slot is more outstanding than of
    all together, so what was granted says what may be forgotten."""

    def __init__(self) -> None:
        self._slots: "dict[int, bytearray]" = {}
        self._base: "dict[int, int]" = {}  # place of what is kept in all that was sent
        self.placed = True  # it is known where input began
        self._sent = 0
        self._granted = 0

    def add(self, slot: int, data: memoryview) -> None:
        self._slots.setdefault(slot, bytearray()).extend(data)
        self._sent += len(data)

    def granted(self, size: int) -> None:
        self._granted = min(self._granted + size, self._sent)
        outstanding = self._sent - self._granted
        for slot, kept in self._slots.items():
            if len(kept) > outstanding:
                self._drop(slot, len(kept) - outstanding)

    def _drop(self, slot: int, size: int) -> None:
        del self._slots[slot][:size]
        self._base[slot] = self._base.get(slot, 0) + size

    def place(self, taken: "dict[int, int]") -> None:
        """Where the slots began, of a process that was there before."""
        for slot, offset in taken.items():
            self._base[slot] = self._base.get(slot, 0) + offset
        self.placed = True

    def resume(self, taken: "dict[int, int]", closed: Set[int]) -> List[Tuple[int, int, bytes]]:
        """(slot, offset, bytes) of what is to be sent again. What others wrote, when more was taken than we sent, counts as ours."""
        again = []
        for slot, kept in self._slots.items():
            offset = taken.get(slot, 0)
            base = self._base.get(slot, 0)
            if slot in closed or offset > base + len(kept):
                kept.clear()
            elif offset < base:
                raise BrokenPipeError(f"input of slot {slot} is lost: {base} bytes were taken, and are not any more")
            else:
                del kept[:offset - base]
            self._base[slot] = offset
            if kept:
                again.append((slot, offset, bytes(kept)))
        self._granted = 0
        self._sent = sum(len(kept) for kept in self._slots.values())
        return again

    @property
    def outstanding(self) -> int:
        return self._sent - self._granted
