"""Streams that only tell: the log of a process, the events of the daemon. Credit comes back as they are read."""
from __future__ import annotations

import collections
from types import TracebackType
from typing import AsyncIterator, Deque, Dict, Generic, List, Optional, Tuple, Type, TypeVar

from ._connection import Connection, Fate, Stream
from ._frames import partial_output
from ._pipes import Waiters
from .errors import SpawndError
from .types import Event, Output, event_of
from .v1 import common_pb2, events_pb2, processes_pb2

WINDOW = 1 << 20
MESSAGES = 64
T = TypeVar("T")


class Feed(Stream, Generic[T], AsyncIterator[T]):
    """An async iterator, and an async context manager that leaves the stream."""

    def __init__(self, connection: Connection, method: str) -> None:
        super().__init__(connection, method)
        self._queue: Deque[Tuple[Optional[T], int]] = collections.deque()
        self._waiters = Waiters()
        self._ended = False
        self._error: Optional[SpawndError] = None
        self._due = self._due_messages = self._debt = 0

    def _put(self, item: T, cost: int) -> None:
        self._queue.append((item, cost))
        self._waiters.wake()

    def _grant(self, grant: common_pb2.Grant) -> bytes:
        raise NotImplementedError

    def _pay(self, size: int, messages: int) -> None:
        old = min(self._debt, size)
        self._debt -= old
        self._due += size - old
        self._due_messages += messages
        if self._due >= WINDOW // 4 or self._due_messages >= MESSAGES // 4:
            self.send(self._grant(common_pb2.Grant(bytes=self._due, messages=self._due_messages)))
            self._due = self._due_messages = 0

    def on_end(self, error: Optional[SpawndError], reply: bytes) -> None:
        self._ended, self._error = True, error
        self._waiters.wake()

    def on_lost(self) -> Fate:
        return Fate.RESUMED

    def _renew(self) -> None:
        self._due = self._due_messages = 0
        self._debt = sum(cost for _, cost in self._queue)

    def __aiter__(self) -> "Feed[T]":
        return self

    async def __anext__(self) -> T:
        while not self._queue:
            if self._ended:
                if self._error:
                    raise self._error
                raise StopAsyncIteration
            await self._waiters.wait()
        item, cost = self._queue.popleft()
        self._pay(cost, 1)
        assert item is not None
        return item

    async def aclose(self) -> None:
        """Leaves the stream."""
        if self.open:
            self.send(self._cancel())
            self.forget()
        self._queue.clear()
        self.on_end(None, b"")

    def _cancel(self) -> bytes:
        raise NotImplementedError

    async def __aenter__(self) -> "Feed[T]":
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        await self.aclose()


class Logs(Feed[Output]):
    """What a process has written and what is kept of it, and with `follow` what it writes."""

    def __init__(self, connection: Connection, start: processes_pb2.LogsStart) -> None:
        super().__init__(connection, "Processes/Logs")
        self._start = start
        self._marks: Dict[int, int] = {at.slot: at.offset for at in getattr(start, "from")}
        self._lost: Dict[int, int] = {}
        self.begin(processes_pb2.LogsRequest(start=start).SerializeToString())

    def on_message(self, payload: bytes, fds: List[int]) -> None:
        event = processes_pb2.ProcessEvent.FromString(payload)
        kind = event.WhichOneof("event")
        if kind == "output":
            self._take(event.output.slot, event.output.offset, event.output.data, event.output.time_ns)
            return
        if kind == "output_gap":
            gap = event.output_gap
            self._marks[gap.slot] = gap.offset + gap.bytes
            self._lost[gap.slot] = self._lost.get(gap.slot, 0) + gap.bytes
        self._pay(0, 1)

    def on_part(self, payload: bytes, missing: int) -> None:
        part = partial_output(payload, missing)
        if part:
            self._take(*part, 0)

    def _take(self, slot: int, offset: int, data: bytes, time_ns: int) -> None:
        mark = self._marks.get(slot, 0)
        known = min(max(mark - offset, 0), len(data))
        self._marks[slot] = max(mark, offset + len(data))
        if known < len(data):
            self._put(Output(slot, offset + known, data[known:], time_ns, self._lost.pop(slot, 0)), len(data))
        else:
            self._pay(len(data), 1)

    def on_resume(self) -> None:
        self._renew()
        again = processes_pb2.LogsStart()
        again.CopyFrom(self._start)
        from_ = getattr(again, "from")
        del from_[:]
        for slot, offset in self._marks.items():
            from_.add(slot=slot, offset=offset)
        self.say(processes_pb2.LogsRequest(start=again).SerializeToString())

    def _grant(self, grant: common_pb2.Grant) -> bytes:
        return processes_pb2.LogsRequest(grant=grant).SerializeToString()

    def _cancel(self) -> bytes:
        return processes_pb2.LogsRequest(cancel=common_pb2.Cancel()).SerializeToString()


class Events(Feed[Event]):
    """What happens in the daemon. `ready()` returns once the subscription stands."""

    def __init__(self, connection: Connection, start: events_pb2.SubscribeStart) -> None:
        super().__init__(connection, "Events/Subscribe")
        self._start = start
        self._seen = 0
        self._subscribed = False
        start.announce = True
        self.begin(events_pb2.SubscribeRequest(start=start).SerializeToString())

    async def ready(self) -> None:
        while not self._subscribed and not self._ended:
            await self._waiters.wait()
        if self._error:
            raise self._error

    def on_message(self, payload: bytes, fds: List[int]) -> None:
        event = events_pb2.Event.FromString(payload)
        if event.type == "subscribed":
            self._subscribed = True
            self._seen = max(self._seen, event.seq)
            self._waiters.wake()
            self._pay(0, 1)
            return
        self._seen = max(self._seen, event.gap.last or event.seq)
        self._put(event_of(event), 0)

    def on_resume(self) -> None:
        self._renew()
        again = events_pb2.SubscribeStart()
        again.CopyFrom(self._start)
        if self._subscribed or self._seen:
            again.since_seq = self._seen + 1
        self.say(events_pb2.SubscribeRequest(start=again).SerializeToString())

    def _grant(self, grant: common_pb2.Grant) -> bytes:
        return events_pb2.SubscribeRequest(grant=grant).SerializeToString()

    def _cancel(self) -> bytes:
        return events_pb2.SubscribeRequest(cancel=common_pb2.Cancel()).SerializeToString()
