"""What the README shows is what happens: its tour, command by command, and its C example against an installed tree."""
import os
import re
import subprocess

import ttrpc
from harness import BIN

README = (ttrpc.ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S)
MARK = "<--- end of one command --->"


def tour():
    """(command, what it prints) in the order of the page."""
    for language, block in BLOCKS:
        if language == "" and block.startswith("$ "):
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                yield tuple(part.split("\n", 1))


def environment(tmp_path):
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    path = f"{BIN}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "XDG_RUNTIME_DIR": str(run), "SPAWND_SOCKET": "", "SPAWND_DAEMON": ""}


def comparable(text):
    """Pids differ from run to run, the way to a tree from machine to machine, and two streams have no order between them."""
    text = re.sub(r'"ended":\[(\d+(,\d+)*)\]', lambda found: '"ended":[%d pids]' % (found[1].count(",") + 1), text)
    return sorted(re.sub(r'"method":"(cgroup|freezer|sweep)"', '"method":"one of three"', text).splitlines())


def test_the_tour(tmp_path):
    steps = list(tour())
    assert len(steps) >= 13
    script = "".join(f"{command}\nstatus=$?; echo '{MARK}'; (exit $status)\n" for command, _ in steps)
    env = environment(tmp_path)
    try:
        done = subprocess.run(["bash"], input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=tmp_path, text=True, timeout=100)
    finally:
        subprocess.run([BIN / "spawnctl", "daemon", "stop"], env=env, check=True, timeout=60)
    for (command, expected), printed in zip(steps, done.stdout.split(f"{MARK}\n")):
        assert comparable(printed) == comparable(expected), command


def test_the_c_example_with_an_installed_library(daemon, tmp_path):
    prefix, source = tmp_path / "prefix", tmp_path / "example.c"
    subprocess.run(["cmake", "--install", ttrpc.BUILD, "--prefix", prefix], stdout=subprocess.DEVNULL, check=True, timeout=100)
    [example] = [block for language, block in BLOCKS if language == "c"]
    body = example.replace("#include <spawnd.h>\n", "")
    source.write_text(f"#include <spawnd.h>\n#include <stdio.h>\nint main(void) {{\n{body}\nreturn 0;\n}}\n")
    [pc] = prefix.rglob("spawnd.pc")
    env = dict(daemon.env, PKG_CONFIG_PATH=str(pc.parent), LD_LIBRARY_PATH=str(pc.parent.parent))
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "spawnd"], env=env, stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    if os.environ.get("SPAWND_SANITIZED"):
        flags.append("-fsanitize=address,undefined")  # as the library is
    subprocess.run(["cc", source, "-o", tmp_path / "example", *flags], check=True, timeout=100)
    done = subprocess.run([tmp_path / "example"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"apple\npear\n", b"")
