"""Calls of a cache that has listeners (see `events`), or that may be switched off (see `switch`).

Calls of all other caches go past this, so that they cost no more for it.
"""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..coherence import Outcome
from ..events import CacheEvent, Events, Kind
from .asked import Asked
from .exchange import Exchange

if TYPE_CHECKING:
    from .cached_calls import CachedCalls
    from .decorated import Decorated

_CALLS: dict[Outcome | None, Kind] = {
    Outcome.HIT: "hit",
    Outcome.STALE: "stale",
    Outcome.SHARED: "shared",
    Outcome.BYPASS: "bypass",
}
_WHY: dict[Outcome | None, str] = {Outcome.AWAY: "unavailable", Outcome.OVERTAKEN: "overtaken"}


async def told(
    method: Callable[..., Awaitable[Any]],
    calls: "CachedCalls",
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    asked: Asked,
) -> Any:
    """Answer a call by `method`, or past the cache if that is off, and tell of it."""
    exchange, began = asked.exchange or Exchange(), perf_counter()
    if calls.store.switch.is_off:
        return await calls.uncached(args, kwargs, exchange, "disabled")
    try:
        asked = Asked(asked.connection, asked.injected, asked.headers, exchange, is_told=True)
        return await method(args, kwargs, asked)
    except Exception:
        if exchange.outcome is None and not exchange.has_run:  # another call has raised it
            exchange.outcome = Outcome.SHARED
        raise
    finally:
        if exchange.outcome is not Outcome.BYPASS:  # of which `uncached` has told
            tell_of_call(calls, exchange, perf_counter() - began)


def tell_of_call(calls: "Decorated", exchange: Exchange, seconds: float) -> None:
    """Tell how a call has ended."""
    if calls.store.events.listeners:
        outcome = exchange.outcome
        event = CacheEvent(
            _CALLS.get(outcome, "miss"),
            calls.name,
            calls.key_prefix,
            exchange.key,
            seconds,
            exchange.why if outcome is Outcome.BYPASS else "",
            1,
            exchange.is_near,
        )
        calls.store.events.tell(event)


def tell_of_run(
    calls: "Decorated", outcome: Outcome | None, key: str, seconds: float, why: str
) -> None:
    """Tell how a run of the function has ended; `None` if it raised."""
    if calls.store.events.listeners and outcome not in _CALLS:
        is_stored = outcome is Outcome.STORED
        event = CacheEvent(
            kind="raised" if outcome is None else "stored" if is_stored else "refused",
            function=calls.name,
            key_prefix=calls.key_prefix,
            key=key,
            seconds=seconds,
            reason="" if is_stored or outcome is None else _WHY.get(outcome) or why or "alone",
        )
        calls.store.events.tell(event)


class Ended:
    """How a call of a method of the manager has ended, and the run of a factory in it, if it ran."""

    __slots__ = ("has_raised", "outcome", "ran", "why")

    def __init__(
        self,
        outcome: Outcome | None = None,
        ran: float | None = None,
        has_raised: bool = False,
        why: str = "",
    ) -> None:
        self.outcome = outcome
        """`None` if nothing was found, or an exception was raised."""
        self.ran = ran
        """How long the factory ran, in seconds."""
        self.has_raised = has_raised
        self.why = why
        """One word that says why its result is not stored."""


def tell_of_entry(events: Events, method: str, key: str, ended: Ended, seconds: float) -> None:
    """Tell how a call of a method of the manager has ended."""
    if not events.listeners:
        return
    outcome = ended.outcome
    event = CacheEvent(
        kind=_CALLS.get(outcome, "miss"),
        function=method,
        key=key,
        seconds=seconds,
        reason="disabled" if outcome is Outcome.BYPASS else "",
    )
    events.tell(event)
    if ended.ran is None or outcome is Outcome.BYPASS:
        return
    event = event._replace(kind="stored", seconds=ended.ran, reason="")
    if ended.has_raised:
        event = event._replace(kind="raised")
    elif outcome is not Outcome.STORED:
        why = ended.why or _WHY.get(outcome, "alone")
        event = event._replace(kind="refused", reason=why)
    events.tell(event)


def tell_of_many(
    events: Events, method: str, *, hits: int = 0, misses: int = 0, bypasses: int = 0
) -> None:
    """Tell what a method for many keys has found."""
    if not events.listeners:
        return
    kinds: dict[Kind, int] = {"hit": hits, "miss": misses, "bypass": bypasses}
    for kind, number in kinds.items():
        if number:
            why = "disabled" if kind == "bypass" else ""
            events.tell(CacheEvent(kind, method, reason=why, number=number))
