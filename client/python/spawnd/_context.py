"""What this process has and its children shall have: directory, environment, umask, limits.

Hello tells it once. What has changed since is put into the spec of each process, so that a child is as if this process had forked.
"""
from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

from .errors import system_error
from .v1 import admin_pb2, processes_pb2

LIMITS = {name: getattr(resource, f"RLIMIT_{name.upper()}") for name in (
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending",
    "stack")}
UNLIMITED = 2**64 - 1


def wire_limit(value: int) -> int:
    return UNLIMITED if value == resource.RLIM_INFINITY else value


def _umask() -> Optional[int]:
    """As the kernel tells it: umask(2) can only be read by changing it for every thread."""
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return None


@dataclass(frozen=True)
class Context:
    cwd: Optional[bytes]  # None: it is gone
    cwd_errno: int
    env: Dict[bytes, bytes]
    umask: Optional[int]
    limits: Dict[str, Tuple[int, int]]

    @classmethod
    def now(cls) -> "Context":
        cwd, cwd_errno = None, 0
        try:
            cwd = os.getcwdb()
        except OSError as error:
            cwd_errno = error.errno or 0
        limits = {}
        for name, number in LIMITS.items():
            soft, hard = resource.getrlimit(number)
            limits[name] = (wire_limit(soft), wire_limit(hard))
        return cls(cwd, cwd_errno, dict(os.environb), _umask(), limits)

    def message(self) -> admin_pb2.ClientContext:
        message = admin_pb2.ClientContext(cwd=self.cwd or b"", umask=self.umask)
        message.env.extend(name + b"=" + value for name, value in self.env.items())
        for name, (soft, hard) in self.limits.items():
            message.rlimits.add(name=name, soft=soft, hard=hard)
        return message

    def complete(self, spec: processes_pb2.ProcessSpec, told: "Context") -> None:
        """Puts what is not as `told` into a spec that leaves it open."""
        if not spec.cwd:
            if self.cwd is None:
                raise system_error(self.cwd_errno, "getcwd", field="spec.cwd")
            if self.cwd != told.cwd:
                spec.cwd = self.cwd
        if not spec.HasField("env") and self.env != told.env:
            spec.env.set.extend(name + b"=" + value for name, value in self.env.items() if told.env.get(name) != value)
            spec.env.unset.extend(name for name in told.env if name not in self.env)
        if not spec.HasField("umask") and self.umask is not None and self.umask != told.umask:
            spec.umask = self.umask
        if self.limits != told.limits:
            given = {limit.name for limit in spec.rlimits}
            for name, (soft, hard) in self.limits.items():
                if told.limits[name] != (soft, hard) and name not in given:
                    spec.rlimits.add(name=name, soft=soft, hard=hard)
