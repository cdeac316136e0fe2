"""A real Redis for a run of tests, found or started once; pytest's summary says which one it is.

A plugin of pytest of its own, beside that of the package: `docs/testing.md` shows how to use it.
PYTEST_DONT_REWRITE, for the same reason as there.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from .redis_server import NoRedisError, RedisServer
from .redis_server import redis_server as find

_REPORTED: Final = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> Iterator[RedisServer]:
    """Lend a Redis that can be stopped, started, paused and resumed, unless it was given by a URL."""
    report = pytestconfig.stash.setdefault(_REPORTED, []).append
    with ExitStack() as stack:
        try:
            server = stack.enter_context(find(report))
        except NoRedisError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        yield server


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print which Redis it was, once: fixtures' own output is not shown."""
    reported = config.stash.get(_REPORTED, [])
    for line in dict.fromkeys(reported):
        terminalreporter.write_line(line)
    reported.clear()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a process of several send that to the one that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["reported"] = session.config.stash.get(_REPORTED, [])  # pyright: ignore[reportAttributeAccessIssue]


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    """Take what such a process has sent."""
    reported = node.config.stash.setdefault(_REPORTED, [])
    reported += getattr(node, "workeroutput", {}).get("reported", [])
