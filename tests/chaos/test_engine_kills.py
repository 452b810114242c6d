"""Random kill -9 of the engine under load, and upgrades: children writing at full speed, stdin flowing, known exit codes, log files
rotated, signals and stops, spawns in flight.

SPAWND_KILLS says how many kills (10 without it; ./dev chaos takes 500). Every run prints when the kills came."""
import itertools
import os
import shutil
import signal

import ttrpc
from endurance import PHASES, endure
from ttrpc import RpcError, admin

KILLS = int(os.environ.get("SPAWND_KILLS", "10"))


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
