"""Many spawns and attaches through one daemon: descriptors, memory, zombies and idle CPU stay flat. SPAWND_SOAK says how many spawns,
SPAWND_SOAK_SECONDS how long at least; one attach comes with twenty spawns."""
import os
import pathlib
import select
import time

from ttrpc import processes, ref

SECONDS = int(os.environ.get("SPAWND_SOAK_SECONDS", "0"))
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


def attach_many(daemon, process, count):
    """Clients that come, read and go."""
    for _ in range(count // 10):
        with daemon.client() as client:
            for _ in range(10):
                stream = client.stream("Processes", "Attach", processes.ProcessEvent)
                stream.send(processes.AttachRequest(start=processes.AttachStart(process=ref(process), from_retained=True)))
                while stream.receive().WhichOneof("event") != "output":
                    pass


def cpu_ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def idle_ticks(pids):
    """Ticks of CPU that each takes in two seconds in which nobody asks for anything."""
    pidfd = os.pidfd_open(pids[0])
    before = [cpu_ticks(pid) for pid in pids]
    assert not select.select([pidfd], [], [], 2)[0]
    os.close(pidfd)
    return [cpu_ticks(pid) - ticks for pid, ticks in zip(pids, before)]


def launchers(keeper):
    children = pathlib.Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    return [int(pid) for pid in children if pathlib.Path(f"/proc/{pid}/comm").read_text() == "spawnd-launcher\n"]


def test_nothing_grows(daemon):
    with daemon.client() as client:
        client.hello()
        stats = client.stats()
        talker = client.start("sh", "-c", "echo x; exec sleep 100000")
        spawn_many(client, max(SPAWNS // 3, 1500))
        attach_many(daemon, talker, max(SPAWNS // 60, 100))
        pids = (stats.keeper_pid, stats.engine_pid)
        before = [(rss(pid), descriptors(pid)) for pid in pids]
        begin = time.monotonic()
        spawn_many(client, SPAWNS)
        attach_many(daemon, talker, SPAWNS // 20)
        while time.monotonic() - begin < SECONDS:
            spawn_many(client, 1000)
            attach_many(daemon, talker, 50)
        settle(client, pids, [fds + 4 for _, fds in before])
        after = [(rss(pid), descriptors(pid)) for pid in pids]
        print(f"keeper, engine (rss, descriptors): {before} -> {after}")
        for (rss_before, _), (rss_after, _) in zip(before, after):
            assert rss_after <= rss_before * 1.1 + (1 << 20)
        assert client.stats().engine_restarts == 0
        watched = [*pids, *launchers(stats.keeper_pid)]
        idle = idle_ticks(watched)
        print(f"ticks of CPU in two idle seconds: {dict(zip(watched, idle))}")
        assert max(idle) <= 2
        for pid in watched[2:]:
            assert descriptors(pid) < 16 and rss(pid) < 8 << 20
    assert daemon.zombies() == []
