"""The metrics for Prometheus say what the events say, and their labels are bounded (promise P10)."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from fastapi import Response
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from ... import CacheEvent, CacheManager, MemoryBackend, cache_response
from ...ops import prometheus
from ...ops.prometheus import CacheMetrics
from ..package import ROOT, program


class Metered:
    """A cache with metrics of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.manager = CacheManager(MemoryBackend())
        self.metrics = CacheMetrics(self.manager, self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a time series."""
        return self.registry.get_sample_value(name, labels)

    def function(self, answer: Any, key_prefix: str = "data", **options: Any) -> Any:
        """Return a cached function that gives this answer."""

        @cache_response(self.manager, key_prefix, shared=True, **options)
        async def function() -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return function


@pytest.fixture
def metered() -> Metered:
    """Lend one."""
    return Metered()


async def test_p10_calls_and_runs_are_counted(metered: Metered) -> None:
    """By key prefix and outcome, with how long they took."""
    function = metered.function([1])
    for _ in range(4):
        await function()
    calls = {
        outcome: metered.value("cache_calls_total", key_prefix="data", outcome=outcome)
        for outcome in ("hit", "miss", "stale")
    }
    assert calls == {"hit": 3, "miss": 1, "stale": None}
    of_hits = {"key_prefix": "data", "outcome": "hit"}
    assert metered.value("cache_call_seconds_count", **of_hits) == 3
    seconds = metered.value("cache_call_seconds_sum", **of_hits)
    assert seconds is not None
    assert 0 < seconds < 10
    stored = {"key_prefix": "data", "outcome": "stored", "reason": ""}
    assert metered.value("cache_runs_total", **stored) == 1
    assert metered.value("cache_run_seconds_count", key_prefix="data") == 1


async def test_p10_refusals_have_a_reason(metered: Metered) -> None:
    """And so has what was raised."""
    await metered.function(Response("no", 503), "response")()
    with pytest.raises(LookupError):
        await metered.function(LookupError("no"), "error")()
    refused = {"key_prefix": "response", "outcome": "refused", "reason": "response"}
    assert metered.value("cache_runs_total", **refused) == 1
    raised = {"key_prefix": "error", "outcome": "raised", "reason": ""}
    assert metered.value("cache_runs_total", **raised) == 1


async def test_p10_methods_and_invalidations_are_counted(metered: Metered) -> None:
    """Those of the manager by their names."""
    await metered.manager.set("a", 1)
    await metered.manager.get("a")
    await metered.manager.get_many(["a", "b", "c"])
    await metered.manager.invalidate_tags("x", "y")
    assert metered.value("cache_calls_total", key_prefix="get", outcome="hit") == 1
    assert metered.value("cache_calls_total", key_prefix="get_many", outcome="miss") == 2
    assert metered.value("cache_invalidations_total", what="tag") == 2


def test_p10_every_kind_of_event_has_a_metric(metered: Metered) -> None:
    """Also those that come from servers."""
    tell = metered.manager.events.tell
    for kind in ("failed", "breaker opened"):
        tell(CacheEvent(kind, reason="redis at a:1"))
    for kind in ("deferred", "delivered", "lost"):
        tell(CacheEvent(kind, number=3))  # type: ignore[arg-type] # in a loop
    tell(CacheEvent("near cache flushed", number=7))
    assert metered.value("cache_failures_total", server="redis at a:1") == 1
    assert metered.value("cache_breaker_open", server="redis at a:1") == 1
    tell(CacheEvent("breaker closed", reason="redis at a:1"))
    assert metered.value("cache_breaker_open", server="redis at a:1") == 0
    for what in ("deferred", "delivered", "lost"):
        assert metered.value("cache_pending_invalidations_total", what=what) == 3
    assert metered.value("cache_near_flushes_total") == 1


async def test_p10_labels_are_bounded(metered: Metered, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever users send, and however many functions there are."""
    monkeypatch.setattr(prometheus, "MOST_PREFIXES", 3)
    for number in range(10):
        await metered.function([1], f"prefix{number}", key=f"of:{number}")()
    for number in range(100):
        await metered.manager.get(f"secret:{number}")
    told = [
        sample
        for family in metered.registry.collect()
        for sample in family.samples
        if family.name == "cache_calls"
    ]
    assert {sample.labels["key_prefix"] for sample in told} == {
        *(f"prefix{number}" for number in range(3)),
        "other",
    }
    assert not any("secret" in str(sample) for sample in told)
    others = metered.value("cache_calls_total", key_prefix="other", outcome="miss")
    assert others == 107


async def test_p10_it_ends(metered: Metered) -> None:
    """And keeps what was counted."""
    await metered.manager.get("a")
    metered.metrics.end()
    await metered.manager.get("a")
    assert metered.value("cache_calls_total", key_prefix="get", outcome="miss") == 1


def test_p10_processes_add_up(tmp_path: Path) -> None:
    """If they share a folder."""
    code = program(
        textwrap.dedent("""
        import asyncio, sys
        from starlette.requests import Request
        from {package} import CacheManager, MemoryBackend
        from {package}.ops.prometheus import CacheMetrics, metrics
        manager = CacheManager(MemoryBackend())
        CacheMetrics(manager)
        asyncio.run(manager.get("a"))
        if sys.argv[1:]:
            print(metrics(Request({"type": "http"})).body.decode())
    """)
    )
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    for _ in range(2):
        subprocess.run(command, env=environment, check=True, timeout=60)
    told = subprocess.run(
        [*command, "told"], env=environment, check=True, timeout=60, capture_output=True, text=True
    ).stdout
    samples = [
        sample
        for family in text_string_to_metric_families(told)
        for sample in family.samples
        if sample.name == "cache_calls_total"
    ]
    assert [sample.value for sample in samples] == [3]


def test_without_the_package_it_says_what_to_do() -> None:
    """And the rest of the cache works."""
    code = program(
        textwrap.dedent("""
        import sys
        sys.modules["prometheus_client"] = None
        import {package}
        try:
            import {package}.ops.prometheus
        except {package}.CacheConfigError as error:
            print(error)
    """)
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT)},
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    ).stdout
    assert "pip install prometheus-client" in told
