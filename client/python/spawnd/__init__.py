"""Processes owned by the spawnd daemon, with the feel of asyncio.subprocess and subprocess.

    import asyncio, spawnd

    async def main():
        done = await spawnd.run("sort", input="pear\\napple\\n", text=True, capture_output=False, stdout=spawnd.PIPE)
        async with await spawnd.spawn("grep", "-n", "x", stdin=spawnd.PIPE, stdout=spawnd.PIPE) as child:
            child.stdin.write(b"axb\\n")
            child.stdin.close()
            async for line in child.stdout:
                print(line)

    asyncio.run(main())

The functions here use a client of their own for each event loop, which finds the daemon or starts one. spawnd.sync has the same for
programs without a loop. docs/PYTHON.md tells everything.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, List, Mapping, Optional, Sequence

from . import errors
from ._client import Client, CompletedProcess, Ref, default_client
from ._daemon import default_socket
from ._feed import Events, Logs
from ._pipes import InputWriter, OutputReader
from ._process import WINDOW, Process
from ._spec import DEVNULL, PIPE, STDOUT, Arguments, Options, Stdio
from ._version import __version__
from .errors import (Aborted, AccessDenied, AlreadyExists, CalledProcessError, Cancelled, ChannelClosed, DataLoss, DeadlineExceeded,
                     FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, SpawndError, SystemCallError, TimeoutExpired,
                     Unavailable, Unimplemented)
from .types import Event, Exit, File, Killed, Message, Output, ProcessInfo, SlotTotal, Usage

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "PIPE", "STDOUT", "DEVNULL", "Client", "CompletedProcess", "Event", "Events", "Exit", "File", "InputWriter", "Killed", "Logs",
    "Message", "Options", "Output", "OutputReader", "Process", "ProcessInfo", "Ref", "SlotTotal", "Usage", "attach", "connect",
    "default_client", "default_socket", "errors", "events", "fork", "get", "logs", "ps", "remove", "run", "send_signal", "spawn", "start",
    "stop", "wait", "Aborted", "AccessDenied", "AlreadyExists", "CalledProcessError", "Cancelled", "ChannelClosed", "DataLoss",
    "DeadlineExceeded", "FailedPrecondition", "InvalidArgument", "NotFound", "ResourceExhausted", "SpawndError", "SystemCallError",
    "TimeoutExpired", "Unavailable", "Unimplemented", "__version__",
]


async def connect(path: "str | os.PathLike[str] | None" = None, *, autostart: bool = True, reconnect: bool = True) -> Client:
    """A client of its own: to the socket at path, or where default_socket() says. Starts a daemon when none runs."""
    return await Client.connect(path, autostart=autostart, reconnect=reconnect)


async def spawn(*args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None, window: int = WINDOW,
                **options: "Unpack[Options]") -> Process:
    """See Client.spawn."""
    client = await default_client()
    return await client.spawn(*args, stdin=stdin, stdout=stdout, stderr=stderr, window=window, **options)


async def run(*args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None, input: "bytes | str | None" = None,
              capture_output: bool = False, check: bool = False, text: Optional[bool] = None, encoding: Optional[str] = None,
              errors: Optional[str] = None, **options: "Unpack[Options]") -> CompletedProcess:
    """See Client.run."""
    client = await default_client()
    return await client.run(*args, stdin=stdin, stdout=stdout, stderr=stderr, input=input, capture_output=capture_output, check=check,
                            text=text, encoding=encoding, errors=errors, **options)


async def fork(*args: Arguments, serialization: str = "json", stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None,
               window: int = WINDOW, **options: "Unpack[Options]") -> Process:
    """See Client.fork."""
    client = await default_client()
    return await client.fork(*args, serialization=serialization, stdin=stdin, stdout=stdout, stderr=stderr, window=window, **options)


async def start(*args: Arguments, stdin: Stdio = None, stdout: Stdio = None, stderr: Stdio = None,
                **options: "Unpack[Options]") -> ProcessInfo:
    """See Client.start."""
    client = await default_client()
    return await client.start(*args, stdin=stdin, stdout=stdout, stderr=stderr, **options)


async def attach(process: Ref, *, retained: bool = False, messages: bool = False, window: int = WINDOW) -> Process:
    """See Client.attach."""
    return await (await default_client()).attach(process, retained=retained, messages=messages, window=window)


async def logs(process: Ref, *, slots: Sequence[int] = (), since_ns: int = 0, offsets: Optional[Mapping[int, int]] = None,
               follow: bool = False) -> Logs:
    """See Client.logs."""
    return await (await default_client()).logs(process, slots=slots, since_ns=since_ns, offsets=offsets, follow=follow)


async def events(*, types: Sequence[str] = (), process: Optional[Ref] = None, since_seq: int = 0) -> Events:
    """See Client.events."""
    return await (await default_client()).events(types=types, process=process, since_seq=since_seq)


async def ps(*, all: bool = False, name: str = "", labels: Optional[Mapping[str, str]] = None, usage: bool = False) -> List[ProcessInfo]:
    """See Client.ps."""
    return await (await default_client()).ps(all=all, name=name, labels=labels, usage=usage)


async def get(process: Ref) -> ProcessInfo:
    """See Client.get."""
    return await (await default_client()).get(process)


async def wait(process: Ref, *, timeout: Optional[float] = None, closed: bool = False) -> Exit:
    """See Client.wait."""
    return await (await default_client()).wait(process, timeout=timeout, closed=closed)


async def send_signal(process: Ref, signal: int, *, scope: Optional[str] = None) -> Killed:
    """See Client.signal."""
    return await (await default_client()).signal(process, signal, scope=scope)


async def stop(process: Ref, *, grace: Optional[float] = None, signal: int = 0, scope: Optional[str] = None) -> Killed:
    """See Client.stop."""
    return await (await default_client()).stop(process, grace=grace, signal=signal, scope=scope)


async def remove(process: Ref, *, force: bool = False) -> None:
    """See Client.remove."""
    await (await default_client()).remove(process, force=force)
