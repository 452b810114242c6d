"""The harness of the integration tests, the versions of Node, and the package installed as an application has it."""
import pathlib
import shutil
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "integration"), str(TESTS / "conformance")]

from harness import client, daemon, make_daemon  # noqa: E402,F401
import nodes  # noqa: E402
import ttrpc  # noqa: E402

PACKAGE = ttrpc.ROOT / "client" / "node"


def npm(*args, cwd):
    done = subprocess.run(["npm", *args], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def application(tmp_path_factory):
    """A directory with node_modules: what `npm pack` makes of the package, installed."""
    if not shutil.which("npm"):
        pytest.skip("npm is not there")
    place = tmp_path_factory.mktemp("application")
    (place / "package.json").write_text("{}")
    archive = npm("pack", "--silent", "--pack-destination", str(place), str(PACKAGE), cwd=place).split()[-1]
    npm("install", "--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline", str(place / archive), cwd=place)
    return place


@pytest.fixture(params=nodes.VERSIONS)
def node(request):
    return nodes.need(request.param)
