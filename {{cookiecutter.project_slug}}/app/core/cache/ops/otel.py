"""Spans and metrics for OpenTelemetry, by its API, which FastAPI brings. Without an SDK they cost little.

CacheTelemetry(get_cache_manager())     # once, when the application is made
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace

from ..events import CacheEvent

if TYPE_CHECKING:
    from ..manager import CacheManager

_CALLS = frozenset({"hit", "stale", "shared", "miss", "bypass"})
_RUNS = frozenset({"stored", "refused", "raised"})
_NAME = "cache"


class CacheTelemetry:
    """The spans and metrics of one cache, from now on; the global providers are the default.

    A span `cache.get` is a call, `cache.fill` a run of the function that it led to. They are made when
    they have ended, as children of the span that is recorded then; where none is, there are none.
    Their attributes are `cache.outcome`, `cache.key_prefix`, `cache.reason`, `code.function.name`, and
    with `keys` also `cache.key`, which may hold what a user has sent.

    The metrics are the counter `cache.events`, and the histograms `cache.get.duration` and
    `cache.fill.duration`, in seconds. Their attributes hold neither keys nor what users send.
    """

    def __init__(
        self,
        manager: "CacheManager",
        *,
        keys: bool = False,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
        self._with_keys = keys
        self._events = meter.create_counter("cache.events", "{event}", "What the cache did.")
        self._gets = meter.create_histogram("cache.get.duration", "s", "How long calls took.")
        self._fills = meter.create_histogram("cache.fill.duration", "s", "How long functions ran.")
        self.end: Callable[[], None] = manager.observe(self._hear)
        """Ends it."""

    def _hear(self, event: CacheEvent) -> None:
        about = _about(event)
        self._events.add(event.number, about)
        if event.kind not in _CALLS and event.kind not in _RUNS:
            return
        is_call = event.kind in _CALLS
        if event.seconds:  # many at once have none
            (self._gets if is_call else self._fills).record(event.seconds, about)
        if trace.get_current_span().is_recording():
            self._add_span("cache.get" if is_call else "cache.fill", event, about)

    def _add_span(self, name: str, event: CacheEvent, about: dict[str, str]) -> None:
        end = time.time_ns()
        if self._with_keys and event.key:
            about = {**about, "cache.key": event.key}
        start = end - int(event.seconds * 1e9)
        span = self._tracer.start_span(name, attributes=about, start_time=start)
        if event.kind == "raised":
            span.set_status(trace.StatusCode.ERROR)
        span.end(end)


def _about(event: CacheEvent) -> dict[str, str]:
    """Return the attributes of an event; their values are bounded."""
    about = {
        "cache.outcome": "near hit" if event.near else event.kind,
        "cache.key_prefix": event.key_prefix,
        "cache.reason": event.reason,
        "code.function.name": event.function,
    }
    return {name: value for name, value in about.items() if value}
