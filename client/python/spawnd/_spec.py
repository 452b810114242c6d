"""From arguments as subprocess has them to a ProcessSpec and the descriptors that go with it."""
from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from ._context import Context, wire_limit
from .errors import SystemCallError
from .types import File
from .v1 import processes_pb2

if TYPE_CHECKING:
    from typing_extensions import TypedDict
else:  # only ever looked at by type checkers
    from typing import TypedDict

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL

Text = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
Arguments = Union[Text, Sequence[Text]]
Stdio = Union[int, File, Any, None]  # Any: what has fileno()

Spec = processes_pb2.ProcessSpec
Kind = processes_pb2.Stdio
_MODES = {None: processes_pb2.FileSpec.MODE_UNSPECIFIED, "r": processes_pb2.FileSpec.MODE_READ, "w": processes_pb2.FileSpec.MODE_TRUNCATE,
          "a": processes_pb2.FileSpec.MODE_APPEND, "r+": processes_pb2.FileSpec.MODE_READ_WRITE}
SCOPES = {None: processes_pb2.KILL_SCOPE_UNSPECIFIED, "child": processes_pb2.KILL_SCOPE_CHILD, "group": processes_pb2.KILL_SCOPE_GROUP,
          "tree": processes_pb2.KILL_SCOPE_TREE}
ON_DISCONNECT = {"stop": processes_pb2.ON_DISCONNECT_STOP, "hangup": processes_pb2.ON_DISCONNECT_HANGUP,
                 "keep": processes_pb2.ON_DISCONNECT_KEEP}
_ON_SHUTDOWN = {"stop": processes_pb2.ON_SHUTDOWN_STOP, "keep": processes_pb2.ON_SHUTDOWN_KEEP}
SERIALIZATIONS = {"json": processes_pb2.SERIALIZATION_JSON, "advanced": processes_pb2.SERIALIZATION_ADVANCED,
                  "native": processes_pb2.SERIALIZATION_NATIVE}


class Options(TypedDict, total=False):
    """What spawn(), run(), start() and fork() take besides arguments and stdio; docs/PYTHON.md tells each."""

    # as subprocess has them
    shell: Union[bool, Text]  # the one argument is a line for /bin/sh, or for the shell that is named
    executable: Text
    cwd: Text
    env: Mapping[Any, Any]  # instead of ours; str or bytes
    user: int
    group: int
    extra_groups: Sequence[int]
    umask: int
    pass_fds: Sequence[int]
    # what a daemon can do besides
    extra_env: Mapping[Any, Any]  # besides the environment it has anyway; None takes a name away
    fds: Mapping[int, Stdio]  # slots above 2
    pty: Union[bool, Tuple[int, int]]  # stdin, stdout and stderr are one terminal, of (rows, columns)
    name: str
    labels: Mapping[str, str]
    timeout: Optional[float]  # seconds from its start; then kill_signal for kill_scope
    kill_signal: int
    kill_scope: str  # "child", "group", "tree"
    grace: float  # seconds between kill_signal and SIGKILL
    drain_timeout: float  # seconds that pipes held by others are waited for
    nice: int
    rlimits: Mapping[str, Tuple[int, int]]
    no_new_privs: bool
    retain: int  # bytes of each output slot that stay readable
    log_file: Text
    on_disconnect: str  # "stop", "hangup", "keep"
    on_shutdown: str  # "stop", "keep"


def choose(table: Mapping[Any, Any], value: Any, what: str) -> Any:
    try:
        return table[value]
    except KeyError:
        known = ", ".join(repr(key) for key in table if key is not None)
        raise ValueError(f"{what} must be one of {known}, not {value!r}") from None


def milliseconds(seconds: float) -> int:
    if seconds < 0:
        raise ValueError(f"a duration cannot be negative: {seconds}")
    return round(seconds * 1000)


def arguments(args: Sequence[Arguments]) -> List[Text]:
    """spawn("ls", "-l") and spawn(["ls", "-l"]) are the same."""
    if len(args) == 1 and not isinstance(args[0], (str, bytes, os.PathLike)):
        return list(args[0])
    for argument in args:
        if not isinstance(argument, (str, bytes, os.PathLike)):
            raise TypeError(f"an argument must be str, bytes or a path, not {type(argument).__name__}")
    return list(args)  # type: ignore[arg-type]


def _assignment(name: Any, value: Any) -> bytes:
    return os.fsencode(name) + b"=" + os.fsencode(value)


class Builder:
    """One spec: `message`, and `fds` (borrowed) in the order of their attached numbers."""

    def __init__(self, args: Sequence[Arguments], options: Options) -> None:
        self.message = Spec()
        self.fds: List[int] = []
        self.args = arguments(args)
        unknown = set(options) - set(Options.__annotations__)
        if unknown:
            raise TypeError(f"unexpected keyword argument {sorted(unknown)[0]!r}")
        self._options = options
        self._command(options.get("shell", False), options.get("executable"))
        self._environment()
        self._rights()
        self._life()

    def _command(self, shell: Union[bool, Text], executable: Optional[Text]) -> None:
        spec = self.message
        if not self.args:
            raise ValueError("there is no program to start")
        if shell:
            if len(self.args) != 1:
                raise TypeError("with shell there is one argument, the line")
            spec.shell_command = os.fsencode(self.args[0])
            named = executable if shell is True else shell
            if named is not None:
                spec.shell = os.fsencode(named)
            return
        spec.argv.extend(os.fsencode(argument) for argument in self.args)
        if executable is not None:
            spec.argv0 = spec.argv[0]
            spec.argv[0] = os.fsencode(executable)

    def _environment(self) -> None:
        options, spec = self._options, self.message
        cwd, env, extra = options.get("cwd"), options.get("env"), options.get("extra_env")
        if cwd is not None:
            spec.cwd = os.path.join(os.getcwdb(), os.fsencode(cwd)) if not os.path.isabs(cwd) else os.fsencode(cwd)
        if env is not None:
            spec.env.origin = processes_pb2.Environment.ORIGIN_EMPTY
            spec.env.set.extend(_assignment(name, value) for name, value in env.items())
        self._extra_env = extra or {}

    def _rights(self) -> None:
        options, spec = self._options, self.message
        if "user" in options:
            spec.uid = options["user"]
        if "group" in options:
            spec.gid = options["group"]
        if "umask" in options:
            spec.umask = options["umask"]
        if "nice" in options:
            spec.nice = options["nice"]
        spec.groups.extend(options.get("extra_groups", ()))
        spec.no_new_privs = options.get("no_new_privs", False)
        for name, (soft, hard) in options.get("rlimits", {}).items():
            spec.rlimits.add(name=name, soft=wire_limit(soft), hard=wire_limit(hard))

    def _life(self) -> None:
        options, spec = self._options, self.message
        spec.name = options.get("name", "")
        spec.labels.update(options.get("labels", {}))
        timeout = options.get("timeout")
        if timeout is not None:
            spec.timeout_ms = max(milliseconds(timeout), 1)
        spec.kill_signal = options.get("kill_signal", 0)
        spec.kill_scope = choose(SCOPES, options.get("kill_scope"), "kill_scope")
        if "grace" in options:
            spec.grace_ms = milliseconds(options["grace"])
        if "drain_timeout" in options:
            spec.drain_timeout_ms = milliseconds(options["drain_timeout"])
        if "retain" in options:
            spec.retain_bytes = options["retain"]
        if "log_file" in options:
            spec.log_file.path = os.path.abspath(os.fsencode(options["log_file"]))
        if "on_disconnect" in options:
            spec.on_disconnect = choose(ON_DISCONNECT, options["on_disconnect"], "on_disconnect")
        if "on_shutdown" in options:
            spec.on_shutdown = choose(_ON_SHUTDOWN, options["on_shutdown"], "on_shutdown")

    # ---- stdio

    def stdio(self, stdin: Stdio, stdout: Stdio, stderr: Stdio, inherit: bool) -> None:
        """inherit: what None means, our own descriptor or the daemon's default."""
        pty = self._options.get("pty", False)
        if pty:
            if not (stdin is stdout is stderr is None):
                raise ValueError("with pty stdin, stdout and stderr are the terminal")
            if isinstance(pty, tuple):
                self.message.window.rows, self.message.window.columns = pty
            for slot in range(3):
                self.message.stdio.add(slot=slot, kind=Kind.KIND_PTY)
        else:
            for slot, value in enumerate((stdin, stdout, stderr)):
                self._slot(slot, value, inherit)
        for slot, value in self._options.get("fds", {}).items():
            self._slot(slot, value, False)
        for fd in self._options.get("pass_fds", ()):
            self._slot(fd, fd, False)

    def _slot(self, slot: int, value: Stdio, inherit: bool) -> None:
        add = self.message.stdio.add
        if value is None:
            if inherit:
                self._inherit(slot)
        elif value is DEVNULL or value == DEVNULL:
            add(slot=slot, kind=Kind.KIND_NULL)
        elif value == PIPE:
            add(slot=slot, kind=Kind.KIND_PIPE)
        elif value == STDOUT:
            add(slot=slot, kind=Kind.KIND_SAME, same_as=1)
        elif isinstance(value, File):
            added = add(slot=slot, kind=Kind.KIND_FILE)
            added.file.path = os.fsencode(value.path)
            added.file.mode = choose(_MODES, value.mode, "mode")
            if value.permissions is not None:
                added.file.permissions = value.permissions
        else:
            self._pass(slot, value if isinstance(value, int) else value.fileno())

    def _inherit(self, slot: int) -> None:
        try:
            os.fstat(slot)
        except OSError:
            self.message.stdio.add(slot=slot, kind=Kind.KIND_NONE)
        else:
            self._pass(slot, slot)

    def _pass(self, slot: int, fd: int) -> None:
        if fd < 0:
            raise ValueError(f"{fd} is not a descriptor")
        added = self.message.stdio.add(slot=slot, kind=Kind.KIND_FD)
        added.fd.attached = len(self.fds)
        self.fds.append(fd)

    def channel(self, serialization: str) -> int:
        """Adds a message channel; its slot."""
        taken = {at.slot for at in self.message.stdio}
        slot = next(number for number in range(3, 256) if number not in taken)
        self.message.stdio.add(slot=slot, kind=Kind.KIND_CHANNEL)
        self.message.serialization = choose(SERIALIZATIONS, serialization, "serialization")
        return slot

    def finish(self, told: Context) -> Spec:
        """What this process has changed since Hello, and what the caller adds to that."""
        spec = self.message
        Context.now().complete(spec, told)
        for name, value in self._extra_env.items():
            if value is None:
                spec.env.unset.append(os.fsencode(name))
            else:
                spec.env.set.append(_assignment(name, value))
        return spec

    def blame(self, error: SystemCallError) -> SystemCallError:
        """A failed start names the program, as Node does; subprocess names a directory that it is about."""
        if error.field == "spec.cwd" and "cwd" in self._options:
            error.filename = os.fspath(self._options["cwd"])
        return error


def slots_of(spec: Spec) -> Tuple[List[int], List[int]]:
    """(slots that we write, slots that we read) of a spec."""
    inputs: Dict[int, bool] = {}
    outputs: Dict[int, bool] = {}
    terminal = [at.slot for at in spec.stdio if at.kind == Kind.KIND_PTY]
    for at in spec.stdio:
        if at.kind != Kind.KIND_PIPE:
            continue
        direction = at.direction or (Kind.DIRECTION_IN if at.slot == 0 else Kind.DIRECTION_OUT if at.slot < 3 else Kind.DIRECTION_BOTH)
        if direction != Kind.DIRECTION_OUT:
            inputs[at.slot] = True
        if direction != Kind.DIRECTION_IN:
            outputs[at.slot] = True
    if terminal:  # what is read belongs to its lowest slot above 0
        inputs[terminal[0]] = True
        outputs[next((slot for slot in sorted(terminal) if slot), terminal[0])] = True
    return list(inputs), list(outputs)


