"""Random kill -9 of the engine under load, and upgrades: children writing at full speed, stdin flowing, known exit codes, log files
rotated, signals and stops, spawns in flight.

SPAWND_KILLS says how many kills (10 without it; ./dev chaos takes 500). Every run prints when the kills came."""
import itertools
import os
import select
import shutil
import signal

import ttrpc
from endurance import PHASES, endure
from ttrpc import RpcError, admin

KILLS = int(os.environ.get("SPAWND_KILLS", "10"))
PAUSE = 10 if os.environ.get("SPAWND_FULL_SIZE") else 2


def kill(daemon, engine):
    os.kill(engine, signal.SIGKILL)
    return 1


def upgrade_to(paths):
    """Upgrades to one program after the other; some are refused, as `paths` says."""
    paths = itertools.cycle(paths)

    def upgrade(daemon, engine):
        path, good = next(paths)
        try:
            with daemon.client() as client:
                client.call("Admin", "Upgrade", admin.UpgradeRequest(path=str(path).encode()), admin.UpgradeReply())
        except RpcError as refused:
            assert not good and "take over" in refused.message, refused
            return 0
        assert good, path
        return 1

    return upgrade


def test_nothing_is_lost(daemon, tmp_path):
    phases = endure(daemon, tmp_path, KILLS, kill)
    assert set(phases) == PHASES or KILLS < 100, f"a phase was never hit: {PHASES - set(phases)}"


def test_upgrades_lose_nothing(daemon, tmp_path):
    engine = ttrpc.BUILD / "bin" / "spawnd-engine"
    twin = tmp_path / "twin"
    shutil.copy(engine, twin)
    bad = [("/bin/false", False), (ttrpc.BUILD / "bin" / "test-engine-future", False)]
    endure(daemon, tmp_path, max(KILLS // 5, 4), upgrade_to([(twin, True), bad[0], (engine, True), bad[1]]))


def pause(daemon, engine):
    """Stops it for a while: its children write until they wait, its clients wait."""
    pidfd = os.pidfd_open(engine)
    os.kill(engine, signal.SIGSTOP)
    ended = select.select([pidfd], [], [], PAUSE)[0]
    os.kill(engine, signal.SIGCONT)
    os.close(pidfd)
    assert not ended
    return 0


def test_stops_lose_nothing(daemon, tmp_path):
    endure(daemon, tmp_path, 3, pause)
