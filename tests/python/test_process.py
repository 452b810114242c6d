"""What a process on its stream can do that subprocess cannot, and back-pressure both ways."""
import asyncio
import os
import subprocess

import pytest

import spawnd

PIPE = subprocess.PIPE
MIB = 1 << 20


def test_a_reader_that_waits_holds_the_child(run_async):
    async def read():
        async with await spawnd.spawn("sh", "-c", "head -c 50000000 /dev/zero; echo done >&2", stdout=PIPE, stderr=PIPE,
                                      window=1 << 18) as process:
            while process.stdout.buffered < 1 << 18:
                await asyncio.sleep(0)  # a turn of the loop: what has come is taken in
            held = process.stdout.buffered
            assert not process.stderr.buffered
            size = 0
            async for chunk in process.stdout.chunks():
                size += len(chunk)
            assert await process.stderr.read() == b"done\n"
            record = await process.wait_closed()
            return held, size, record.output[1]

    assert run_async(read()) == (1 << 18, 50000000, spawnd.SlotTotal(50000000, 50000000 - (1 << 18), True))


def test_a_slot_that_nobody_reads_does_not_stop_the_other(run_async):
    async def read():
        async with await spawnd.spawn("sh", "-c", "head -c 900000 /dev/zero >&2; seq 100000", stdout=PIPE, stderr=PIPE) as process:
            return len([line async for line in process.stdout])

    assert run_async(read()) == 100000


def test_a_writer_waits_for_the_child(run_async):
    async def write():
        async with await spawnd.spawn("sh", "-c", "read go; wc -c", stdin=PIPE, stdout=PIPE) as process:
            process.stdin.write(b"x" * (8 * MIB))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(process.stdin.drain(), 0.05)
            process.stdin.write(b"\n" + b"y" * 1000)
            await asyncio.gather(process.stdin.drain(), asyncio.sleep(0))
            process.stdin.close()
            await process.stdin.wait_closed()
            return int(await process.stdout.read())

    assert run_async(write()) == 1000


def test_a_line_longer_than_the_window_is_told(run_async):
    async def read():
        async with await spawnd.spawn("sh", "-c", "head -c 200000 /dev/zero; echo", stdout=PIPE, window=1 << 16) as process:
            with pytest.raises(ValueError):
                await process.stdout.readline()
            return len(await process.stdout.readexactly(200001))

    assert run_async(read()) == 200001


def test_leaving_a_block_ends_the_process(run_async):
    async def leave():
        async with await spawnd.spawn("cat", stdin=PIPE, stdout=PIPE) as process:
            process.stdin.write(b"never read")
        assert process.returncode == 0
        with pytest.raises(KeyError):
            async with await spawnd.spawn("sh", "-c", "sleep 1000 & sleep 1000") as process:
                raise KeyError("anything")
        assert process.exit.reason == "stopped"
        return await spawnd.ps()

    assert run_async(leave()) == []


def test_a_cancelled_run_stops_its_tree(run_async):
    async def cancel():
        events = await spawnd.events(types=["closed"])
        task = asyncio.ensure_future(spawnd.run("sh", "-c", "echo; sleep 1000 & sleep 1000", name="run"))
        started = await spawnd.events(types=["spawned"], since_seq=1)
        await started.__anext__()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (await events.__anext__()).exit.reason

    assert run_async(cancel()) == "stopped"


def test_stop_takes_the_tree_and_says_so(run_async):
    async def stop():
        process = await spawnd.spawn("sh", "-c", "setsid sleep 1000 & echo; sleep 1000", stdout=PIPE)
        await process.stdout.readline()
        killed = await process.stop(grace=5)
        return len(killed.ended), killed.survived, killed.exit.signal, await process.wait()

    assert run_async(stop()) == (3, [], 15, -15)


def test_a_timeout_of_the_daemons(run_async):
    async def expire():
        async with await spawnd.spawn("sleep", "1000", timeout=0.1) as process:
            return await process.wait(), (await process.wait_closed()).reason

    assert run_async(expire()) == (-15, "timeout")


def test_a_grandchild_that_holds_the_pipe(run_async):
    async def hold():
        done = await spawnd.run("sh", "-c", "sleep 1000 & echo out", stdout=PIPE, drain_timeout=0.1)
        return done.stdout, done.returncode, done.exit.drain_timed_out

    assert run_async(hold()) == (b"out\n", 0, True)


def test_a_terminal(run_async):
    async def terminal():
        async with await spawnd.spawn("sh", "-c", "stty size; read x; stty size; tty", pty=(30, 100)) as process:
            first = await process.stdout.readline()
            process.resize(40, 120)
            process.stdin.write(b"go\n")
            return first, (await process.stdout.read()).split()[1:3]

    first, size = run_async(terminal())
    assert (first, size) == (b"30 100\r\n", [b"40", b"120"])


def test_more_pipes(run_async):
    async def pipes():
        async with await spawnd.spawn("sh", "-c", "read x <&5; echo got $x >&5", fds={5: PIPE}) as process:
            process.inputs[5].write(b"five\n")
            return await process.outputs[5].readline()

    assert run_async(pipes()) == b"got five\n"


def test_in_the_background(run_async, tmp_path):
    async def background():
        info = await spawnd.start("sh", "-c", "seq 1 1000; exit 3", name="counter", labels={"a": "b"}, log_file=tmp_path / "log")
        record = await spawnd.wait("counter", closed=True)
        assert record.returncode == 3 and record.output[1].complete
        output = b"".join([piece.data async for piece in await spawnd.logs("counter")])
        rest = b"".join([piece.data async for piece in await spawnd.logs(info, offsets={1: 3883})])
        assert (output[:4], output[-5:], rest) == (b"1\n2\n", b"1000\n", b"99\n1000\n"[-10:] if len(rest) == 8 else rest)
        assert (tmp_path / "log").read_bytes() == output
        found = await spawnd.ps(all=True, labels={"a": "b"})
        assert [(one.id, one.name, one.state, one.args) for one in found] == [(info.id, "counter", "exited", ["sh", "-c", "seq 1 1000; exit 3"])]
        assert (await spawnd.get(info.id)).spec.log_file.path == os.fsencode(tmp_path / "log")
        with pytest.raises(spawnd.AlreadyExists):
            await spawnd.start("true", name="counter")
        await spawnd.remove("counter")
        with pytest.raises(spawnd.NotFound):
            await spawnd.get("counter")
        with pytest.raises(spawnd.InvalidArgument) as caught:
            await spawnd.start("true", name="no spaces")
        return caught.value.field

    assert run_async(background()) == "spec.name"


def test_attach_and_follow(run_async):
    async def follow():
        await spawnd.start("sh", "-c", "echo first; while read line; do echo got $line; done", name="talker", stdin=PIPE)
        async with await spawnd.attach("talker", retained=True) as process:
            assert await process.stdout.readline() == b"first\n"
            process.stdin.write(b"hello\n")
            assert await process.stdout.readline() == b"got hello\n"
        async with await spawnd.logs("talker", follow=True) as logs:
            assert (await logs.__anext__()).data.startswith(b"first\n")
        assert (await spawnd.ps())[0].state == "running"
        with pytest.raises(TimeoutError):
            await spawnd.wait("talker", timeout=0.05)
        assert (await spawnd.send_signal("talker", 0)).survived is not None
        assert (await spawnd.stop("talker")).survived == []
        with pytest.raises(ProcessLookupError):
            await spawnd.send_signal("talker", 15)

    run_async(follow())


def test_events(run_async):
    async def watch():
        async with await spawnd.events(types=["spawned", "exited", "spawn_failed"]) as events:
            await spawnd.run("sh", "-c", "exit 7", name="seven")
            spawned, exited = await events.__anext__(), await events.__anext__()
            assert (spawned.type, spawned.name, spawned.args) == ("spawned", "seven", ["sh", "-c", "exit 7"])
            assert (exited.type, exited.process, exited.exit.code) == ("exited", spawned.process, 7)
            for _ in range(100):  # more than the messages that may be under way
                await spawnd.run("true")
            kinds = [(await events.__anext__()).type for _ in range(200)]
            return kinds == ["spawned", "exited"] * 100

    assert run_async(watch())


def test_where_no_daemon_is(run_async, tmp_path):
    async def connect():
        with pytest.raises(ConnectionError) as caught:
            await spawnd.connect(tmp_path / "none", autostart=False)
        return type(caught.value), caught.value.code

    assert run_async(connect()) == (spawnd.Unavailable, "ENOENT")


def test_options_that_are_wrong(run_async):
    async def wrong():
        for kwargs, error in (({"nonsense": 1}, TypeError), ({"kill_scope": "all"}, ValueError), ({"timeout": -1}, ValueError)):
            with pytest.raises(error):
                await spawnd.spawn("true", **kwargs)
        with pytest.raises(ValueError):
            await spawnd.spawn()
        with pytest.raises(TypeError):
            await spawnd.spawn("sleep", 1)

    run_async(wrong())
