"""The package as it is installed: built as a wheel, unpacked into the build directory, used with the real daemon."""
import asyncio
import os
import pathlib
import shutil
import sys
import tempfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
sys.path.insert(0, str(ROOT / "client" / "python" / "build_backend"))

import backend  # noqa: E402
from harness import BIN, BUILD, daemon, make_daemon  # noqa: E402,F401

PACKAGE = BUILD / "python" / "package"


def _unpack():
    shutil.rmtree(PACKAGE, ignore_errors=True)
    PACKAGE.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as directory:
        with zipfile.ZipFile(os.path.join(directory, backend.build_wheel(directory))) as wheel:
            wheel.extractall(PACKAGE)
    sys.path.insert(0, str(PACKAGE))


_unpack()


@pytest.fixture
def place(daemon, monkeypatch):  # noqa: F811
    """The daemon of this test is the one that clients find by themselves."""
    monkeypatch.setenv("SPAWND_SOCKET", str(daemon.socket))
    return daemon


@pytest.fixture
def run_async(place):
    """Runs a coroutine on a loop of its own, in which nothing may go unnoticed."""
    def run(coroutine):
        problems = []

        async def watched():
            asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
            return await coroutine

        result = asyncio.run(watched(), debug=True)
        assert not problems, problems
        return result

    return run
