"""Fixtures of the integration tests."""
from harness import client, daemon, make_daemon  # noqa: F401
from users import open_daemon  # noqa: F401
