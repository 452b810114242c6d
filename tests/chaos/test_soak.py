"""Many spawns through one daemon: descriptors, memory and zombies stay flat. SPAWND_SOAK says how many."""
import os
import pathlib

import ttrpc

SPAWNS = int(os.environ.get("SPAWND_SOAK", "3000"))


def rss(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")) * 1024


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def settle(client, pids, most):
    """Waits until no process holds more descriptors than that: the keeper hears a little later what it may let go of."""
    while any(descriptors(pid) > limit for pid, limit in zip(pids, most)):
        client.stats()


def spawn_many(client, count):
    for _ in range(count // 50):
        streams = [client.spawn("sh", "-c", "echo $$") for _ in range(50)]
        for stream in streams:
            output, names, closed = stream.collect()
            assert names == ["spawned", "output", "exited", "closed"] or names == ["spawned", "exited", "output", "closed"]
            assert closed.exit.code == 0 and output[1].strip().isdigit()


def test_nothing_grows(daemon):
    with daemon.client() as client:
        client.hello()
        stats = client.stats()
        spawn_many(client, max(SPAWNS // 3, 1500))
        pids = (stats.keeper_pid, stats.engine_pid)
        before = [(rss(pid), descriptors(pid)) for pid in pids]
        spawn_many(client, SPAWNS)
        settle(client, pids, [fds + 4 for _, fds in before])
        after = [(rss(pid), descriptors(pid)) for pid in pids]
        print(f"keeper, engine (rss, descriptors): {before} -> {after}")
        for (rss_before, _), (rss_after, _) in zip(before, after):
            assert rss_after <= rss_before * 1.1 + (1 << 20)
        assert client.stats().engine_restarts == 0
    assert daemon.zombies() == []
