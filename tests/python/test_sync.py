"""The blocking API: on the same core, from any thread."""
import os
import subprocess
import sys
import threading

import pytest

import spawnd
from conftest import PACKAGE
from spawnd import sync


@pytest.fixture(autouse=True)
def ends(place):
    yield
    sync.close()


def talk(popen):
    with popen(["sh", "-c", 'while read line; do echo "got $line"; done; exit 4'], stdin=sync.PIPE, stdout=sync.PIPE) as process:
        process.stdin.write(b"one\n")
        process.stdin.flush()
        said = [process.stdout.readline(), process.poll()]
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
        process.stdin.write(b"two\nthree\n")
        process.stdin.close()
        said += list(process.stdout)
        said += [process.wait(timeout=30), process.returncode]
        process.kill()  # nothing, now
        return said


def test_as_popen():
    assert talk(sync.spawn) == talk(subprocess.Popen)


def test_communicate():
    kwargs = dict(stdin=sync.PIPE, stdout=sync.PIPE, stderr=sync.PIPE)
    args = ["sh", "-c", "cat; echo e >&2"]
    assert sync.spawn(args, **kwargs).communicate(b"x" * 500000) == subprocess.Popen(args, **kwargs).communicate(b"x" * 500000)


def test_from_many_threads():
    results = []

    def work(number):
        results.append(sync.run("sh", "-c", f"exit {number}").returncode)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(12))


def test_the_rest_of_it():
    with sync.events(types=["exited"]) as events:
        info = sync.start("sh", "-c", "echo kept", name="kept")
        assert sync.wait("kept", closed=True).code == 0
        assert next(events).process == info.id
    with sync.logs("kept") as logs:
        assert [piece.data for piece in logs] == [b"kept\n"]
    assert [one.name for one in sync.ps(all=True)] == ["kept"] and sync.get(info).closed
    sync.remove("kept")
    with pytest.raises(spawnd.NotFound):
        sync.get("kept")


def test_messages():
    code = f"import sys; sys.path.insert(0, {str(PACKAGE)!r}); import spawnd_child\nwith spawnd_child.attach() as c:\n for m in c: c.send(m.value)"
    with sync.fork(sys.executable, "-c", code, serialization="native") as child:
        child.send({"a": 1})
        assert child.receive(timeout=30).value == {"a": 1}
        with pytest.raises(TimeoutError):
            child.receive(timeout=0.01)
        child.disconnect()
        assert list(child.messages()) == []


def test_a_fork_of_ours_has_a_connection_of_its_own():
    assert sync.run("true").returncode == 0
    pid = os.fork()
    if not pid:
        os._exit(sync.run("sh", "-c", "exit 7").returncode)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert sync.run("sh", "-c", "exit 8").returncode == 8
