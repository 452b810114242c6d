"""A process on its stream (docs/PROTOCOL.md, sections 5 to 7 and 10): Spawn starts it, Attach joins it."""
from __future__ import annotations

import asyncio
import json
import signal as signals
from types import TracebackType
from typing import Any, AsyncIterator, Dict, List, Optional, Sequence, Set, Tuple, Type

from ._channel import JSON_TYPE, MAX_DESCRIPTORS, Handle, Inbox, Postbox, closed_error
from ._connection import Connection, Fate, Stream
from ._frames import partial_output
from ._pipes import InputWriter, Kept, OutputReader
from ._spec import SCOPES, choose, milliseconds
from .errors import DataLoss, SpawndError, system_error
from .types import Exit, Killed, Message, exit_of, killed_of
from .v1 import common_pb2, processes_pb2

WINDOW = 1 << 20  # bytes of output of a slot that may be under way
INPUT_WINDOW = 1 << 20
INPUT_CHUNK = 1 << 18
MESSAGES = 64
MESSAGE_BYTES_TOLD = 1 << 17  # of messages that came, until the daemon is told so

Control = processes_pb2.ProcessControl


def _future(loop: asyncio.AbstractEventLoop) -> "asyncio.Future[Any]":
    return loop.create_future()


def _settle(future: "asyncio.Future[Any]", value: Any = None, error: Optional[BaseException] = None) -> None:
    if future.done():
        return
    if error:
        future.set_exception(error)
        future.exception()  # somebody may never ask
    else:
        future.set_result(value)


class ProcessStream(Stream):
    """The protocol side of a process: events in, controls out, and what must be known to go on after a lost connection."""

    def __init__(self, connection: Connection, start: "processes_pb2.SpawnStart | processes_pb2.AttachStart", inputs: Sequence[int],
                 outputs: Sequence[int], channel: Optional[str], window: int) -> None:
        self.spawning = isinstance(start, processes_pb2.SpawnStart)
        super().__init__(connection, "Processes/Spawn" if self.spawning else "Processes/Attach")
        self.start = start
        self.window = window
        self.id_ = self.pid = 0
        self.outputs = {slot: OutputReader(slot, window, self._taken) for slot in outputs}
        self.inputs = {slot: InputWriter(slot, self._pump) for slot in inputs}
        self.postbox: Optional[Postbox] = None
        self.inbox: Optional[Inbox] = None
        self.channel_slot = 0
        if channel is not None:
            self.postbox = Postbox(self._send_message)
            self.inbox = Inbox(JSON_TYPE if channel == "json" else "", self._grant_channel)
        self.spawned = _future(connection.loop)
        self.exited = _future(connection.loop)
        self.closed = _future(connection.loop)
        self.cancelled = self.disconnecting = False
        self._marks: Dict[int, int] = {}
        self._due: Dict[int, int] = {}
        self._debt: Dict[int, int] = {}
        self._due_messages = 0
        self._room = INPUT_WINDOW
        self._kept = Kept()
        self._kept.placed = self.spawning
        self._closed_inputs: Set[int] = set()
        self._resuming = False
        self._later: List[Control] = []

    def open_it(self, fds: Sequence[int]) -> None:
        reader = self.start.reader
        reader.slot_window = self.window
        if not self.outputs:
            reader.none = True
        if self.inbox:
            reader.keep_messages = True
            reader.messages = processes_pb2.Reader.MESSAGES_READ
        self.begin(self._wrap(start=self.start), fds)

    def _wrap(self, **what: Any) -> bytes:
        kind = processes_pb2.SpawnRequest if self.spawning else processes_pb2.AttachRequest
        return kind(**what).SerializeToString()

    def control(self, fds: Sequence[int] = (), **what: Any) -> None:
        """Says something to the process. Without a connection, a signal or a size is said on the next one."""
        control = Control(**what)
        if self.live:
            self.send(self._wrap(control=control), fds)
        elif control.WhichOneof("control") in ("signal", "resize"):
            self._later.append(control)

    def cancel(self) -> None:
        """Ends the call, and a process that was spawned on it."""
        if self.open and not self.cancelled:
            self.cancelled = True
            self.control(cancel=common_pb2.Cancel())

    # ---- credit

    def _taken(self, slot: int, size: int) -> None:
        """Somebody has read so many bytes of a slot."""
        old = min(self._debt.get(slot, 0), size)
        if old:
            self._debt[slot] -= old
        self._owe(slot, size - old)

    def _owe(self, slot: int, size: int) -> None:
        self._due[slot] = self._due.get(slot, 0) + size
        if self._due[slot] >= self.window // 4 or self._due_messages >= MESSAGES // 4:
            self._send_grant(slot)

    def _send_grant(self, slot: Optional[int] = None) -> None:
        """Gives back what is due of a slot, and all messages; None: these alone."""
        grant = common_pb2.Grant(messages=self._due_messages)
        if slot is not None:
            grant.slot, grant.bytes = slot, self._due.pop(slot, 0)
        if self.inbox:
            grant.message, grant.message_offset = self.inbox.wanted
        self._due_messages = 0
        if self.open:
            self.control(grant=grant)

    def _count_message(self) -> None:
        """An event that came costs a message."""
        self._due_messages += 1
        if self._due_messages >= MESSAGES // 4:
            self._send_grant()

    def _grant_channel(self, size: int, messages: int, urgent: bool) -> None:
        slot = self.channel_slot
        self._due[slot] = self._due.get(slot, 0) + size
        self._due_messages += messages
        if urgent or self._due[slot] >= MESSAGE_BYTES_TOLD or self._due_messages >= MESSAGES // 4:
            self._send_grant(slot)

    # ---- input

    def _pump(self, writer: InputWriter) -> None:
        """Sends what the window takes."""
        if self._resuming or not self.live:
            return
        while writer.pending and self._room:
            data = writer.take(min(self._room, INPUT_CHUNK))
            self._room -= len(data)
            self._kept.add(writer.slot, data)
            self.control(stdin=processes_pb2.StdinData(slot=writer.slot, data=bytes(data)))
        if writer.end_is_due:
            self.control(stdin=processes_pb2.StdinData(slot=writer.slot, eof=True))
            writer.end()

    def _pump_all(self) -> None:
        for writer in self.inputs.values():
            self._pump(writer)

    # ---- messages

    def _send_message(self, message: processes_pb2.ChannelMessage, fds: Sequence[int]) -> None:
        self.control(fds, message=message)

    def say_disconnect(self) -> None:
        self.disconnecting = True
        self.control(disconnect=processes_pb2.DisconnectCommand())

    # ---- events

    def on_message(self, payload: bytes, fds: List[int]) -> None:
        event = processes_pb2.ProcessEvent.FromString(payload)
        kind = event.WhichOneof("event")
        if kind == "output":
            self._due_messages += 1
            self._on_output(event.output.slot, event.output.offset, event.output.data)
            if self._due_messages >= MESSAGES // 4:
                self._send_grant(event.output.slot)
        elif kind == "message":
            if self.inbox:
                self.inbox.feed(event.message, fds)
            else:
                self._count_message()
        else:
            self._count_message()
            if kind:
                getattr(self, f"_on_{kind}")(getattr(event, kind))

    def _on_spawned(self, spawned: processes_pb2.Spawned) -> None:
        taken = {at.slot: at.offset for at in spawned.stdin}
        if self._resuming:
            self._resume(spawned, taken)
        elif not self._kept.placed:
            self._kept.place(taken)
        if self.spawned.done():
            return
        self.id_, self.pid = spawned.id, spawned.pid
        for at in spawned.output:
            self._marks[at.slot] = at.offset
        self.channel_slot = spawned.channel
        self.confirm()
        _settle(self.spawned)

    def _on_output(self, slot: int, offset: int, data: bytes) -> None:
        """Hands on what is new of it, and gives credit back for what is not."""
        mark = self._marks.get(slot, 0)
        known = min(max(mark - offset, 0), len(data))
        self._marks[slot] = max(mark, offset + len(data))
        if known:
            self._owe(slot, known)
        reader = self.outputs.get(slot)
        if reader:
            reader.feed(data[known:])
        else:
            self._taken(slot, len(data) - known)

    def _on_output_gap(self, gap: processes_pb2.OutputGap) -> None:
        self._marks[gap.slot] = gap.offset + gap.bytes
        reader = self.outputs.get(gap.slot)
        if reader:
            reader.lost += gap.bytes
        if reader and self.spawning:  # who spawned was promised everything
            reader.feed_eof(DataLoss(f"bytes {gap.offset} to {gap.offset + gap.bytes} of slot {gap.slot} are lost"))

    def _on_stdin_grant(self, grant: common_pb2.Grant) -> None:
        self._room += grant.bytes
        self._kept.granted(grant.bytes)
        self._pump_all()

    def _on_stdin_closed(self, closed: processes_pb2.StdinClosed) -> None:
        self._closed_inputs.add(closed.slot)
        if closed.slot in self.inputs:
            self.inputs[closed.slot].break_off()

    def _on_exited(self, exited: processes_pb2.Exited) -> None:
        record = exit_of(exited.exit)
        for slot, total in record.output.items():
            if total.complete and slot in self.outputs and self._marks.get(slot, 0) >= total.bytes:
                self.outputs[slot].feed_eof()
        for writer in self.inputs.values():
            writer.break_off()
        _settle(self.exited, record)

    def _on_closed(self, closed: processes_pb2.Closed) -> None:
        record = exit_of(closed.exit, closed.drain_timed_out)
        for reader in self.outputs.values():
            reader.feed_eof()
        for writer in self.inputs.values():
            writer.break_off()
        self._end_channel(None)
        _settle(self.exited, record)
        _settle(self.closed, record)

    def _on_message_grant(self, grant: common_pb2.Grant) -> None:
        if self.postbox:
            self.postbox.grant(grant.bytes, grant.messages)

    def _on_message_result(self, result: processes_pb2.MessageResult) -> None:
        error: Optional[SpawndError] = None
        if result.HasField("error"):
            error = closed_error(result.why)
            error.code, error.field, error.syscall = result.error.code, result.error.field, result.error.syscall
        if self.postbox:
            self.postbox.result(result.id, error)

    def _on_disconnected(self, disconnected: processes_pb2.Disconnected) -> None:
        reasons = processes_pb2.Disconnected
        if disconnected.reason > reasons.REASON_CLIENT:
            self._end_channel(DataLoss(disconnected.why or reasons.Reason.Name(disconnected.reason)))
        else:
            self._end_channel(None)

    def _end_channel(self, error: Optional[SpawndError]) -> None:
        if self.inbox and self.postbox:
            self.inbox.end(error)
            self.postbox.close(closed_error())

    def on_part(self, payload: bytes, missing: int) -> None:
        part = partial_output(payload, missing)
        if part:
            self._on_output(*part)

    def on_end(self, error: Optional[SpawndError], reply: bytes) -> None:
        why = error or DataLoss("the stream ended before its process")
        for reader in self.outputs.values():
            reader.feed_eof(why)
        for writer in self.inputs.values():
            writer.break_off(why)
        self._end_channel(why)
        for future in (self.spawned, self.exited, self.closed):
            _settle(future, error=why)

    # ---- a new connection

    def on_lost(self) -> Fate:
        return Fate.DONE if self.closed.done() else Fate.RESUMED

    def on_resume(self) -> None:
        """Says it again: output goes on behind what is here, the rest once Spawned has come."""
        self._resuming = True
        self._due.clear()
        self._due_messages = 0
        self._debt = {slot: reader.buffered for slot, reader in self.outputs.items() if reader.buffered}
        if self.postbox:
            self.postbox.held = True
        again = type(self.start)()
        again.CopyFrom(self.start)  # type: ignore[arg-type]
        from_ = getattr(again, "from")
        for slot, offset in self._marks.items():
            from_.add(slot=slot, offset=offset)
        if isinstance(again, processes_pb2.SpawnStart):
            again.resume = self.spawned.done()
        elif self.id_:
            again.process.id = self.id_
        if self.inbox:
            self.inbox.resume()
            again.reader.message, again.reader.message_offset = self.inbox.wanted
        self.say(self._wrap(start=again))
        for control in self._later:
            self.send(self._wrap(control=control))
        self._later.clear()
        if self.cancelled:
            self.control(cancel=common_pb2.Cancel())

    def _resume(self, spawned: processes_pb2.Spawned, taken: Dict[int, int]) -> None:
        self._resuming = False
        if self.id_ and spawned.id != self.id_:
            self.end(DataLoss(f"process {self.id_} is gone"))
            return
        try:
            if not self._kept.placed:
                self._kept.place(taken)
            again = self._kept.resume(taken, self._closed_inputs)
        except BrokenPipeError as error:
            self.end(DataLoss(str(error)))
            return
        for slot, offset, data in again:
            for at in range(0, len(data), INPUT_CHUNK):
                piece = data[at:at + INPUT_CHUNK]
                self.control(stdin=processes_pb2.StdinData(slot=slot, offset=offset + at, data=piece))
        self._room = max(INPUT_WINDOW - self._kept.outstanding, 0)
        for slot, writer in self.inputs.items():
            if writer.ended and slot not in self._closed_inputs:
                self.control(stdin=processes_pb2.StdinData(slot=slot, eof=True))
        if self.postbox:
            self.postbox.resume(spawned.messages_taken)
            if self.disconnecting:
                self.say_disconnect()
        self._pump_all()


class Process:
    """A process that was spawned or attached to. In `async with` it is ended on the way out: input is closed and output read on for
    nobody; after an exception the whole tree is stopped."""

    def __init__(self, stream: ProcessStream, args: Any, attached: bool = False) -> None:
        self._stream = stream
        self._attached = attached
        self.args = args
        self.stdin: Optional[InputWriter] = stream.inputs.get(0)
        self.stdout: Optional[OutputReader] = stream.outputs.get(1)
        self.stderr: Optional[OutputReader] = stream.outputs.get(2)
        self.inputs: Dict[int, InputWriter] = stream.inputs  # by slot
        self.outputs: Dict[int, OutputReader] = stream.outputs

    def __repr__(self) -> str:
        return f"<spawnd.Process id={self.id} pid={self.pid} returncode={self.returncode}>"

    @property
    def id(self) -> int:
        """The daemon's number of it, which is never used again."""
        return self._stream.id_

    @property
    def pid(self) -> int:
        return self._stream.pid

    @property
    def exit(self) -> Optional[Exit]:
        """How it ended, with final totals of its output once wait_closed() has returned; None while it runs."""
        for future in (self._stream.closed, self._stream.exited):
            if future.done() and not future.cancelled() and not future.exception():
                return future.result()  # type: ignore[no-any-return]
        return None

    @property
    def returncode(self) -> Optional[int]:
        """None while it runs; the exit code, or the negative signal; 255 when the status is lost."""
        record = self.exit
        return None if record is None else record.returncode

    async def wait(self) -> int:
        """Until it has ended; its returncode. Output may still come."""
        record: Exit = await asyncio.shield(self._stream.exited)
        return record.returncode

    async def wait_closed(self) -> Exit:
        """Until it has ended and all its output is here, or was given up (Exit.drain_timed_out)."""
        record: Exit = await asyncio.shield(self._stream.closed)
        return record

    async def communicate(self, input: Optional[bytes] = None) -> Tuple[Optional[bytes], Optional[bytes]]:
        """Writes input, reads all output, waits for the end: (stdout, stderr), None for what is not a pipe."""
        readers = [reader.read() if reader else _nothing() for reader in (self.stdout, self.stderr)]
        _, out, err = await asyncio.gather(self._feed(input), *readers)
        await self.wait_closed()
        return out, err

    async def _feed(self, input: Optional[bytes]) -> None:
        if not self.stdin:
            return
        try:
            if input:
                view = memoryview(input)
                for at in range(0, len(view), INPUT_CHUNK):
                    self.stdin.write(view[at:at + INPUT_CHUNK])
                    await self.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # as subprocess: it did not want all of it
        self.stdin.close()

    # ---- signals

    def send_signal(self, signal: int, scope: Optional[str] = None) -> None:
        """Sends a signal to the child, its "group" or its "tree". ProcessLookupError: it has ended."""
        if self._stream.exited.done():
            raise system_error(3, "kill")
        command = processes_pb2.SignalCommand(signal=signal, scope=choose(SCOPES, scope, "scope"))
        self._stream.control(signal=command)

    def terminate(self) -> None:
        """SIGTERM to the child."""
        self.send_signal(signals.SIGTERM)

    def kill(self, scope: Optional[str] = None) -> None:
        """SIGKILL to the child, its "group" or its "tree"."""
        self.send_signal(signals.SIGKILL, scope)

    async def stop(self, grace: Optional[float] = None, signal: int = 0, scope: Optional[str] = None) -> Killed:
        """The ladder: a signal to the whole tree, SIGKILL after `grace` seconds. Returns when nothing is left, or says what is."""
        connection = self._stream.connection
        request = processes_pb2.StopRequest(signal=signal, scope=choose(SCOPES, scope, "scope"), idempotency_key=connection.key())
        request.process.id = self.id
        if grace is not None:
            request.grace_ms = milliseconds(grace)
        return killed_of(processes_pb2.KillReply.FromString(await connection.call("Processes/Stop", request.SerializeToString())))

    def resize(self, rows: int, columns: int) -> None:
        """The size of its terminal."""
        self._stream.control(resize=processes_pb2.WindowSize(rows=rows, columns=columns))

    def cancel(self) -> None:
        """Ends the stream at once; the tree of a process that was spawned here is stopped, without waiting for it."""
        self._stream.cancel()

    async def __aenter__(self) -> "Process":
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        if self._attached:
            self.cancel()
            return
        for writer in self.inputs.values():
            writer.close()
        for reader in self.outputs.values():
            reader.discard()
        try:
            if kind is not None and not self._stream.closed.done():
                await self.stop()
            await self.wait_closed()
        except (SpawndError, OSError):
            if kind is None:
                raise

    # ---- messages

    async def send(self, value: Any, handles: Sequence[Handle] = (), content_type: Optional[str] = None) -> None:
        """Sends a message to the child's channel; returns when the kernel has it. ChannelClosed: it did not get there.

        json: any JSON value. advanced: bytes in V8's format. native: bytes with a content type; a str goes as text/plain, anything
        else as application/json. handles: sockets (or descriptors, for native), duplicated.
        """
        postbox = self._stream.postbox
        if not postbox or self._stream.disconnecting or not self._stream.open or self._stream.closed.done():
            raise closed_error()
        if len(handles) > MAX_DESCRIPTORS:
            raise ValueError(f"at most {MAX_DESCRIPTORS} descriptors go with a message, not {len(handles)}")
        data, type_ = self._encode(value, content_type)
        await postbox.put(data, type_, handles)

    def _encode(self, value: Any, content_type: Optional[str]) -> Tuple[bytes, str]:
        start = self._stream.start
        kind = start.spec.serialization if isinstance(start, processes_pb2.SpawnStart) else self._serialization
        if kind == processes_pb2.SERIALIZATION_JSON:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), ""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value), content_type or ""
        if kind == processes_pb2.SERIALIZATION_ADVANCED:
            raise TypeError("a message of an advanced channel is bytes in V8's format")
        if isinstance(value, str):
            return value.encode(), content_type or "text/plain"
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), content_type or JSON_TYPE

    _serialization = processes_pb2.SERIALIZATION_JSON

    async def receive(self) -> Optional[Message]:
        """The next message of the child; None when its channel has ended."""
        if not self._stream.inbox:
            raise closed_error("this process has no channel")
        return await self._stream.inbox.receive()

    async def messages(self) -> AsyncIterator[Message]:
        """Every message until the channel has ended."""
        while True:
            message = await self.receive()
            if message is None:
                return
            yield message

    async def disconnect(self) -> None:
        """Ends our side of the channel after what was sent; the child may still send."""
        stream = self._stream
        if not stream.postbox or stream.disconnecting:
            return
        while not stream.postbox.idle and stream.open:
            await stream.postbox.waiters.wait()
        stream.say_disconnect()


async def _nothing() -> None:
    return None


__all__ = ["Process", "ProcessStream", "WINDOW"]
