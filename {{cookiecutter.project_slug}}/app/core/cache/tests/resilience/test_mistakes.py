"""A mistake in the code is not logged as an outage of the server, and the caller goes on all the same."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from ... import CacheManager, cache_response
from ...resilience.outage import Outage
from ..conftest import SixMethods

MISTAKES: list[Callable[[], Any]] = [
    lambda: int(None),  # type: ignore[call-overload] # that is the mistake
    lambda: None.name,  # type: ignore[attr-defined] # that is the mistake
    lambda: dict[str, int]()["key"],
    lambda: list[int]().pop(),
    lambda: 1 / 0,
    lambda: undefined,  # type: ignore[name-defined] # noqa: F821 - that is the mistake
    lambda: __import__("there_is_none"),
    lambda: (_ for _ in ()).throw(AssertionError("no")),
    lambda: (_ for _ in ()).throw(NotImplementedError()),
]
FAILURES = [
    OSError("gone"),
    ConnectionResetError(),
    TimeoutError("late"),
    EOFError(),
    RuntimeError("Event loop is closed"),
    ValueError("no number"),
]


class Wrong(SixMethods):
    """A backend that does something else than it should."""

    does: Callable[[], Any] = staticmethod(dict)

    async def get(self, key: str) -> Any | None:
        return self.does()


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_p5_a_mistake_is_logged_with_its_place_once(
    mistake: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """As an error, with where it was made; nothing says that a server fails."""
    cache, runs = CacheManager(backend := Wrong()), []
    backend.does = mistake

    @cache_response(cache, "f")
    async def function() -> str:
        runs.append(1)
        return "value"

    for _ in range(3):
        assert await cache.get("key", "default") == "default"
        assert await function() == "value"
    assert len(runs) == 3
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert record.levelno == logging.ERROR
    assert "an error in the code of the cache itself, or of its backend" in record.getMessage()
    assert __file__ in record.getMessage()
    assert record.exc_info is None  # whoever keeps records would keep all that it refers to
    backend.does = dict
    await cache.get("key")
    assert "works again" in caplog.text


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
async def test_p5_a_failure_is_an_outage(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """That of a network, of a server, or of a client's own kind."""
    outage = Outage("backend", logging.getLogger(__name__))
    for _ in range(3):
        outage.failed(failure)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "backend fails, going on without it" in record.getMessage()


async def test_p5_a_transport_that_closes_at_the_wrong_moment_is_an_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """CPython 3.13.0 raises `TypeError` there, from within asyncio: the connection failed."""
    outage = Outage("backend", logging.getLogger(__name__))
    try:
        asyncio.get_running_loop().call_later("x", print)  # type: ignore[arg-type] # it is wrong
    except TypeError as error:
        outage.failed(error)
    assert "backend fails" in caplog.text


def test_p5_different_mistakes_are_told_each_and_not_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """During an outage as well; twenty of them are enough."""
    outage = Outage("backend", logging.getLogger(__name__))
    outage.failed(OSError("gone"))
    source = "\n".join(f"f{number} = lambda: None + {number}" for number in range(30))
    made: dict[str, Any] = {}
    exec(source, made)
    for number in range(30):
        for _ in range(2):
            try:
                made[f"f{number}"]()
            except TypeError as error:
                outage.failed(error)
    assert len(caplog.records) == 1 + 20
