"""What goes wrong, as exceptions.

Every one is a SpawndError; where the standard library has an exception of the same meaning, it is that one too. What a system call
refused is an OSError of the kind that `subprocess` raises: FileNotFoundError, PermissionError, ProcessLookupError, ...
"""
from __future__ import annotations

import os
import subprocess
from typing import Dict, List, Optional, Tuple, Type, Union

from ._frames import Response
from .v1 import common_pb2

__all__ = [
    "SpawndError", "InvalidArgument", "NotFound", "AlreadyExists", "AccessDenied", "ResourceExhausted", "FailedPrecondition",
    "DeadlineExceeded", "Cancelled", "Aborted", "Unimplemented", "Unavailable", "DataLoss", "SystemCallError", "ChannelClosed",
    "TimeoutExpired", "CalledProcessError",
]


class SpawndError(Exception):
    """Anything that spawnd refuses or that fails in it."""

    status = "UNKNOWN"  # gRPC's name of the kind
    code = ""  # Node's name of it: "ENOENT", "ABORT_ERR"
    syscall = ""  # "spawn foo"
    path: Optional[str] = None  # what it was about
    field = ""  # of the request, dotted: "spec.stdio[3].file.path"


class InvalidArgument(SpawndError, ValueError):
    """The request contradicts itself or the protocol; `field` says where. Nothing was started."""

    status = "INVALID_ARGUMENT"


class NotFound(SpawndError, LookupError):
    """There is no such process."""

    status = "NOT_FOUND"


class AlreadyExists(SpawndError):
    """The name is taken."""

    status = "ALREADY_EXISTS"


class AccessDenied(SpawndError, PermissionError):
    """This user may not."""

    status = "PERMISSION_DENIED"


class ResourceExhausted(SpawndError):
    """Descriptors, processes, memory or room in a message ran out."""

    status = "RESOURCE_EXHAUSTED"


class FailedPrecondition(SpawndError):
    """A right request in the wrong state."""

    status = "FAILED_PRECONDITION"


class DeadlineExceeded(SpawndError, TimeoutError):
    """It took too long."""

    status = "DEADLINE_EXCEEDED"


class Cancelled(SpawndError):
    """The call was cancelled."""

    status = "CANCELLED"


class Aborted(SpawndError):
    """It is not known whether it was done: the daemon failed in its middle."""

    status = "ABORTED"


class Unimplemented(SpawndError):
    """The daemon does not know this."""

    status = "UNIMPLEMENTED"


class Unavailable(SpawndError, ConnectionError):
    """There is no daemon to reach, or the connection is lost for good."""

    status = "UNAVAILABLE"


class DataLoss(SpawndError):
    """Bytes or messages are lost."""

    status = "DATA_LOSS"


class SystemCallError(SpawndError, OSError):
    """What a system call refused. Always an OSError of its kind as well: FileNotFoundError, PermissionError, ..."""


class ChannelClosed(FailedPrecondition, BrokenPipeError):
    """The message channel has ended, or there is none."""


class TimeoutExpired(SpawndError, subprocess.TimeoutExpired):
    """A process was ended because its time was over; the output it had written is here."""

    status = "DEADLINE_EXCEEDED"


class CalledProcessError(SpawndError, subprocess.CalledProcessError):
    """A checked process did not end with 0."""


_STATUSES: List[Tuple[str, Type[SpawndError]]] = [
    ("OK", SpawndError), ("CANCELLED", Cancelled), ("UNKNOWN", SpawndError), ("INVALID_ARGUMENT", InvalidArgument),
    ("DEADLINE_EXCEEDED", DeadlineExceeded), ("NOT_FOUND", NotFound), ("ALREADY_EXISTS", AlreadyExists),
    ("PERMISSION_DENIED", AccessDenied), ("RESOURCE_EXHAUSTED", ResourceExhausted), ("FAILED_PRECONDITION", FailedPrecondition),
    ("ABORTED", Aborted), ("OUT_OF_RANGE", SpawndError), ("UNIMPLEMENTED", Unimplemented), ("INTERNAL", SpawndError),
    ("UNAVAILABLE", Unavailable), ("DATA_LOSS", DataLoss), ("UNAUTHENTICATED", AccessDenied),
]
_system_classes: Dict[Type[OSError], Type[SystemCallError]] = {OSError: SystemCallError}


def _system_class(errnum: int) -> Type[SystemCallError]:
    """SystemCallError and what Python itself raises for this errno, in one."""
    builtin = type(OSError(errnum, ""))
    if builtin not in _system_classes:
        _system_classes[builtin] = type(f"SystemCall{builtin.__name__}", (SystemCallError, builtin), {"__module__": __name__})
    return _system_classes[builtin]


def system_error(errnum: int, syscall: str, path: Union[str, bytes, None] = None, field: str = "",
                 status: str = "UNKNOWN") -> SystemCallError:
    """The OSError of a system call, with the file name that Python shows."""
    name = os.fsdecode(path) if path else None
    error = _system_class(errnum)(errnum, os.strerror(errnum), name)
    error.status, error.syscall, error.path, error.field = status, syscall, name, field
    return error


def from_status(response: Response) -> SpawndError:
    """The exception of an answer that is not OK."""
    detail = common_pb2.ErrorDetail.FromString(response.detail)
    name, kind = _STATUSES[response.code] if response.code < len(_STATUSES) else ("UNKNOWN", SpawndError)
    if detail.errnum:
        error: SpawndError = system_error(detail.errnum, detail.syscall, detail.path, detail.field, name)
    else:
        error = kind(response.message)
        error.syscall, error.field = detail.syscall, detail.field
        error.path = os.fsdecode(detail.path) if detail.path else None
    error.status = name
    error.code = detail.code
    return error
