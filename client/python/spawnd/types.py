"""Plain values: how a process ended, what is known of it, what happened, what was written."""
from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Union

from .v1 import common_pb2, events_pb2, processes_pb2

__all__ = ["Exit", "Event", "File", "Killed", "Message", "Output", "ProcessInfo", "SlotTotal", "Usage"]

UNKNOWN_RETURNCODE = 255  # as asyncio: the status is lost


@dataclass(frozen=True)
class Usage:
    """What a process has used; times in seconds, sizes in bytes."""

    user_time: float
    system_time: float
    max_rss: int


@dataclass(frozen=True)
class SlotTotal:
    """The account of one output slot: a reader that has [0, bytes) of one that is complete has everything."""

    bytes: int
    retained_from: int  # what can still be read starts here
    complete: bool  # its end was seen


@dataclass(frozen=True)
class Exit:
    """How a process ended. At most one of code and signal is set; none when the status is lost."""

    code: Optional[int]
    signal: Optional[int]
    reason: str  # "exited", "signaled", "timeout", "oom", "stopped", "capture_limit", "spawn_failed", "unknown"
    core: bool
    exited_at_ns: int
    usage: Usage
    output: Mapping[int, SlotTotal]
    drain_timed_out: bool = False  # someone else still held a pipe when it was given up

    @property
    def returncode(self) -> int:
        """As subprocess has it: the code, or the negative signal."""
        if self.code is not None:
            return self.code
        return UNKNOWN_RETURNCODE if self.signal is None else -self.signal


def _name(enum: Any, value: int, prefix: str) -> str:
    try:
        return str(enum.Name(value))[len(prefix):].lower()
    except ValueError:  # of a later daemon
        return str(value)


def totals_of(totals: Any) -> Dict[int, SlotTotal]:
    return {total.slot: SlotTotal(total.bytes, total.retained_from, total.complete) for total in totals}


def exit_of(record: common_pb2.ExitRecord, drain_timed_out: bool = False) -> Exit:
    usage = record.rusage
    return Exit(
        code=record.code if record.HasField("code") else None,
        signal=record.signal if record.HasField("signal") else None,
        reason=_name(common_pb2.ExitReason, record.reason, "EXIT_REASON_"),
        core=record.core,
        exited_at_ns=record.exited_at_ns,
        usage=Usage(usage.user_us / 1e6, usage.system_us / 1e6, usage.max_rss_bytes),
        output=totals_of(record.output),
        drain_timed_out=drain_timed_out,
    )


@dataclass(frozen=True)
class ProcessInfo:
    """What the daemon knows of a process, at the time of asking."""

    id: int
    name: str
    pid: int
    state: str  # "starting", "running", "stopping", "exited", "failed"
    args: List[str]  # what was executed, the shell included
    labels: Mapping[str, str]
    started_at_ns: int
    uptime: float  # seconds
    uid: int
    exit: Optional[Exit]
    closed: bool  # its output is complete
    output: Mapping[int, SlotTotal]
    tree: str  # how its tree would be killed: "cgroup", "freezer", "sweep"
    cpu_time: float  # seconds; get(), and ps(usage=True), while it runs
    memory: int
    spec: Optional[processes_pb2.ProcessSpec] = field(default=None, repr=False)  # get() only


def info_of(process: processes_pb2.Process) -> ProcessInfo:
    return ProcessInfo(
        id=process.id,
        name=process.name,
        pid=process.pid,
        state=_name(processes_pb2.ProcessState, process.state, "PROCESS_STATE_"),
        args=[os.fsdecode(argument) for argument in process.argv],
        labels=dict(process.labels),
        started_at_ns=process.started_at_ns,
        uptime=process.uptime_ms / 1000,
        uid=process.uid,
        exit=exit_of(process.exit) if process.HasField("exit") else None,
        closed=process.closed,
        output=totals_of(process.output),
        tree=process.tree,
        cpu_time=process.cpu_us / 1e6,
        memory=process.memory_bytes,
        spec=process.spec if process.HasField("spec") else None,
    )


@dataclass(frozen=True)
class Output:
    """Bytes [offset, offset + len(data)) of a slot; `lost` bytes before them are gone."""

    slot: int
    offset: int
    data: bytes
    time_ns: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Killed:
    """What a signal or a stop did."""

    ended: List[int]  # pids that were signalled; of a stop: that are gone
    survived: List[int]  # seen, and still there
    method: str  # "cgroup", "freezer", "sweep", "signal"
    complete: bool  # nothing of the scope can have escaped
    exit: Optional[Exit]  # when the process itself has ended


def killed_of(reply: processes_pb2.KillReply) -> Killed:
    return Killed(list(reply.ended), list(reply.survived), reply.method, reply.complete,
                  exit_of(reply.exit) if reply.HasField("exit") else None)


@dataclass(frozen=True)
class Event:
    """Something that happened in the daemon. What its type does not have is None or 0."""

    seq: int
    time_ns: int
    type: str  # "spawned", "exited", "closed", "output_gap", "spawn_failed", "removed", "stopping", "gap", ...
    process: int
    exit: Optional[Exit] = None  # exited, closed, spawn_failed
    pid: int = 0  # spawned
    name: str = ""  # spawned
    args: Optional[List[str]] = None  # spawned
    why: str = ""  # stopping, removed, audit
    first: int = 0  # gap: events first to last are lost to this reader, it was too slow
    last: int = 0
    message: Optional[events_pb2.Event] = field(default=None, repr=False)  # all of it, as it came


def event_of(event: events_pb2.Event) -> Event:
    kind = event.WhichOneof("event")
    if kind == "spawned":
        spawned = event.spawned
        return Event(event.seq, event.time_ns, event.type, event.process, pid=spawned.pid, name=spawned.name,
                     args=[os.fsdecode(argument) for argument in spawned.argv], message=event)
    inner = getattr(event, kind) if kind else None
    return Event(
        event.seq, event.time_ns, event.type, event.process,
        exit=exit_of(inner) if isinstance(inner, common_pb2.ExitRecord) else None,
        why=getattr(inner, "why", ""),
        first=getattr(inner, "first", 0),
        last=getattr(inner, "last", 0),
        message=event,
    )


@dataclass(frozen=True)
class File:
    """A file for a child's stdio, opened with the child's rights. mode: "r", "w", "a" or "r+"; None: "r" for slot 0, else "w"."""

    path: "Union[str, bytes, os.PathLike[str]]"
    mode: Optional[str] = None
    permissions: Optional[int] = None  # of one that is created, before umask; 0o666


JSON_TYPE = "application/json"


@dataclass
class Message:
    """A message from a child's channel: its bytes, and `handles`: sockets, and numbers of other descriptors, all yours."""

    data: bytes
    content_type: str = ""
    handles: List[Union[socket.socket, int]] = field(default_factory=list)
    lost: bool = False  # descriptors came along that did not get through

    @property
    def value(self) -> Any:
        """The data as what its content type says: a JSON value, a str for text/..., else bytes."""
        kind = self.content_type.partition(";")[0].strip().lower()
        if kind == JSON_TYPE:
            return json.loads(self.data)
        return self.data.decode() if kind.startswith("text/") else self.data

    def close(self) -> None:
        """Closes the handles."""
        while self.handles:
            handle = self.handles.pop()
            if isinstance(handle, int):
                os.close(handle)
            else:
                handle.close()
