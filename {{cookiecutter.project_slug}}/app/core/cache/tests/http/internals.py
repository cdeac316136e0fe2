"""What the tests of hits before routing reach into beyond the public API, as in `tests/internals.py`."""

import dataclasses
import time
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from ...calls import EXCHANGE
from ...http import answer, early, middleware


class Clock:
    """The time by which entries age and responses tell their freshness; it stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = float(int(time.time()))
        stopped = SimpleNamespace(time=lambda: self.seconds)
        for module in (answer, early, middleware):
            monkeypatch.setattr(module, "time", stopped)

    def rules(self, function: Any) -> None:
        """Let this be the time for the entries of a cached function."""
        calls = function.calls
        calls.freshness = dataclasses.replace(calls.freshness, now=lambda: self.seconds)


def was_early(scope: Any) -> bool:
    """Return whether a request was answered before routing, by what its scope has afterwards."""
    return "route" in scope and EXCHANGE not in scope


def targets_of(app: FastAPI) -> early.Targets:
    """Return what the middleware of an application remembers of targets."""
    found: Any = app.middleware_stack
    while not isinstance(found, middleware.CacheMiddleware):
        found = found.app
    return found._targets
