"""A connection and its streams. One that is lost is made anew, and what is open goes on (docs/PROTOCOL.md, section on resuming).

A Stream keeps what it began with, so that it can be said again; meanwhile it is not `live`, and what is sent on it goes nowhere.
Everything here runs on the loop of the connection and never waits.
"""
from __future__ import annotations

import asyncio
import enum
import errno
import os
import secrets
from typing import Dict, List, Optional, Sequence

from . import _daemon
from ._context import Context
from ._frames import (DATA, LENGTH_MAX, NO_DATA, REMOTE_CLOSED, REMOTE_OPEN, REQUEST, RESPONSE, FormatError, Frame, decode_response,
                      encode_request)
from ._version import __version__
from ._wire import Wire, close_all
from .errors import ResourceExhausted, SpawndError, Unavailable, from_status
from .v1 import admin_pb2

PROTOCOL = 1
PATIENCE = 10.0  # seconds that a lost connection is tried to be made anew
PATIENCE_FIRST = 1.0  # of one that was never greeted
PAUSE = 0.005  # between attempts, doubled up to PAUSE_MAX
PAUSE_MAX = 0.64
ID_MAX = 0x7FFFFFFF
MAY_CHANGE = (errno.EAGAIN, errno.ECONNREFUSED, errno.ENOBUFS, errno.ENOMEM)


class Fate(enum.Enum):
    """What becomes of a stream whose connection is lost."""

    RESUMED = enum.auto()  # it waits for the new one; then on_resume
    DONE = enum.auto()  # it had told everything
    LOST = enum.auto()  # it ends with the reason of the loss


class Stream:
    """One call. Subclasses say what to do with what comes."""

    def __init__(self, connection: "Connection", method: str, unary: bool = False) -> None:
        self.connection = connection
        self.service, self.method = method.split("/")
        self.unary = unary
        self.id = 0
        self.live = False
        self.open = False
        self.first = b""
        self.fds: List[int] = []  # ours, until the daemon is known to have them

    # ---- what a subclass is told

    def on_message(self, payload: bytes, fds: List[int]) -> None:
        """A message; it takes the descriptors that it wants out of the list."""

    def on_part(self, payload: bytes, missing: int) -> None:
        """The first bytes of a message whose others are lost."""

    def on_end(self, error: Optional[SpawndError], reply: bytes) -> None:
        """The last: it is not open any more."""

    def on_lost(self) -> Fate:
        return Fate.RESUMED if self.unary else Fate.LOST

    def on_resume(self) -> None:
        """There is a new connection."""
        self.say(self.first)

    # ---- what it does

    def begin(self, first: bytes, fds: Sequence[int] = ()) -> None:
        """Opens it. Descriptors are borrowed."""
        connection = self.connection
        if connection.why:
            raise connection.why
        if len(first) > LENGTH_MAX - 4096:
            raise ResourceExhausted(f"the request of {self.method} is over the limit of 4 MiB")
        self.first = first
        self.fds = [os.dup(fd) for fd in fds]
        connection.add(self)
        self.live = connection.wire is not None
        self.say(first)

    def say(self, first: bytes) -> None:
        """Sends what opens it, now or again, with the descriptors it has."""
        wire = self.connection.wire
        if wire and self.live:
            request = encode_request(f"spawnd.v1.{self.service}", self.method, first)
            wire.send(self.id, REQUEST, 0 if self.unary else REMOTE_OPEN, request, self.fds)

    def send(self, payload: bytes, fds: Sequence[int] = ()) -> None:
        if self.connection.wire and self.live:
            self.connection.wire.send(self.id, DATA, 0, payload, fds)

    def half_close(self) -> None:
        if self.connection.wire and self.live:
            self.connection.wire.send(self.id, DATA, REMOTE_CLOSED | NO_DATA)

    def confirm(self) -> None:
        """The daemon has the descriptors."""
        close_all(self.fds)
        self.fds = []

    def forget(self) -> None:
        """Nothing is told any more."""
        if self.open:
            self.open = self.live = False
            self.connection.streams.pop(self.id, None)
            self.confirm()

    def end(self, error: Optional[SpawndError], reply: bytes = b"") -> None:
        if self.open:
            self.forget()
            self.on_end(error, reply)


class UnaryCall(Stream):
    """A call of one answer, which is `answer`."""

    def __init__(self, connection: "Connection", method: str) -> None:
        super().__init__(connection, method, unary=True)
        self.answer: "asyncio.Future[bytes]" = connection.loop.create_future()

    def on_end(self, error: Optional[SpawndError], reply: bytes) -> None:
        if self.answer.done():
            return
        if error:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(reply)


class _Hello(Stream):
    def on_end(self, error: Optional[SpawndError], reply: bytes) -> None:
        self.connection.on_hello(error)

    def on_lost(self) -> Fate:
        return Fate.DONE


class Connection:
    """A session with a daemon: `streams` by id, `wire` while there is a connection, `why` once there never will be one again."""

    def __init__(self, path: str, autostart: bool, reconnect: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.path = path
        self.streams: Dict[int, Stream] = {}
        self.wire: Optional[Wire] = None
        self.why: Optional[SpawndError] = None
        self.context = Context.now()
        self.pid = os.getpid()
        self._autostart = autostart
        self._reconnect = reconnect
        self._next_id = 1
        self._key_base = secrets.token_hex(16)
        self._keys = 0
        self._greeted = False
        self._greeting: "asyncio.Future[None]" = self.loop.create_future()
        self._attempts = 0
        self._give_up_at = 0.0
        self._timer: Optional[asyncio.TimerHandle] = None
        hello = admin_pb2.HelloRequest(client=f"python-spawnd {__version__}", version=PROTOCOL, features=["fd_passing"],
                                       session_key=secrets.token_bytes(16), context=self.context.message())
        self._hello = hello.SerializeToString()

    async def connect(self) -> None:
        """Reaches the daemon and opens the session."""
        try:
            sock = _daemon.try_connect(self.path)
        except OSError:
            sock = await self.loop.run_in_executor(None, _daemon.reach, self.path, self._autostart)
        self.wire = Wire(self.loop, sock, self._on_frame, self._on_lost)
        self._say_hello()
        try:
            await self._greeting
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends everything that is open with Unavailable."""
        self._fail(Unavailable("the connection was closed"))

    def key(self) -> str:
        """An idempotency key that nobody else has."""
        self._keys += 1
        return f"{self._key_base}.{self._keys}"

    def add(self, stream: Stream) -> None:
        if self._next_id > ID_MAX:
            raise Unavailable("this connection has made all the calls it can; open another one")
        stream.id = self._next_id
        self._next_id += 2
        stream.open = True
        self.streams[stream.id] = stream

    def call(self, method: str, request: bytes, fds: Sequence[int] = ()) -> "asyncio.Future[bytes]":
        """A unary call; cancelling the future forgets it, though what was asked for happens."""
        call = UnaryCall(self, method)
        call.begin(request, fds)
        call.answer.add_done_callback(lambda _: call.forget())
        return call.answer

    # ---- the session

    def _say_hello(self) -> None:
        _Hello(self, "Admin/Hello", unary=True).begin(self._hello)

    def on_hello(self, error: Optional[SpawndError]) -> None:
        if error:
            self._fail(error)
        elif self.wire:
            self._greeted = True
            self._attempts = 0
            self._give_up_at = 0.0
            if not self._greeting.done():
                self._greeting.set_result(None)

    # ---- what comes

    def _on_frame(self, frame: Frame) -> None:
        stream = self.streams.get(frame.stream)
        try:
            if stream:
                self._give(stream, frame)
        finally:
            close_all(frame.fds)

    @staticmethod
    def _give(stream: Stream, frame: Frame) -> None:
        if frame.type == RESPONSE:
            response = decode_response(frame.payload)
            stream.end(from_status(response) if response.code else None, response.payload)
            return
        if frame.type != DATA:
            raise FormatError(f"a frame of type {frame.type}")
        if not frame.flags & NO_DATA:
            stream.on_message(frame.payload, frame.fds)
        if frame.flags & REMOTE_CLOSED:
            stream.end(None)

    # ---- a lost connection, and a new one

    def _on_lost(self, why: str) -> None:
        lost = Unavailable(f"the connection to {self.path} is lost: {why}")
        assert self.wire
        rest = self.wire.rest()
        self.wire.close()
        self.wire = None
        if not self._reconnect:
            self._fail(lost)
            return
        if rest and rest[0] in self.streams:
            self.streams[rest[0]].on_part(rest[1], rest[2])
        ending = []
        for stream in list(self.streams.values()):
            fate = stream.on_lost() if stream.live else Fate.RESUMED
            stream.live = False
            if fate is not Fate.RESUMED:
                ending.append((stream, fate))
        for stream, fate in ending:
            stream.end(None if fate is Fate.DONE else lost)
        self._come_back(lost)

    def _come_back(self, lost: SpawndError) -> None:
        if not self._give_up_at:
            self._give_up_at = self.loop.time() + (PATIENCE if self._greeted else PATIENCE_FIRST)
        elif self.loop.time() >= self._give_up_at:
            self._fail(lost)
            return
        if self._attempts:
            self._pause()
        else:
            self._attempt()

    def _pause(self) -> None:
        self._timer = self.loop.call_later(min(PAUSE * 2**self._attempts, PAUSE_MAX), self._attempt)

    def _attempt(self) -> None:
        self._attempts += 1
        try:
            sock = _daemon.try_connect(self.path)
        except OSError as error:
            if error.errno in MAY_CHANGE and self.loop.time() < self._give_up_at:
                self._pause()
            else:
                self._fail(_daemon.unreachable(self.path, error))
            return
        self.wire = Wire(self.loop, sock, self._on_frame, self._on_lost)
        self._begin_again()

    def _begin_again(self) -> None:
        old = list(self.streams.values())
        self.streams.clear()
        self._next_id = 1
        self._say_hello()
        for stream in old:
            self.add(stream)
            stream.live = True
        for stream in old:
            if stream.open:
                stream.on_resume()

    def _fail(self, why: SpawndError) -> None:
        """There will be no connection any more."""
        if self.why:
            return
        self.why = why
        if self._timer:
            self._timer.cancel()
        if self.wire:
            self.wire.close()
            self.wire = None
        for stream in list(self.streams.values()):
            stream.end(why)
        if not self._greeting.done():
            self._greeting.set_exception(why)
            self._greeting.exception()
