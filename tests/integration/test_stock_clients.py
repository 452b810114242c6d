"""ttrpc clients that we did not write call every method, with stubs their own generators made from proto/."""
import os
import re
import shutil
import subprocess

import pytest
import ttrpc

STOCK = ttrpc.ROOT / "tests" / "stock"


def every_method():
    """The names in proto/, so that a method nobody calls here fails the test."""
    names = set()
    for proto in (ttrpc.ROOT / "proto" / "spawnd" / "v1").glob("*.proto"):
        service = None
        for line in proto.read_text().splitlines():
            if found := re.match(r"service (\w+)", line):
                service = found[1]
            if found := re.match(r"  rpc (\w+)", line):
                names.add(f"{service}.{found[1]}")
    return names


def build_go():
    out = ttrpc.ROOT / "build" / "stock" / "go"
    out.mkdir(parents=True, exist_ok=True)
    for name in ("main.go", "go.mod", "go.sum"):
        shutil.copy(STOCK / "go" / name, out / name)
    subprocess.run([str(STOCK / "go" / "generate"), str(ttrpc.ROOT / "proto"), str(out)], check=True)
    subprocess.run(["go", "build", "-o", "stock", "."], cwd=out, check=True)
    return out / "stock"


def build_rust():
    out = ttrpc.ROOT / "build" / "stock" / "rust"
    shutil.copytree(STOCK / "rust", out, dirs_exist_ok=True)
    subprocess.run(["cargo", "build", "--quiet", "--locked"], cwd=out, check=True, env=dict(os.environ, PROTO_DIR=str(ttrpc.ROOT / "proto")))
    return out / "target" / "debug" / "stock"


def called_methods(program, daemon):
    done = subprocess.run([str(program), str(daemon.socket)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=180, text=True)
    assert done.returncode == 0, done
    return set(re.findall(r"^ok (\w+\.\w+)$", done.stdout, re.M))


@pytest.mark.timeout(900)  # compilers on a busy machine
def test_go_calls_every_method(daemon):
    assert called_methods(build_go(), daemon) == every_method()


@pytest.mark.timeout(900)
def test_rust_calls_every_method(daemon):
    assert called_methods(build_rust(), daemon) == every_method()
