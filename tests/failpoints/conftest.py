"""The harness of the integration tests, and the load of those under chaos."""
import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "integration"), str(TESTS / "chaos")]

from harness import client, daemon, make_daemon  # noqa: E402,F401
