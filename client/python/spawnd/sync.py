"""The same without a loop: every function blocks. The work is done on a loop in a thread of its own, started on first use."""
from __future__ import annotations

import asyncio
import atexit
import os
import subprocess
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncIterator, Coroutine, Dict, Generic, Iterator, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar

from . import _client
from ._channel import Handle
from ._client import CompletedProcess
from ._pipes import InputWriter, OutputReader
from ._process import WINDOW
from ._process import Process as AsyncProcess
from ._spec import DEVNULL, PIPE, STDOUT, Arguments, Options, Stdio
from .errors import DeadlineExceeded
from .types import Event, Exit, Killed, Message, Output, ProcessInfo

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["PIPE", "STDOUT", "DEVNULL", "Client", "Process", "Input", "OutputLines", "Feed", "attach", "close", "connect", "events", "fork", "get",
           "logs", "ps", "remove", "run", "send_signal", "spawn", "start", "stop", "wait"]

T = TypeVar("T")


class _Background:
    """The loop, and the thread that runs it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.client: Optional[Client] = None
        self.thread = threading.Thread(target=self._run, name="spawnd", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


_lock = threading.Lock()
_background: Optional[_Background] = None


def _get_background() -> _Background:
    global _background
    with _lock:
        if _background is None:
            _background = _Background()
        return _background


def _forget() -> None:
    """In a child of os.fork() there is no such thread."""
    global _background, _lock
    _background, _lock = None, threading.Lock()


def close() -> None:
    """Ends the thread and the connections that were made by it; the next call begins anew."""
    global _background
    with _lock:
        ending, _background = _background, None
    if ending:
        ending.end()


os.register_at_fork(after_in_child=_forget)
atexit.register(close)


def _wait(coroutine: Coroutine[Any, Any, T], timeout: Optional[float] = None) -> T:
    """Runs it on the loop. What interrupts the caller (Ctrl-C) cancels it there."""
    async def limited() -> T:
        return await asyncio.wait_for(coroutine, timeout)

    future = asyncio.run_coroutine_threadsafe(coroutine if timeout is None else limited(), _get_background().loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _call(function: Any, *args: Any) -> Any:
    """Runs a plain function on the loop."""
    async def call() -> Any:
        return function(*args)

    return _wait(call())


class Input:
    """What the child reads; write() waits while the child is slow. BrokenPipeError: it reads no more."""

    def __init__(self, writer: InputWriter) -> None:
        self._writer = writer

    def write(self, data: "bytes | bytearray | memoryview") -> int:
        async def write() -> int:
            self._writer.write(data)
            await self._writer.drain()
            return len(data)

        return _wait(write())

    def flush(self) -> None:
        """For what expects a file: nothing waits that could be hurried."""

    def close(self) -> None:
        """The end comes after what was written."""
        _call(self._writer.close)

    def __enter__(self) -> "Input":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class OutputLines:
    """What the child writes; iterating gives lines."""

    def __init__(self, reader: OutputReader) -> None:
        self._reader = reader

    @property
    def lost(self) -> int:
        return self._reader.lost

    def read(self, n: int = -1) -> bytes:
        return _wait(self._reader.read(n))

    def readexactly(self, n: int) -> bytes:
        return _wait(self._reader.readexactly(n))

    def readline(self) -> bytes:
        return _wait(self._reader.readline())

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")


class Feed(Generic[T]):
    """An iterator over what a stream tells; also a context manager, which leaves it."""

    def __init__(self, feed: Any) -> None:
        self._feed = feed

    def __iter__(self) -> "Feed[T]":
        return self

    def __next__(self) -> T:
        try:
            item: T = _wait(_next(self._feed))
            return item
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        _wait(self._feed.aclose())

    def __enter__(self) -> "Feed[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _next(iterator: AsyncIterator[T]) -> T:
    return await iterator.__anext__()


class Process:
    """A process, with the methods of subprocess.Popen. In `with` it is ended on the way out, as in the asynchronous API."""

    def __init__(self, process: AsyncProcess) -> None:
        self._process = process
        self.args = process.args
        self.inputs: Dict[int, Input] = {slot: Input(writer) for slot, writer in process.inputs.items()}
        self.outputs: Dict[int, OutputLines] = {slot: OutputLines(reader) for slot, reader in process.outputs.items()}
        self.stdin = self.inputs.get(0)
        self.stdout = self.outputs.get(1)
        self.stderr = self.outputs.get(2)

    def __repr__(self) -> str:
        return repr(self._process)

    @property
    def id(self) -> int:
        return self._process.id

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit(self) -> Optional[Exit]:
        return self._process.exit

    @property
    def returncode(self) -> Optional[int]:
        return self._process.returncode

    def poll(self) -> Optional[int]:
        return self._process.returncode

    def wait(self, timeout: Optional[float] = None) -> int:
        """subprocess.TimeoutExpired: it still runs."""
        try:
            return _wait(self._process.wait(), timeout)
        except asyncio.TimeoutError:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout) from None

    def wait_closed(self) -> Exit:
        return _wait(self._process.wait_closed())

    def communicate(self, input: Optional[bytes] = None) -> Tuple[Optional[bytes], Optional[bytes]]:
        return _wait(self._process.communicate(input))

    def send_signal(self, signal: int, scope: Optional[str] = None) -> None:
        """Does nothing when it has ended, as Popen."""
        try:
            _call(self._process.send_signal, signal, scope)
        except ProcessLookupError:
            pass

    def terminate(self) -> None:
        self.send_signal(15)

    def kill(self, scope: Optional[str] = None) -> None:
        self.send_signal(9, scope)

    def stop(self, grace: Optional[float] = None, signal: int = 0, scope: Optional[str] = None) -> Killed:
        return _wait(self._process.stop(grace, signal, scope))

    def resize(self, rows: int, columns: int) -> None:
        _call(self._process.resize, rows, columns)

    def cancel(self) -> None:
        _call(self._process.cancel)

    def send(self, value: Any, handles: Sequence[Handle] = (), content_type: Optional[str] = None) -> None:
        _wait(self._process.send(value, handles, content_type))

    def receive(self, timeout: Optional[float] = None) -> Optional[Message]:
        try:
            return _wait(self._process.receive(), timeout)
        except asyncio.TimeoutError:
            raise DeadlineExceeded(f"no message came within {timeout} seconds") from None

    def messages(self) -> Iterator[Message]:
        return iter(self.receive, None)

    def disconnect(self) -> None:
        _wait(self._process.disconnect())

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        _wait(self._process.__aexit__(kind, error, trace))


class Client:
    """A session with a daemon. May be used from several threads."""

    def __init__(self, client: _client.Client) -> None:
        self._client = client

    @property
    def socket(self) -> str:
        return self._client.socket

    @property
    def usable(self) -> bool:
        return self._client.usable

    def close(self) -> None:
        _call(self._client.close)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def spawn(self, *args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None, window: int = WINDOW,
              **options: "Unpack[Options]") -> Process:
        return Process(_wait(self._client.spawn(*args, stdin=stdin, stdout=stdout, stderr=stderr, window=window, **options)))

    def fork(self, *args: Arguments, serialization: str = "json", stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None,
             window: int = WINDOW, **options: "Unpack[Options]") -> Process:
        return Process(_wait(self._client.fork(*args, serialization=serialization, stdin=stdin, stdout=stdout, stderr=stderr,
                                               window=window, **options)))

    def run(self, *args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None,
            input: "bytes | str | None" = None, capture_output: bool = False, check: bool = False, text: Optional[bool] = None,
            encoding: Optional[str] = None, errors: Optional[str] = None, **options: "Unpack[Options]") -> CompletedProcess:
        return _wait(self._client.run(*args, stdin=stdin, stdout=stdout, stderr=stderr, input=input, capture_output=capture_output,
                                      check=check, text=text, encoding=encoding, errors=errors, **options))

    def start(self, *args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None,
              **options: "Unpack[Options]") -> ProcessInfo:
        return _wait(self._client.start(*args, stdin=stdin, stdout=stdout, stderr=stderr, **options))

    def attach(self, process: Any, *, retained: bool = False, messages: bool = False, window: int = WINDOW) -> Process:
        return Process(_wait(self._client.attach(process, retained=retained, messages=messages, window=window)))

    def logs(self, process: Any, *, slots: Sequence[int] = (), since_ns: int = 0, offsets: Optional[Mapping[int, int]] = None,
             follow: bool = False) -> Feed[Output]:
        return Feed(_wait(self._client.logs(process, slots=slots, since_ns=since_ns, offsets=offsets, follow=follow)))

    def events(self, *, types: Sequence[str] = (), process: Any = None, since_seq: int = 0) -> Feed[Event]:
        return Feed(_wait(self._client.events(types=types, process=process, since_seq=since_seq)))

    def ps(self, *, all: bool = False, name: str = "", labels: Optional[Mapping[str, str]] = None,
           usage: bool = False) -> List[ProcessInfo]:
        return _wait(self._client.ps(all=all, name=name, labels=labels, usage=usage))

    def get(self, process: Any) -> ProcessInfo:
        return _wait(self._client.get(process))

    def wait(self, process: Any, *, timeout: Optional[float] = None, closed: bool = False) -> Exit:
        return _wait(self._client.wait(process, timeout=timeout, closed=closed))

    def signal(self, process: Any, signal: int, *, scope: Optional[str] = None) -> Killed:
        return _wait(self._client.signal(process, signal, scope=scope))

    def stop(self, process: Any, *, grace: Optional[float] = None, signal: int = 0, scope: Optional[str] = None) -> Killed:
        return _wait(self._client.stop(process, grace=grace, signal=signal, scope=scope))

    def remove(self, process: Any, *, force: bool = False) -> None:
        _wait(self._client.remove(process, force=force))

    def ping(self) -> None:
        _wait(self._client.ping())

    def version(self) -> str:
        return _wait(self._client.version())

    def shutdown(self, *, keep: bool = False) -> None:
        _wait(self._client.shutdown(keep=keep))


def connect(path: "str | os.PathLike[str] | None" = None, *, autostart: bool = True, reconnect: bool = True) -> Client:
    """A client of its own."""
    return Client(_wait(_client.Client.connect(path, autostart=autostart, reconnect=reconnect)))


def _default() -> Client:
    return Client(_wait(_client.default_client()))


def spawn(*args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None, window: int = WINDOW,
          **options: "Unpack[Options]") -> Process:
    return _default().spawn(*args, stdin=stdin, stdout=stdout, stderr=stderr, window=window, **options)


def fork(*args: Arguments, serialization: str = "json", stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None,
         window: int = WINDOW, **options: "Unpack[Options]") -> Process:
    return _default().fork(*args, serialization=serialization, stdin=stdin, stdout=stdout, stderr=stderr, window=window, **options)


def run(*args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None, input: "bytes | str | None" = None,
        capture_output: bool = False, check: bool = False, text: Optional[bool] = None, encoding: Optional[str] = None,
        errors: Optional[str] = None, **options: "Unpack[Options]") -> CompletedProcess:
    return _default().run(*args, stdin=stdin, stdout=stdout, stderr=stderr, input=input, capture_output=capture_output, check=check,
                          text=text, encoding=encoding, errors=errors, **options)


def start(*args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None,
          **options: "Unpack[Options]") -> ProcessInfo:
    return _default().start(*args, stdin=stdin, stdout=stdout, stderr=stderr, **options)


def attach(process: Any, *, retained: bool = False, messages: bool = False, window: int = WINDOW) -> Process:
    return _default().attach(process, retained=retained, messages=messages, window=window)


def logs(process: Any, *, slots: Sequence[int] = (), since_ns: int = 0, offsets: Optional[Mapping[int, int]] = None,
         follow: bool = False) -> Feed[Output]:
    return _default().logs(process, slots=slots, since_ns=since_ns, offsets=offsets, follow=follow)


def events(*, types: Sequence[str] = (), process: Any = None, since_seq: int = 0) -> Feed[Event]:
    return _default().events(types=types, process=process, since_seq=since_seq)


def ps(*, all: bool = False, name: str = "", labels: Optional[Mapping[str, str]] = None, usage: bool = False) -> List[ProcessInfo]:
    return _default().ps(all=all, name=name, labels=labels, usage=usage)


def get(process: Any) -> ProcessInfo:
    return _default().get(process)


def wait(process: Any, *, timeout: Optional[float] = None, closed: bool = False) -> Exit:
    return _default().wait(process, timeout=timeout, closed=closed)


def send_signal(process: Any, signal: int, *, scope: Optional[str] = None) -> Killed:
    return _default().signal(process, signal, scope=scope)


def stop(process: Any, *, grace: Optional[float] = None, signal: int = 0, scope: Optional[str] = None) -> Killed:
    return _default().stop(process, grace=grace, signal=signal, scope=scope)


def remove(process: Any, *, force: bool = False) -> None:
    _default().remove(process, force=force)
