"""Limits met for real: descriptors, processes, disk, thousands of children."""
import os
import resource
import subprocess
import time

import pytest

import ttrpc
from ttrpc import RpcError, processes, ref

FULL = bool(os.environ.get("SPAWND_FULL_SIZE"))


def limited(nofile):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))


def fill(client, most):
    """Starts silent children with pipes until the daemon refuses or `most` run; their ids, times and the refusal."""
    ids, times = [], []
    pipes = [ttrpc.stdio(n, ttrpc.PIPE) for n in range(3)]
    for _ in range(most):
        started = time.monotonic()
        try:
            ids.append(client.start("sleep", "100000", stdio=pipes).id)
        except RpcError as error:
            return ids, times, error
        times.append(time.monotonic() - started)
    return ids, times, None


def stop_all(client, ids):
    calls = [client.start_unary("Processes", "Stop", processes.StopRequest(process=ref(i), signal=9)) for i in ids]
    for call in calls:
        assert not client.finish_unary(call, processes.KillReply()).survived


def test_out_of_descriptors_is_told_and_passes(make_daemon):
    daemon = make_daemon(preexec=limited(256))
    with daemon.client() as client:
        client.hello()
        ids, _, error = fill(client, 200)
        assert error.code == "RESOURCE_EXHAUSTED" and len(ids) > 10
        assert client.get(ids[0]).state == processes.PROCESS_STATE_RUNNING
        stop_all(client, ids)
        again, _, _ = fill(client, len(ids))
        assert len(again) == len(ids)
        stop_all(client, again)
    assert daemon.zombies() == []


def test_out_of_processes_is_eagain(make_daemon):
    daemon = make_daemon()
    with daemon.client() as client:
        client.hello()
        few = [processes.Rlimit(name="nproc", soft=1, hard=1)]
        alone = dict(uid=12345, gid=12345, rlimits=few, cwd=b"/")
        with pytest.raises(RpcError) as caught:
            for _ in range(4):  # the kernel counts the process that changes its user only afterwards
                assert client.spawn("sleep", "100000", **alone).receive().spawned.pid > 0
        assert caught.value.detail.code == "EAGAIN" and caught.value.code == "RESOURCE_EXHAUSTED"
        assert client.spawn("true").collect()[2].exit.code == 0


def test_a_full_disk_stops_the_spill_not_the_child(make_daemon, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        daemon = make_daemon()
        with daemon.client() as client:
            client.hello()
            log = processes.LogFile(path=str(small / "log").encode())
            process = client.start("head", "-c", "1000000", "/dev/zero", log_file=log)
            ended = client.wait(process, closed=True)
            assert ended.exit.code == 0 and ended.exit.output[0].bytes == 1000000
            assert client.spawn("true").collect()[2].exit.code == 0
        assert "ENOSPC" in daemon.log.read_text()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_thousands_of_silent_children(make_daemon):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    daemon = make_daemon(preexec=limited(min(hard, 20000)))
    most = 4500 if FULL else 1200
    with daemon.client(timeout=300) as client:
        client.hello()
        ids, times, error = fill(client, most)
        assert error is None and len(ids) == most
        part = most // 9
        first, last = sum(times[:part]), sum(times[-part:])
        print(f"{most} children: first {part} at {part / first:.0f}/s, last {part} at {part / last:.0f}/s, ratio {first / last:.2f}")
        begin = time.monotonic()
        listed, after = [], 0
        while True:
            reply = client.call("Processes", "List", processes.ListRequest(after_id=after), processes.ListReply())
            listed += [p.id for p in reply.processes]
            if not (after := reply.next_after_id):
                break
        assert listed == ids
        stop_all(client, ids)
        print(f"listed, killed and reaped in {time.monotonic() - begin:.2f} s")
        assert client.stats().processes == 0
    assert daemon.zombies() == []
