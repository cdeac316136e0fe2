"""Metrics for Prometheus: counters and histograms of the events of a cache. Needs `prometheus-client`.

    CacheMetrics(get_cache_manager())       # once, when the application is made
    app.add_route("/metrics", metrics)

The names are those of https://prometheus.io/docs/practices/naming/. Several worker processes add up if
`PROMETHEUS_MULTIPROC_DIR` names an empty folder that all of them can write.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from ..errors import CacheConfigError

try:
    from prometheus_client import (
        CONTENT_TYPE_LATEST,
        REGISTRY,
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        generate_latest,
        multiprocess,
    )
except ImportError:  # the rest of this room does not need it
    raise CacheConfigError(
        "metrics for Prometheus need the Python package prometheus-client: "
        "pip install prometheus-client"
    ) from None

from ..events import CacheEvent

if TYPE_CHECKING:
    from ..manager import CacheManager

MOST_PREFIXES = 200
"""How many key prefixes have time series of their own; all others are called `other`."""
OTHER = "other"
CALL_BUCKETS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""In seconds: a hit takes microseconds, and a function may take seconds."""

_CALLS = frozenset({"hit", "stale", "shared", "miss", "bypass"})
_RUNS = frozenset({"stored", "refused", "raised"})
_PENDING = frozenset({"deferred", "delivered", "lost"})
_BREAKER = {"breaker opened": 1, "breaker closed": 0}


class CacheMetrics:
    """The metrics of one cache, from now on. `registry` is the one of `prometheus-client` by default.

    | metric | labels | what |
    |---|---|---|
    | `cache_calls_total` | `key_prefix`, `outcome` | calls by what became of them; a hit of the near cache is `near` |
    | `cache_call_seconds` | `key_prefix`, `outcome` | how long these calls took |
    | `cache_runs_total` | `key_prefix`, `outcome`, `reason` | runs of functions: stored, refused, raised |
    | `cache_run_seconds` | `key_prefix` | how long the functions ran |
    | `cache_invalidations_total` | `what` | keys, patterns and tags that were invalidated |
    | `cache_pending_invalidations_total` | `what` | those that were deferred, delivered late, or lost |
    | `cache_failures_total` | `server` | operations that failed |
    | `cache_breaker_open` | `server` | 1 while a server is not asked |
    | `cache_near_flushes_total` | | how often a connection, and with it near entries, was lost |

    The labels are bounded: `key_prefix` is that of a decorator, or the name of a method; after
    `MOST_PREFIXES` of them, further ones are `other`. No label holds a key, or what a user has sent.
    Raises `ValueError` for a second one in the same registry.
    """

    def __init__(self, manager: "CacheManager", registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"cache_{name}", what, labels, registry=registry)

        self._calls = counter("calls", "Calls.", "key_prefix", "outcome")
        self._runs = counter("runs", "Runs of functions.", "key_prefix", "outcome", "reason")
        self._invalidations = counter("invalidations", "Keys, patterns and tags.", "what")
        self._pending = counter("pending_invalidations", "Invalidations that waited.", "what")
        self._failures = counter("failures", "Operations that failed.", "server")
        self._flushes = counter("near_flushes", "Lost connections of the near cache.")
        self._call_seconds = Histogram(
            "cache_call_seconds",
            "How long calls took.",
            ("key_prefix", "outcome"),
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self._run_seconds = Histogram(
            "cache_run_seconds",
            "How long functions ran.",
            ("key_prefix",),
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self._breaker = Gauge(
            "cache_breaker_open",
            "1 while a server is not asked.",
            ("server",),
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self._prefixes: set[str] = set()
        self._known: dict[tuple[str, str, str, bool], tuple[Any, Any]] = {}
        """The time series of calls and runs, which are looked up once."""
        self.end: Callable[[], None] = manager.observe(self._hear)
        """Ends it: the metrics keep their values."""

    def _hear(self, event: CacheEvent) -> None:
        kind = event.kind
        if kind in _CALLS or kind in _RUNS:
            place = kind, event.key_prefix or event.function, event.reason, event.near
            known = self._known.get(place) or self._series(*place)
            known[0].inc(event.number)
            if known[1] is not None and event.seconds:  # many at once have none
                known[1].observe(event.seconds)
        elif kind == "invalidated":
            self._invalidations.labels(event.reason).inc(event.number)
        elif kind in _PENDING:
            self._pending.labels(kind).inc(event.number)
        elif kind == "failed":
            self._failures.labels(event.reason).inc()
        elif kind in _BREAKER:
            self._breaker.labels(event.reason).set(_BREAKER[kind])
        else:
            self._flushes.inc()

    def _series(self, kind: str, prefix: str, reason: str, near: bool) -> tuple[Any, Any]:
        """Return the counter and the histogram of calls, or of runs, of one kind."""
        place = kind, prefix, reason, near
        if prefix not in self._prefixes and len(self._prefixes) >= MOST_PREFIXES:
            prefix = OTHER
        self._prefixes.add(prefix)
        if kind in _RUNS:
            counted = self._runs.labels(prefix, kind, reason), self._run_seconds.labels(prefix)
        else:
            labels = prefix, "near" if near else kind
            counted = self._calls.labels(*labels), self._call_seconds.labels(*labels)
        if prefix != OTHER:
            self._known[place] = counted
        return counted


def _forget_the_dead(folder: Path) -> None:
    """Remove the gauges of processes that are no more: their servers are asked by nobody."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call] # theirs
        except (ValueError, PermissionError):  # no file of theirs, or it lives
            continue


def metrics_of(registry: CollectorRegistry) -> Callable[[Request], Response]:
    """Return an endpoint that shows a registry: for all worker processes, if they share a folder."""

    def endpoint(_: Request) -> Response:
        shown = registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            _forget_the_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
            shown = CollectorRegistry()
            multiprocess.MultiProcessCollector(shown)  # type: ignore[no-untyped-call] # theirs
        return Response(generate_latest(shown), media_type=CONTENT_TYPE_LATEST)

    return endpoint


metrics = metrics_of(REGISTRY)
"""The endpoint for the registry of `prometheus-client`."""
