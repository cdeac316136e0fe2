"""`stats` and `watch`: what the cache holds, and what all processes do with it."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..counters import PrefixCounters, ProcessCounters, published
from ..standing import Standing, is_redis, replies_of_servers, standing_at
from .output import ENTRIES, Output, number_of, size_in_words
from .session import DONE, Session

_BATCH = 500
_HEAD = 8  # bytes: only sizes are wanted
_MOST_PREFIXES = 10_000
_MOST_SHOWN = 20
OTHER, NONE = "(other)", "(none)"
_PROCESSES = ("process", "processes")
_INFO = ("INFO",)
_MEMORY = ("used_memory", "maxmemory", "evicted_keys")


@dataclass(slots=True)
class Held:
    """How much is held below one key prefix."""

    entries: int = 0
    size: int = 0


@dataclass(slots=True)
class Calls:
    """How many calls there were, and what became of them."""

    calls: int = 0
    served: int = 0
    runs: int = 0
    fill_seconds: float = 0.0

    def add(self, counters: PrefixCounters, sign: int = 1) -> None:
        """Add counters, or with a `sign` of -1 take them away."""
        self.calls += sign * counters.calls
        self.served += sign * counters.served
        self.runs += sign * counters.runs
        self.fill_seconds += sign * counters.fill_seconds

    @property
    def ratio(self) -> float | None:
        """The part of the calls that an entry has answered."""
        return self.served / self.calls if self.calls else None

    def named(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {
            "calls": self.calls,
            "hits": self.served,
            "misses": self.calls - self.served,
            "hit_ratio": None if self.ratio is None else round(self.ratio, 4),
            "runs": self.runs,
            "fill_seconds": round(self.fill_seconds, 3),
        }


@dataclass(slots=True)
class Totals:
    """What a walk over all keys has found."""

    all: Held = field(default_factory=Held)
    endless: int = 0
    """How many have no end."""
    prefixes: dict[str, Held] = field(default_factory=lambda: defaultdict(Held))

    def add(self, key: str, standing: Standing) -> None:
        """Count what stands at a key."""
        name = prefix_of(key)
        if name not in self.prefixes and len(self.prefixes) >= _MOST_PREFIXES:
            name = OTHER
        for held in (self.all, self.prefixes[name]):
            held.entries += 1
            held.size += standing.size
        self.endless += standing.ms == -1


def prefix_of(key: str) -> str:
    """Return the key prefix of a key: what stands before its first colon."""
    before, colon, _ = key.partition(":")
    return before if colon else NONE


async def stats(session: Session) -> int:
    """Tell what the backend holds, and what the processes that publish their counters have counted."""
    await session.insist_on_server()
    totals = await _totals(session)
    servers = await _servers(session) if is_redis(session.manager) else {}
    processes = (await published(session.manager))[1:]  # the first one is this process
    calls = _sums(processes)
    session.out.json(
        backend=repr(session.manager.backend),
        key_prefix=session.manager.key_prefix,
        entries=totals.all.entries,
        bytes=totals.all.size,
        without_end=totals.endless,
        key_prefixes={
            name: {"entries": held.entries, "bytes": held.size}
            for name, held in totals.prefixes.items()
        },
        servers=servers,
        processes=len(processes),
        calls={name: each.named() for name, each in calls.items()},
    )
    if not session.out.is_json:
        _tell_of_entries(session, totals, servers)
        _tell_of_calls(session.out, processes, calls)
    return DONE


async def _totals(session: Session) -> Totals:
    manager, totals = session.manager, Totals()
    batch = dict[str, None]()

    async def count() -> None:
        wholes = [f"{manager.key_prefix}:{key}" for key in batch]
        found = await standing_at(manager, wholes, _HEAD)
        for key, standing in zip(batch, found, strict=True):
            if standing is not None:
                totals.add(key, standing)
        batch.clear()

    with session.out.progress("counting entries") as progress:
        async for key in manager.keys():
            batch[key] = None
            if len(batch) >= _BATCH:
                await count()
                progress.tell(f"counting entries: {totals.all.entries}")
        await count()
    return totals


async def _servers(session: Session) -> dict[str, dict[str, Any]]:
    """Return what each server says of its memory; nothing if its user may not ask."""
    found = dict[str, dict[str, Any]]()
    async for name, (reply,) in replies_of_servers(session.manager, _INFO):
        if isinstance(reply, bytes):
            said = dict(
                line.split(":", 1) for line in reply.decode("latin-1").split("\r\n") if ":" in line
            )
            numbers = {each: int(said[each]) for each in _MEMORY if said.get(each, "").isdigit()}
            found[name] = {"version": said.get("redis_version", ""), **numbers}
    return found


def _sums(processes: Iterable[ProcessCounters]) -> dict[str, Calls]:
    sums: dict[str, Calls] = defaultdict(Calls)
    for process in processes:
        for name, counters in process.prefixes.items():
            sums[name].add(counters)
    return sums


def _tell_of_entries(
    session: Session, totals: Totals, servers: Mapping[str, Mapping[str, Any]]
) -> None:
    out, held = session.out, totals.all
    out.line(session.where)
    endless = f", {totals.endless} without an end" if totals.endless else ""
    out.line(f"{number_of(held.entries, *ENTRIES)}, {size_in_words(held.size)}{endless}")
    for name, said in servers.items():
        most = said.get("maxmemory") or 0
        used = size_in_words(said.get("used_memory", 0))
        bound = f"{used} of {size_in_words(most)}" if most else f"{used}, without a limit"
        evicted = number_of(said.get("evicted_keys", 0), "key")
        out.line(f"{name}, version {said['version']}: memory {bound}; {evicted} evicted")
    if not held.entries:
        out.note("nothing is there; is CACHE_KEY_PREFIX the one of the service?")
        return
    in_order = sorted(totals.prefixes.items(), key=lambda each: -each[1].size)
    out.line((f"{'entries':>10}{'size':>10}  KEY PREFIX", "dim"))
    for name, each in in_order[:_MOST_SHOWN]:
        out.line(f"{each.entries:10}{size_in_words(each.size):>10}  {name}")
    if len(in_order) > _MOST_SHOWN:
        out.line((f"and {len(in_order) - _MOST_SHOWN} more key prefixes", "dim"))


def _tell_of_calls(
    out: Output, processes: list[ProcessCounters], calls: Mapping[str, Calls]
) -> None:
    if not processes:
        out.line(("no process publishes what it hits and misses", "dim"))
        return
    out.line(f"calls in {number_of(len(processes), *_PROCESSES)}, since they began to count")
    out.line((_CALLS.format("calls", "hits", "misses", "ratio", "runs", "a run"), "dim"))
    for name, each in sorted(calls.items(), key=lambda each: -each[1].calls):
        out.line(_row(name, each))


_CALLS = "{:>10}{:>10}{:>10}{:>8}{:>10}{:>10}  KEY PREFIX"


def _row(name: str, each: Calls) -> str:
    ratio = "-" if each.ratio is None else f"{each.ratio:.1%}"
    run = f"{each.fill_seconds / each.runs * 1000:.1f} ms" if each.runs > 0 else "-"
    numbers = _CALLS.format(
        each.calls, each.served, each.calls - each.served, ratio, each.runs, run
    )
    return numbers.replace("KEY PREFIX", name)


async def watch(session: Session, *, every: float, count: int | None) -> int:
    """Tell, each `every` seconds, what was hit and missed since, by key prefix."""
    out, ticks = session.out, 0
    await session.insist_on_server()
    out.note(f"{session.where}; each {every:g} s, until Ctrl-C")
    last, began = await _by_process(session), time.monotonic()
    while count is None or ticks < count:
        await asyncio.sleep(every)
        await session.insist_on_server()
        now, ended = await _by_process(session), time.monotonic()
        calls = _since(last, now)
        _tell_of_tick(out, now, calls, ended - began)
        last, began, ticks = now, ended, ticks + 1
    return DONE


async def _by_process(session: Session) -> dict[str, ProcessCounters]:
    return {each.id: each for each in (await published(session.manager))[1:]}


def _since(
    before: Mapping[str, ProcessCounters], now: Mapping[str, ProcessCounters]
) -> dict[str, Calls]:
    """Return what was counted in between; a process that is new counts from its start."""
    sums = _sums(now.values())
    for process in (before[each] for each in now if each in before):
        for name, counters in process.prefixes.items():
            sums[name].add(counters, -1)
    return {name: each for name, each in sums.items() if each.calls > 0}


def _tell_of_tick(
    out: Output,
    processes: Mapping[str, ProcessCounters],
    calls: Mapping[str, Calls],
    seconds: float,
) -> None:
    out.json(
        time=round(time.time(), 3),
        seconds=round(seconds, 3),
        processes=len(processes),
        calls={name: each.named() for name, each in calls.items()},
    )
    clock = time.strftime("%H:%M:%S")
    if not processes:
        out.line((f"{clock}  no process publishes what it hits and misses", "yellow"))
        return
    total = sum(each.calls for each in calls.values())
    words = f"{total / seconds:,.0f} calls a second, {number_of(len(processes), *_PROCESSES)}"
    pending = sum(each.pending for each in processes.values())
    waits = f", {number_of(pending, 'invalidation')} not delivered yet" if pending else ""
    out.line((f"{clock}  {words}", "bold"), (waits, "red"))
    if calls:
        out.line((_CALLS.format("calls", "hits", "misses", "ratio", "runs", "a run"), "dim"))
    for name, each in sorted(calls.items(), key=lambda each: -each[1].calls):
        out.line(_row(name, each))
