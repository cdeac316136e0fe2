"""What is counted of a cache: numbers that a process publishes, and that others read."""

import json
from functools import cache
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter

MOST_PREFIXES = 100
"""How many key prefixes have counters of their own; what all others do is counted as `OTHER`."""
MOST_WORDS = 40
"""How many reasons, or servers, are counted by themselves."""
OTHER = "(other)"
BOUNDS = tuple([2.0**power for power in range(-17, 5)])
"""Seconds, from 8 microseconds to 16 seconds, between which durations are counted.

`times[0]` is how many were shorter than the first, and `times[i]` how many from `BOUNDS[i - 1]` on.
"""
MOST_BYTES = 20_000
"""The most bytes that a process publishes; of more key prefixes, the less busy ones count as `OTHER`."""

Name = Annotated[str, Field(max_length=400)]
Count = Annotated[int, Field(ge=0, lt=2**53)]  # what JavaScript counts exactly
Seconds = Annotated[float, Field(ge=0, lt=1e12)]
Words = Annotated[dict[Name, Count], Field(max_length=MOST_WORDS + 1)]
Times = Annotated[list[Count], Field(min_length=len(BOUNDS) + 1, max_length=len(BOUNDS) + 1)]


class PrefixCounters(NamedTuple):
    """What became of the calls of the functions with one `key_prefix`, and of their runs.

    The calls of `get`, `get_or_set` and `get_many` count under the name of the method.
    """

    hits: Count
    """From the backend."""
    near_hits: Count
    stale: Count
    shared: Count
    misses: Count
    bypasses: Words
    """By reason."""
    stored: Count
    refused: Words
    """By reason."""
    raised: Count
    hit_seconds: Seconds
    """How long the hits took, near ones too, in all."""
    hit_times: Times
    """How many hits took how long: see `BOUNDS`."""
    fill_seconds: Seconds
    """How long the functions ran, in all."""
    fill_times: Times

    @property
    def calls(self) -> int:
        """How many calls there were."""
        others = self.shared + self.misses + sum(self.bypasses.values())
        return self.served + others

    @property
    def served(self) -> int:
        """How many calls an entry answered."""
        return self.hits + self.near_hits + self.stale

    @property
    def hit_ratio(self) -> float | None:
        """The part of the calls that an entry answered, 0 to 1; `None` if there were no calls."""
        return self.served / self.calls if self.calls else None

    @property
    def runs(self) -> int:
        """How many times the functions ran for an entry."""
        return self.stored + sum(self.refused.values()) + self.raised

    @property
    def saved_seconds(self) -> float:
        """About how long the functions would have run for the calls that entries answered."""
        return self.served * self.fill_seconds / self.runs if self.runs else 0.0


def sum_of(one: PrefixCounters, other: PrefixCounters) -> PrefixCounters:
    """Return the counters of both."""
    return PrefixCounters(*map(_sum, one, other))


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return {word: one.get(word, 0) + other.get(word, 0) for word in {**one, **other}}
    return [*map(_sum, one, other)] if isinstance(one, list) else one + other


class ProcessCounters(NamedTuple):
    """What the cache did in one process, since it is counted there."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """Random, so that it is another one for each process and cache."""
    host: Name
    pid: Count
    started: Seconds
    """When counting began: seconds since 1970."""
    published: Seconds
    """When these numbers were true: seconds since 1970."""
    prefixes: Annotated[dict[Name, PrefixCounters], Field(max_length=MOST_PREFIXES + 1)]
    invalidations: Words
    """How many keys, patterns and tags were invalidated."""
    undelivered: Words
    """Invalidations that were `deferred`, that were `delivered` late, and that are `lost`."""
    pending: Count
    """Invalidations that wait for a server now."""
    failures: Words
    """Operations that failed, by server."""
    open_breakers: Annotated[list[Name], Field(max_length=MOST_WORDS)]
    """The servers that are not asked now."""
    breaker_openings: Count
    near_entries: Count
    near_bytes: Count
    near_flushes: Count
    """How often a connection was lost, and with it near entries."""


def read_counters(data: bytes | None) -> ProcessCounters | None:
    """Return the counters in bytes that anybody may have written; `None` if they are none."""
    if data is None or len(data) > MOST_BYTES:
        return None
    try:
        return _adapter().validate_json(data, strict=True)
    except ValueError:
        return None


def written(counters: ProcessCounters) -> bytes | None:
    """Return the bytes that `read_counters` reads; `None` if they would be too many."""
    busiest = sorted(counters.prefixes.items(), key=lambda each: each[1].calls, reverse=True)
    for most in (len(busiest), 40, 20, 10, 0):
        kept = dict(busiest[:most])
        for _, each in busiest[most:]:
            kept[OTHER] = sum_of(kept[OTHER], each) if OTHER in kept else each
        fitting = counters._replace(prefixes=kept)
        data = json.dumps(fitting, separators=(",", ":")).encode()
        if len(data) <= MOST_BYTES:
            return data
    return None


@cache
def _adapter() -> TypeAdapter[ProcessCounters]:
    """Return what reads counters; it is made when it is needed, as that takes a moment."""
    return TypeAdapter(ProcessCounters)
