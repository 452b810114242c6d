"""libspawnd from many threads, each with connections of its own, under the thread sanitizer (SPAWND_TSAN: that build)."""
import os
import pathlib
import subprocess

from harness import BIN

CLIENT = str(pathlib.Path(os.environ["SPAWND_TSAN"]).resolve() / "bin" / "test_threads")
THREADS, ROUNDS = (16, 100) if os.environ.get("SPAWND_FULL_SIZE") else (8, 6)


def run(socket):
    env = dict(os.environ, SPAWND_DAEMON=str(BIN / "spawnd"))
    done = subprocess.run([CLIENT, str(socket), str(THREADS), str(ROUNDS)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=200)
    assert done.stderr == b"" and done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) == THREADS * ROUNDS


def test_threads_with_a_daemon(daemon):
    run(daemon.socket)
    with daemon.client() as client:
        assert client.stats().processes == 0


def test_threads_start_one_daemon_together(tmp_path):
    socket = tmp_path / "private" / "s"
    try:
        run(socket)
    finally:
        subprocess.run([str(BIN / "spawnctl"), "--socket", str(socket), "--no-autostart", "daemon", "stop"], check=True,
                       stdout=subprocess.DEVNULL)
