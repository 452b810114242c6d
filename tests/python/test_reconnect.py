"""The engine is killed, or the connection cut at any byte: what is open goes on, no byte twice, none missing."""
import asyncio
import hashlib
import os
import signal
import sys

import pytest

import spawnd
from conftest import PACKAGE
from proxy import Proxy

PIPE = spawnd.PIPE
CUTS = [1, 40, 333, 5000, 70000, 200001, -1, -300, -70000, -200001]


async def through_cat(client, data, **options):
    async with await client.spawn("cat", stdin=PIPE, stdout=PIPE, **options) as process:
        out, _ = await process.communicate(data)
        return hashlib.sha256(out).digest(), await process.wait()


def test_an_engine_that_is_killed_while_bytes_flow(place, run_async):
    data = os.urandom(6 << 20)

    async def flow():
        async with await spawnd.connect() as client:
            flowing = asyncio.ensure_future(through_cat(client, data))
            waiting = asyncio.ensure_future(client.run("sh", "-c", "read x; echo got $x", input=b"y\n", stdout=PIPE))
            for _ in range(2):
                os.kill((await client.stats()).engine_pid, signal.SIGKILL)
                await client.ping()
            return await flowing, (await waiting).stdout

    assert run_async(flow()) == ((hashlib.sha256(data).digest(), 0), b"got y\n")


def test_a_connection_cut_at_any_byte(place, run_async):
    data = os.urandom(3 << 19)

    async def flow(path):
        async with await spawnd.connect(path) as client:  # a proxy loses what the daemon has sent: that must be kept
            return await through_cat(client, data, retain=4 << 20)

    with Proxy(place, CUTS) as proxy:
        assert run_async(flow(proxy.socket)) == (hashlib.sha256(data).digest(), 0)
        assert proxy.cut >= 5


def test_what_is_lost_all_the_same_is_told(place, run_async):
    """Bytes that the daemon sent into a connection which lost them, and does not keep."""
    async def flow(path):
        async with await spawnd.connect(path) as client:
            process = await client.spawn("head", "-c", "4000000", "/dev/zero", stdout=PIPE, retain=4096)
            with pytest.raises(spawnd.DataLoss):
                while await process.stdout.read(1 << 20):
                    pass
            return await process.wait()

    with Proxy(place, [70000]) as proxy:
        assert run_async(flow(proxy.socket)) == 0


def test_messages_come_once(place, run_async):
    child_code = f"""
import sys
sys.path.insert(0, {str(PACKAGE)!r})
import spawnd_child
with spawnd_child.attach() as channel:
    for message in channel:
        channel.send(message.data)
"""

    async def talk(path):
        async with await spawnd.connect(path) as client:
            child = await client.fork(sys.executable, "-c", child_code, serialization="native")
            sending = asyncio.gather(*(child.send(b"%d " % number * 300) for number in range(400)))
            got = [int((await child.receive()).data.split()[0]) for _ in range(400)]
            await sending
            await child.disconnect()
            assert await child.receive() is None
            return got == list(range(400)), await child.wait()

    with Proxy(place, [9000, 70001, -9000, -70001]) as proxy:
        assert run_async(talk(proxy.socket)) == (True, 0)
        assert proxy.cut >= 2


def test_events_and_logs_go_on(place, run_async):
    async def follow():
        async with await spawnd.connect() as client:
            events = await client.events(types=["exited"])
            info = await client.start("sh", "-c", "echo one; read x; echo two", stdin=PIPE, name="f")
            logs = await client.logs("f", follow=True)
            first = (await logs.__anext__()).data
            os.kill((await client.stats()).engine_pid, signal.SIGKILL)
            attached = await client.attach("f")
            attached.stdin.write(b"go\n")
            second = (await logs.__anext__()).data
            event = await events.__anext__()
            while event.type == "gap":
                event = await events.__anext__()
            return first, second, event.process == info.id

    assert run_async(follow()) == (b"one\n", b"two\n", True)


def test_a_daemon_that_has_ended(make_daemon, tmp_path):
    async def lose():
        daemon = make_daemon()
        client = await spawnd.connect(daemon.socket)
        process = await client.spawn("sleep", "1000", stdout=PIPE)
        waiting = asyncio.ensure_future(process.wait())
        await client.shutdown()
        assert await waiting in (-15,)
        with pytest.raises(ConnectionError):
            while True:
                await client.ping()
        return client.usable

    assert asyncio.run(lose()) is False


def test_a_connection_that_shall_not_come_back(place, run_async):
    async def lose():
        client = await spawnd.connect(reconnect=False)
        process = await client.spawn("sleep", "1000")
        os.kill((await client.stats()).engine_pid, signal.SIGKILL)
        with pytest.raises(spawnd.Unavailable):
            await process.wait()

    run_async(lose())
