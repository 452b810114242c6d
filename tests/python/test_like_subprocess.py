"""The same call through subprocess, asyncio.subprocess and spawnd gives the same result, output and exception."""
import asyncio
import os
import signal
import subprocess

import pytest

import spawnd
from spawnd import sync

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL

CALLS = [
    ("output and a code", ["sh", "-c", "echo out; echo err >&2; exit 3"], dict(capture_output=True)),
    ("a signal", ["sh", "-c", "kill -KILL $$"], dict(capture_output=True)),
    ("a caught signal's code", ["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"], dict(capture_output=True)),
    ("input", ["sort"], dict(input=b"b\na\n", stdout=PIPE)),
    ("input that nobody reads", ["true"], dict(input=b"x" * 300000)),
    ("text", ["sort"], dict(input="zwölf\r\nä\n", stdout=PIPE, text=True)),
    ("an encoding", ["printf", "\\344\\366"], dict(stdout=PIPE, encoding="latin-1")),
    ("errors of an encoding", ["printf", "a\\377b"], dict(stdout=PIPE, encoding="utf-8", errors="replace")),
    ("bytes that are no text", ["printf", "\\377\\376\\000x"], dict(stdout=PIPE)),
    ("stderr into stdout", ["sh", "-c", "echo a; echo b >&2; echo c"], dict(stdout=PIPE, stderr=STDOUT)),
    ("nowhere", ["sh", "-c", "echo a; echo b >&2"], dict(stdout=DEVNULL, stderr=DEVNULL)),
    ("no input", ["cat"], dict(stdin=DEVNULL, stdout=PIPE)),
    ("a shell line", "echo $((6*7)) | tr 2 3; exit 5", dict(shell=True, stdout=PIPE)),
    ("an environment", ["/usr/bin/env", "-u", "SPAWND_ID"], dict(env={"A": "1", "B": "two words"}, stdout=PIPE)),
    ("an environment of bytes", ["/usr/bin/env", "-u", "SPAWND_ID"], dict(env={b"A": b"\xff"}, stdout=PIPE)),
    ("a directory", ["pwd"], dict(cwd="/usr", stdout=PIPE)),
    ("another argv[0]", ["other", "-c", "tr '\\0' ' ' </proc/$$/cmdline"], dict(executable="/bin/sh", stdout=PIPE)),
    ("umask", ["sh", "-c", "umask"], dict(umask=0o077, stdout=PIPE)),
    ("much output on two pipes", ["sh", "-c", "seq 200000; seq 200000 >&2"], dict(capture_output=True)),
    ("checked", ["false"], dict(check=True)),
    ("checked, with output", ["sh", "-c", "echo x; exit 9"], dict(check=True, capture_output=True)),
    ("no program", ["/nonexistent", "a"], {}),
    ("no such name", ["no-such-program-anywhere"], {}),
    ("not executable", ["/etc/passwd"], {}),
    ("a directory as program", ["/tmp"], {}),
    ("no directory", ["true"], dict(cwd="/nonexistent")),
    ("a file as directory", ["true"], dict(cwd="/etc/passwd")),
    ("PATH of the environment", ["true"], dict(env={"PATH": "/nonexistent"})),
    ("both input and stdin", ["true"], dict(input=b"", stdin=DEVNULL)),
    ("both captured and told", ["true"], dict(capture_output=True, stdout=PIPE)),
    ("a NUL byte", ["echo", "a\0b"], {}),
]


def outcome(function, *args, **kwargs):
    """What a call did, with exceptions by what `except` clauses see of them."""
    try:
        done = function(*args, **kwargs)
    except subprocess.CalledProcessError as error:
        return "CalledProcessError", error.returncode, error.cmd, error.stdout, error.stderr
    except OSError as error:
        kind = next(base for base in type(error).__mro__ if base.__module__ == "builtins")
        return kind.__name__, error.errno, error.filename
    except ValueError:
        return "ValueError"
    return done.args, done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("args, kwargs", [call[1:] for call in CALLS], ids=[call[0].replace(" ", "-") for call in CALLS])
def test_run_as_subprocess_does(place, run_async, args, kwargs):
    async def ours():
        return await spawnd.run(args, **kwargs)

    expected = outcome(subprocess.run, args, **kwargs)
    assert outcome(lambda: run_async(ours())) == expected
    assert outcome(sync.run, args, **kwargs) == expected


@pytest.fixture(autouse=True)
def fresh_sync():
    """Each test has a daemon of its own: so has the client of spawnd.sync."""
    yield
    sync.close()


def test_a_timeout_raises_with_the_output_so_far(run_async):
    args = ["sh", "-c", "echo so far; sleep 1000"]
    seen = []
    for run in (subprocess.run, lambda *a, **k: run_async(spawnd.run(*a, **k)), sync.run):
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            run(args, stdout=PIPE, timeout=0.5)
        seen.append((caught.value.cmd, caught.value.timeout, caught.value.output, caught.value.stderr))
    assert seen == [seen[0]] * 3


def test_what_this_process_changes_is_what_children_get(run_async, tmp_path, monkeypatch):
    async def look():
        return (await spawnd.run("sh", "-c", "pwd; echo $ADDED-$CHANGED-$HOME; umask; ulimit -n", stdout=PIPE)).stdout

    async def changes():
        monkeypatch.setenv("CHANGED", "before")
        before = await look()
        assert before == subprocess.run(["sh", "-c", "pwd; echo $ADDED-$CHANGED-$HOME; umask; ulimit -n"], stdout=PIPE).stdout
        monkeypatch.setenv("ADDED", "1")
        monkeypatch.setenv("CHANGED", "2")
        monkeypatch.delenv("HOME")
        monkeypatch.chdir(tmp_path)
        umask = os.umask(0o027)
        try:
            after = await look()
            assert after == subprocess.run(["sh", "-c", "pwd; echo $ADDED-$CHANGED-$HOME; umask; ulimit -n"], stdout=PIPE).stdout
        finally:
            os.umask(umask)
        assert before != after

    run_async(changes())


def test_descriptors_of_ours(run_async, tmp_path):
    path = tmp_path / "out"
    with open(path, "wb") as out:
        run_async(spawnd.run("sh", "-c", "echo to a file; echo three >&3", stdout=out, fds={3: out}))
    assert path.read_bytes() == b"to a file\nthree\n"
    assert run_async(spawnd.run("sh", "-c", "cat; echo more", stdin=spawnd.File(path), stdout=spawnd.File(tmp_path / "new"))).returncode == 0
    assert (tmp_path / "new").read_bytes() == path.read_bytes() + b"more\n"
    assert run_async(spawnd.run("sh", "-c", "echo x", stdout=spawnd.File(path, "a"))).returncode == 0
    assert path.read_bytes().endswith(b"three\nx\n")


async def dialogue(create):
    """A conversation line by line, the same with either library."""
    process = await create("sh", "-c", 'while read line; do echo "got $line"; done; echo end >&2; exit 4', stdin=PIPE, stdout=PIPE, stderr=PIPE)
    said = []
    for word in (b"one", b"two"):
        process.stdin.write(word + b"\n")
        await process.stdin.drain()
        said.append(await process.stdout.readline())
    process.stdin.close()
    said.append(await process.stdout.read())
    said.append([line async for line in process.stderr])
    said.append((await process.wait(), process.returncode, process.stdout.at_eof()))
    return said


def test_a_dialogue(run_async):
    expected = asyncio.run(dialogue(asyncio.create_subprocess_exec))
    assert run_async(dialogue(spawnd.spawn)) == expected
    assert expected[-1] == (4, 4, True)


async def reading(create):
    process = await create("printf", "0123456789abc|rest\\nlast", stdout=PIPE)
    said = [await process.stdout.read(3), await process.stdout.readexactly(4), await process.stdout.readuntil(b"|"),
            await process.stdout.readline(), await process.stdout.readline(), await process.stdout.readline()]
    with pytest.raises(asyncio.IncompleteReadError):
        await process.stdout.readexactly(1)
    return said, await process.wait()


def test_ways_to_read(run_async):
    assert run_async(reading(spawnd.spawn)) == asyncio.run(reading(asyncio.create_subprocess_exec))


async def ended(create, how):
    process = await create("sleep", "1000")
    how(process)
    return await process.wait()


@pytest.mark.parametrize("how", [lambda p: p.terminate(), lambda p: p.kill(), lambda p: p.send_signal(signal.SIGUSR1)])
def test_ways_to_end(run_async, how):
    assert run_async(ended(spawnd.spawn, how)) == asyncio.run(ended(asyncio.create_subprocess_exec, how))


def test_input_that_the_child_closed(run_async):
    async def write():
        async with await spawnd.spawn("sh", "-c", "exec 0<&-; echo closed; exec sleep 1000", stdin=PIPE, stdout=PIPE) as process:
            await process.stdout.readline()
            with pytest.raises(BrokenPipeError):
                while True:
                    process.stdin.write(b"x" * 65536)
                    await process.stdin.drain()
            process.kill()
            return await process.wait()

    assert run_async(write()) == -signal.SIGKILL
