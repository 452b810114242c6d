"""The harness of the integration tests, and its fixtures."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from harness import client, daemon, make_daemon  # noqa: E402,F401
