"""Outages: one line of log when a backend goes, one when it is back (promise P5)."""

import logging
from typing import Any

import pytest

from ... import CacheManager
from ...resilience.outage import Outage
from ..conftest import SixMethods
from ..package import NAME


async def test_p5_an_outage_of_any_backend_is_told_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the number of operations that failed in it, counted anew each time."""

    class Moody(SixMethods):
        away = False

        async def get(self, key: str) -> Any | None:
            if self.away:
                raise OSError("gone")
            return None

    manager = CacheManager(backend := Moody())
    for failures in (3, 2):
        backend.away = True
        for _ in range(failures):
            await manager.get("key")
        backend.away = False
        await manager.get("key")
        await manager.get("key")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    assert "Moody fails, going on without it: OSError: gone" in lines[0]
    assert "works again after 0.0 s; without it meanwhile: 3 operations" in lines[1]
    assert "without it meanwhile: 2 operations" in lines[3]


def test_p5_two_threads_may_end_one_outage(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of them fails, whichever step the other one is at."""
    outage = Outage("backend", logging.getLogger(__name__))
    outage.failed(OSError("gone"))

    def meanwhile() -> float:
        monkeypatch.undo()
        outage.worked()  # as another thread would, between two steps of this one
        return 0.0

    monkeypatch.setattr(f"{NAME}.resilience.outage.time.monotonic", meanwhile)
    outage.worked()
    outage.worked()
    assert "works again" in caplog.text
