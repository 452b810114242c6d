"""Edges of the daemon: signals that are not for it, times of very short children, what is left of a tree, bounds."""
import ctypes
import os
import signal

import pytest

import ttrpc
from ttrpc import NULL, PIPE, RpcError, common, processes, ref, stdio

STRAY = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPIPE", "SIGIO", "SIGPWR", "SIGSTKFLT", "SIGXCPU",
         "SIGXFSZ", "SIGRTMIN", "SIGRTMAX"]


def test_signals_without_a_meaning_end_neither_keeper_nor_engine(daemon, client):
    before = client.stats()
    for name in STRAY:
        for pid in (before.keeper_pid, before.engine_pid):
            os.kill(pid, getattr(signal, name))
        assert client.wait(client.start("true"), closed=True).exit.code == 0, name
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        os.kill(before.engine_pid, number)
    after = client.stats()
    assert (after.keeper_pid, after.engine_pid, after.engine_restarts) == (before.keeper_pid, before.engine_pid, 0)


def ignore_all():
    """Every signal, those the C library hides too: by the raw call."""
    ignore = (ctypes.c_uint64 * 4)(1, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 13, "aarch64": 134}[os.uname().machine]
    for at in range(1, 65):
        if at not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS):
            libc.syscall(number, at, ignore, None, ctypes.c_size_t(8))


def test_nothing_of_the_starters_dispositions_reaches_a_child(make_daemon):
    daemon = make_daemon(preexec=ignore_all)
    with daemon.client() as client:
        client.hello()
        output, _, _ = client.spawn("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status").collect()
    assert [line.split()[1] for line in output[1].splitlines()] == [b"0" * 16] * 2


def test_nothing_ends_before_it_began(client):
    for _ in range(30):
        ended = client.wait(client.start("true"), closed=True)
        assert 0 < ended.started_at_ns <= ended.exit.exited_at_ns
