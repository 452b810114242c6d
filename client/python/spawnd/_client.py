"""What a program calls. A Client is a session with a daemon; the functions of the package use one that is opened by itself."""
from __future__ import annotations

import asyncio
import os
import signal as signals
import subprocess
import weakref
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncGenerator, List, Mapping, Optional, Sequence, Type, Union

from . import _daemon
from ._channel import Handle
from ._connection import Connection
from ._feed import Events, Logs
from ._process import WINDOW, Process, ProcessStream
from ._spec import DEVNULL, ON_DISCONNECT, PIPE, SCOPES, Arguments, Builder, Options, Stdio, choose, milliseconds, slots_of
from .errors import CalledProcessError, DeadlineExceeded, SystemCallError, TimeoutExpired
from .types import Exit, Killed, ProcessInfo, exit_of, info_of, killed_of
from .v1 import admin_pb2, common_pb2, events_pb2, processes_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

Ref = Union[int, str, Process, ProcessInfo]
Captured = Any  # bytes, str with text, None when it was not a pipe


class CompletedProcess(subprocess.CompletedProcess[Any]):
    """As subprocess has it, with `exit`: the reason, what it used, and the account of its output."""

    def __init__(self, args: Any, exit: Exit, stdout: Captured, stderr: Captured) -> None:
        super().__init__(args, exit.returncode, stdout, stderr)
        self.exit = exit

    def check_returncode(self) -> None:
        """Raises CalledProcessError when it did not end with 0."""
        if self.returncode:
            raise CalledProcessError(self.returncode, self.args, self.stdout, self.stderr)


@dataclass(frozen=True)
class _Text:
    """How captured bytes become text, as subprocess does it."""

    encoding: Optional[str]
    errors: Optional[str]
    on: bool

    def encode(self, input: "bytes | str | None") -> Optional[bytes]:
        if isinstance(input, str):
            if not self.on:
                raise TypeError("input is a str: give bytes, or text=True")
            return input.encode(self.encoding or "utf-8", self.errors or "strict")
        return input

    def decode(self, data: Optional[bytes]) -> Captured:
        if data is None or not self.on:
            return data
        return data.decode(self.encoding or "utf-8", self.errors or "strict").replace("\r\n", "\n").replace("\r", "\n")


def ref_of(ref: Ref) -> common_pb2.ProcessRef:
    """By id, by name, or what has an id."""
    if isinstance(ref, str):
        return common_pb2.ProcessRef(name=ref)
    return common_pb2.ProcessRef(id=ref if isinstance(ref, int) else ref.id)


class Client:
    """A session with a daemon, on the loop it was opened in: `async with await spawnd.connect() as client`. A lost connection is made
    anew and everything that is open goes on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._end: Optional[AsyncGenerator[None, None]] = None  # of the default client: what closes it

    @classmethod
    async def connect(cls, path: "str | os.PathLike[str] | None" = None, *, autostart: bool = True, reconnect: bool = True) -> "Client":
        connection = Connection(_daemon.find_socket(path), autostart, reconnect)
        await connection.connect()
        return cls(connection)

    @property
    def socket(self) -> str:
        """The path it is connected to."""
        return self._connection.path

    @property
    def usable(self) -> bool:
        """False once it was closed or is lost for good."""
        return self._connection.why is None

    def close(self) -> None:
        """What is still open ends with Unavailable; on_disconnect decides about processes that were spawned here."""
        self._connection.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        self.close()

    async def _call(self, method: str, request: Any, reply: Any) -> Any:
        return reply.FromString(await self._connection.call(method, request.SerializeToString()))

    # ---- starting

    async def spawn(self, *args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None, window: int = WINDOW,
                    **options: "Unpack[Options]") -> Process:
        """Starts a process. OSError, of the kind subprocess raises: it could not be started."""
        builder = Builder(args, options)
        builder.stdio(stdin, stdout, stderr, inherit=True)
        return await self._spawn(builder, None, window)

    async def fork(self, *args: Arguments, serialization: str = "json", stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None,
                   window: int = WINDOW, **options: "Unpack[Options]") -> Process:
        """Starts a process with a message channel: "json" or "advanced" for a child that speaks Node's, "native" for spawnd_child and
        libspawnd-runtime."""
        builder = Builder(args, options)
        builder.stdio(stdin, stdout, stderr, inherit=True)
        builder.channel(serialization)
        return await self._spawn(builder, serialization, window)

    async def _spawn(self, builder: Builder, channel: Optional[str], window: int) -> Process:
        connection = self._connection
        start = processes_pb2.SpawnStart(idempotency_key=connection.key(), spec=builder.finish(connection.context))
        inputs, outputs = slots_of(builder.message)
        stream = ProcessStream(connection, start, inputs, outputs, channel, window)
        stream.open_it(builder.fds)
        try:
            await asyncio.shield(stream.spawned)
        except asyncio.CancelledError:
            stream.cancel()
            raise
        except SystemCallError as error:
            raise builder.blame(error) from None
        return Process(stream, _args_of(builder))

    async def run(self, *args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None,
                  input: "bytes | str | None" = None, capture_output: bool = False, check: bool = False,
                  text: Optional[bool] = None, encoding: Optional[str] = None, errors: Optional[str] = None,
                  **options: "Unpack[Options]") -> CompletedProcess:
        """Runs a process to its end, as subprocess.run. With a timeout its whole tree is killed and TimeoutExpired raised; a call that
        is cancelled stops it. What is captured has /dev/null for stdin unless told otherwise."""
        if capture_output:
            if stdout is not None or stderr is not None:
                raise ValueError("stdout and stderr arguments may not be used with capture_output.")
            stdout = stderr = PIPE
            stdin = DEVNULL if stdin is None and input is None else stdin
        if input is not None:
            if stdin is not None:
                raise ValueError("stdin and input arguments may not both be used.")
            stdin = PIPE
        as_text = _Text(encoding, errors, bool(text or encoding or errors))
        encoded = as_text.encode(input)
        timeout = options.get("timeout")
        if timeout is not None:
            options.setdefault("kill_signal", signals.SIGKILL)
        process = await self.spawn(*args, stdin=stdin, stdout=stdout, stderr=stderr, **options)
        try:
            out, err = await process.communicate(encoded)
        except BaseException:
            process.cancel()
            raise
        record = await process.wait_closed()
        if record.reason == "timeout" and timeout is not None:
            raise TimeoutExpired(process.args, timeout, out, err)
        done = CompletedProcess(process.args, record, as_text.decode(out), as_text.decode(err))
        if check:
            done.check_returncode()
        return done

    async def start(self, *args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None,
                    **options: "Unpack[Options]") -> ProcessInfo:
        """Starts a process and leaves it running, its output in its log: logs(), attach(), wait() and stop() find it by id or name."""
        builder = Builder(args, options)
        builder.stdio(stdin, stdout, stderr, inherit=False)
        connection = self._connection
        request = processes_pb2.StartRequest(spec=builder.finish(connection.context), idempotency_key=connection.key())
        try:
            answer = await connection.call("Processes/Start", request.SerializeToString(), builder.fds)
        except SystemCallError as error:
            raise builder.blame(error) from None
        return info_of(processes_pb2.Process.FromString(answer))

    # ---- processes by id or name

    async def attach(self, process: Ref, *, retained: bool = False, messages: bool = False, window: int = WINDOW) -> Process:
        """Joins a process: what it writes from now on, or with `retained` all that is kept. It is never held up by a reader that is
        slow: `lost` of an output counts. With `messages` those of its channel come here."""
        info = await self.get(process)
        assert info.spec is not None
        inputs, outputs = slots_of(_completed(info.spec))
        start = processes_pb2.AttachStart(from_retained=retained)
        start.process.id = info.id
        channel = None
        if messages:
            channel = processes_pb2.Serialization.Name(info.spec.serialization)[len("SERIALIZATION_"):].lower()
        stream = ProcessStream(self._connection, start, inputs, outputs, channel, window)
        stream.open_it(())
        await asyncio.shield(stream.spawned)
        attached = Process(stream, info.args, attached=True)
        attached._serialization = info.spec.serialization
        return attached

    async def logs(self, process: Ref, *, slots: Sequence[int] = (), since_ns: int = 0, offsets: Optional[Mapping[int, int]] = None,
             follow: bool = False) -> Logs:
        """What a process has written, as far as it is kept: an async iterator of Output."""
        start = processes_pb2.LogsStart(process=ref_of(process), slots=slots, since_ns=since_ns, follow=follow)
        for slot, offset in (offsets or {}).items():
            getattr(start, "from").add(slot=slot, offset=offset)
        return Logs(self._connection, start)

    async def events(self, *, types: Sequence[str] = (), process: Optional[Ref] = None, since_seq: int = 0) -> Events:
        """What happens in the daemon from now on, or from an event of the last 4,096: an async iterator of Event."""
        start = events_pb2.SubscribeStart(since_seq=since_seq, types=types)
        if process is not None:
            start.process.CopyFrom(ref_of(process))
        events = Events(self._connection, start)
        await events.ready()
        return events

    async def ps(self, *, all: bool = False, name: str = "", labels: Optional[Mapping[str, str]] = None,
                 usage: bool = False) -> List[ProcessInfo]:
        """Every process that runs; `all`: and those that have ended and are kept."""
        request = processes_pb2.ListRequest(all=all, name=name, labels=labels or {}, usage=usage)
        found: List[ProcessInfo] = []
        while True:
            reply = await self._call("Processes/List", request, processes_pb2.ListReply)
            found.extend(info_of(process) for process in reply.processes)
            if not reply.next_after_id:
                return found
            request.after_id = reply.next_after_id

    async def get(self, process: Ref) -> ProcessInfo:
        return info_of(await self._call("Processes/Get", processes_pb2.GetRequest(process=ref_of(process)), processes_pb2.Process))

    async def wait(self, process: Ref, *, timeout: Optional[float] = None, closed: bool = False) -> Exit:
        """Until it has ended, or `closed`: until its output is complete. DeadlineExceeded, a TimeoutError: not in time."""
        request = processes_pb2.WaitRequest(process=ref_of(process), closed=closed)
        try:
            answer = await asyncio.wait_for(self._call("Processes/Wait", request, processes_pb2.Process), timeout)
        except asyncio.TimeoutError:
            raise DeadlineExceeded(f"the process has not ended within {timeout} seconds") from None
        return exit_of(answer.exit)

    async def signal(self, process: Ref, signal: int, *, scope: Optional[str] = None) -> Killed:
        """Sends a signal to a process, its "group" or its "tree". 0 only looks. ProcessLookupError: it has ended."""
        request = processes_pb2.SignalRequest(process=ref_of(process), signal=signal, scope=choose(SCOPES, scope, "scope"),
                                              idempotency_key=self._connection.key())
        return killed_of(await self._call("Processes/Signal", request, processes_pb2.KillReply))

    async def stop(self, process: Ref, *, grace: Optional[float] = None, signal: int = 0, scope: Optional[str] = None) -> Killed:
        """The ladder: a signal to the whole tree, SIGKILL after `grace` seconds. Returns when nothing is left, or says what is."""
        request = processes_pb2.StopRequest(process=ref_of(process), signal=signal, scope=choose(SCOPES, scope, "scope"),
                                            idempotency_key=self._connection.key())
        if grace is not None:
            request.grace_ms = milliseconds(grace)
        return killed_of(await self._call("Processes/Stop", request, processes_pb2.KillReply))

    async def remove(self, process: Ref, *, force: bool = False) -> None:
        """Forgets one that has ended, and its output; force: kills its tree first."""
        request = processes_pb2.RemoveRequest(process=ref_of(process), force=force, idempotency_key=self._connection.key())
        await self._call("Processes/Remove", request, processes_pb2.RemoveReply)

    async def set_on_disconnect(self, process: Ref, what: str) -> None:
        """What becomes of it when its client leaves: "stop", "hangup", "keep"."""
        request = processes_pb2.SetOnDisconnectRequest(process=ref_of(process), idempotency_key=self._connection.key(),
                                                       on_disconnect=choose(ON_DISCONNECT, what, "on_disconnect"))
        await self._call("Processes/SetOnDisconnect", request, processes_pb2.SetOnDisconnectReply)

    # ---- the daemon

    async def ping(self) -> None:
        await self._call("Admin/Ping", admin_pb2.PingRequest(), admin_pb2.PingReply)

    async def version(self) -> str:
        return str((await self._call("Admin/Version", admin_pb2.VersionRequest(), admin_pb2.VersionReply)).version)

    async def stats(self) -> admin_pb2.StatsReply:
        reply: admin_pb2.StatsReply = await self._call("Admin/Stats", admin_pb2.StatsRequest(), admin_pb2.StatsReply)
        return reply

    async def shutdown(self, *, keep: bool = False) -> None:
        """Ends the daemon, and what on_shutdown says; keep: leaves every process running."""
        await self._call("Admin/Shutdown", admin_pb2.ShutdownRequest(keep=keep), admin_pb2.ShutdownReply)


def _args_of(builder: Builder) -> Any:
    return builder.args[0] if len(builder.args) == 1 and builder.message.shell_command else list(builder.args)


def _completed(spec: processes_pb2.ProcessSpec) -> processes_pb2.ProcessSpec:
    """A spec of the daemon with the slots that it left to the defaults."""
    completed = processes_pb2.ProcessSpec()
    completed.CopyFrom(spec)
    named = {at.slot for at in completed.stdio}
    for at in completed.stdio:
        if at.kind == processes_pb2.Stdio.KIND_UNSPECIFIED:
            at.kind = processes_pb2.Stdio.KIND_PIPE
    for slot in (1, 2):
        if slot not in named:
            completed.stdio.add(slot=slot, kind=processes_pb2.Stdio.KIND_PIPE)
    return completed


# ---- the client that is opened by itself ----

_clients: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Client]]" = weakref.WeakKeyDictionary()
os.register_at_fork(after_in_child=_clients.clear)


async def _closed_with_the_loop(client: Client) -> AsyncGenerator[None, None]:
    """asyncio.run() ends every generator that has begun: so the connection is closed with the loop."""
    try:
        yield
    finally:
        client.close()


async def _open() -> Client:
    client = await Client.connect()
    client._end = _closed_with_the_loop(client)
    await client._end.__anext__()
    return client


async def default_client() -> Client:
    """The client of this loop, connected on first use and again when it is lost."""
    loop = asyncio.get_running_loop()
    opening = _clients.get(loop)
    if opening is None or (opening.done() and (opening.cancelled() or opening.exception() or not opening.result().usable)):
        for other in [known for known in _clients if known.is_closed()]:
            del _clients[other]
        opening = _clients[loop] = loop.create_task(_open())
    return await asyncio.shield(opening)


__all__ = ["Client", "CompletedProcess", "Ref", "default_client"]
