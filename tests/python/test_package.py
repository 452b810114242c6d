"""The package as people install it: in an environment of its own, from the folder, from the wheel's twin the sdist; its types; its
examples."""
import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys
import venv

import pytest

import backend
from conftest import BIN, BUILD, PACKAGE, ROOT

FOLDER = ROOT / "client" / "python"
DIRECTORY = BUILD / "python"


def call(*command, **kwargs):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, **kwargs)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def environment():
    """An environment with the newest protobuf and mypy, kept for the next run; the package in it is new each time."""
    path = DIRECTORY / "environment"
    if not (path / "complete").exists():
        shutil.rmtree(path, ignore_errors=True)
        venv.create(path, with_pip=True)
        call(path / "bin" / "pip", "install", "-q", "protobuf", "mypy", "types-protobuf")
        (path / "complete").touch()
    call(path / "bin" / "pip", "install", "-q", "--no-index", "--force-reinstall", "--no-deps", FOLDER)
    return path / "bin"


def examples(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", [FOLDER / "README.md", ROOT / "docs" / "PYTHON.md"], ids=lambda page: page.name)
def test_examples_run_as_installed(place, environment, tmp_path, page):
    """With the newest protobuf; the other tests have the system's."""
    found = examples(page)
    assert found
    for number, text in enumerate(found):
        script = tmp_path / f"example{number}.py"
        script.write_text(text)
        call(environment / "python", "-W", "error", script, cwd=tmp_path)


def test_what_the_readme_shows_is_what_comes(place, environment, tmp_path):
    shown = [call(environment / "python", "-c", text, cwd=tmp_path) for text in examples(FOLDER / "README.md")]
    assert shown == ["apple\npear\n2:box\n", "Linux\n"]


def test_an_sdist_needs_no_protoc(environment, tmp_path):
    sdist = tmp_path / backend.build_sdist(str(tmp_path))
    call(environment / "pip", "install", "-q", "--no-index", "--no-deps", "--target", tmp_path / "there", sdist,
         env=dict(os.environ, PATH=f"{environment}:{tmp_path}"))
    made = {path.relative_to(tmp_path / "there").as_posix() for path in (tmp_path / "there").rglob("*") if path.is_file()}
    assert {"spawnd/v1/processes_pb2.py", "spawnd/v1/processes_pb2.pyi", "spawnd/py.typed", "spawnd_child.py"} <= made


def test_types_are_strict(environment, tmp_path):
    mypy = [environment / "mypy", "--config-file", FOLDER / "pyproject.toml", "--cache-dir", DIRECTORY / "mypy"]
    call(*mypy, "-p", "spawnd", cwd=PACKAGE)
    user = tmp_path / "user.py"
    user.write_text("""
import asyncio
import spawnd
from spawnd import sync

async def main() -> int:
    done = await spawnd.run("ls", cwd="/", timeout=3.5, check=True)
    async with await spawnd.spawn(["cat"], stdin=spawnd.PIPE, stdout=spawnd.PIPE, env={"A": "b"}) as child:
        assert child.stdin and child.stdout
        child.stdin.write(b"x")
        lines: list[bytes] = [line async for line in child.stdout]
    reveal_type(done.exit.reason)
    await spawnd.run("ls", nonsense=1)  # type: ignore[call-arg]
    return done.returncode + len(lines)

with sync.spawn("cat", stdout=sync.PIPE) as process:
    code: int = process.wait(timeout=1)
asyncio.run(main())
""")
    told = call(*mypy, "--warn-unused-ignores", user, env=dict(os.environ, MYPYPATH=str(PACKAGE)))
    assert 'Revealed type is "str"' in told or 'Revealed type is "builtins.str"' in told


def test_it_is_python_3_9():
    for path in PACKAGE.rglob("*.py"):
        ast.parse(path.read_text(), str(path), feature_version=(3, 9))


def test_it_has_the_version_of_the_whole():
    whole = re.search(r"VERSION (\d+\.\d+\.\d+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    assert backend._version() == whole


def test_a_daemon_is_started_when_there_is_none(tmp_path):
    """By many clients at once: one."""
    env = dict(os.environ, SPAWND_SOCKET=str(tmp_path / "made" / "s"), SPAWND_DAEMON=str(BIN / "spawnd"), PYTHONPATH=str(PACKAGE))
    script = "from spawnd import sync; c = sync.connect(); print(sync.run('sh', '-c', 'exit 7').returncode, c.socket)"
    started = [subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        assert [one.communicate(timeout=60)[0] for one in started] == [f"7 {env['SPAWND_SOCKET']}\n"] * 3
        assert call(sys.executable, "-c", "from spawnd import sync; print(len(sync.ps(all=True)))", env=env) == "3\n"
    finally:
        call(BIN / "spawnctl", "daemon", "stop", env=env)
    assert not pathlib.Path(env["SPAWND_SOCKET"]).exists()
