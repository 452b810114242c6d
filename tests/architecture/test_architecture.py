"""Rules of the tree that would rot as sentences: direction of includes, one door per dangerous act, a tour that is complete."""
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOUR = (ROOT / "docs" / "ARCHITECTURE.md").read_text()

# room: the rooms whose headers it may include
ALLOWED = {
    "base": set(),
    "link": {"base"},
    "keeper": {"link", "base"},
    "launcher": {"link", "base"},
    "wire": {"base"},
    "rpc": {"wire", "base"},
    "process": {"link", "base"},
    "channel": {"process", "link", "base"},
    "pool": {"channel", "process", "link", "base"},
    "service": {"rpc", "pool", "channel", "process", "base"},
    "engine": {"service", "pool", "channel", "process", "rpc", "link", "base"},
}

# a dangerous act, and the files that may do it
DOORS = {
    r"\bclone\(|SYS_clone3|__NR_clone3|\bv?fork\(": {"daemon/launcher/spawn.c", "daemon/keeper/start.c", "daemon/base/background.c"},
    r"\bsys_waitid\(|\bwaitpid\(|\bwait4\(": {"daemon/keeper/reap.c"},
    r"\bSCM_RIGHTS\b": {"daemon/base/fdpass.c"},
    r"\bf?execve\(|\bexecv[pe]*\(|\bexecl[pe]*\(": {"daemon/launcher/child.c", "daemon/keeper/start.c"},
    r"\bsys_kill\(|[^_.a-z]kill\(|\bsys_pidfd_send_signal\(": {"daemon/keeper/orders.c"},
    r"#include <event2?/|#include <event2": {"daemon/base/loop.c"},
    r"\bsystem\(|\bpopen\(": set(),
}


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [line for line in out.splitlines() if (ROOT / line).exists()]


def code(path):
    """A C file without comments and strings."""
    text = (ROOT / path).read_text()
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', lambda m: '""' if m[0][0] == '"' else " ", text, flags=re.S)


def test_includes_go_one_way():
    wrong = []
    for path in tracked("daemon/*/*.c", "daemon/*/*.h"):
        room = path.split("/")[1]
        for included in re.findall(r'#include "([a-z]+)/', (ROOT / path).read_text()):
            if included in ALLOWED and included != room and included not in ALLOWED[room]:
                wrong.append(f"{path} includes {included}/")
    assert not wrong, wrong


def test_each_dangerous_act_has_one_door():
    wrong = []
    for path in tracked("daemon/*/*.c"):
        if path == "daemon/base/sys.c":
            continue
        text = code(path)
        raw = (ROOT / path).read_text()
        for act, doors in DOORS.items():
            where = raw if act.startswith("#include") else text
            if re.search(act, where) and path not in doors:
                wrong.append(f"{path}: {re.search(act, where)[0]}")
    assert not wrong, wrong


def test_the_tour_names_every_room_and_file():
    missing = [path for path in tracked("daemon/*/*.c", "daemon/*/*.h", "client/*.c", "client/*.h", "client/*/*.c")
               if pathlib.Path(path).stem not in TOUR]
    assert not missing, missing


def test_the_tour_names_nothing_that_is_gone():
    files = {pathlib.Path(path).name for path in tracked()} | {"spawnd.h"}
    gone = [name for name in re.findall(r"`([a-z_]+\.[ch])`", TOUR) if name not in files]
    assert not gone, gone


def test_the_keeper_stays_small():
    lines = sum(len((ROOT / path).read_text().splitlines()) for path in tracked("daemon/keeper/*.c", "daemon/keeper/*.h"))
    assert lines < 1000, lines


def test_every_method_of_the_proto_is_documented_where_promised():
    for path in tracked("proto/spawnd/v1/*.proto"):
        text = (ROOT / path).read_text()
        assert "option go_package" in text, path
