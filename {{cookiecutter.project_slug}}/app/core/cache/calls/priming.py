"""A result from outside: it becomes the entry of a call as if the function had returned it."""

from collections.abc import Awaitable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from ..base import Nonces
from ..keys import KeyPattern
from ..reads import handed
from ..stored import responses, stated
from .asked import BY_HAND
from .recording import Recorder
from .tag_nonces import NO_NONCE, TAGS, tags_of_record

if TYPE_CHECKING:
    from .cached_calls import CachedCalls


async def put(
    calls: "CachedCalls", key: str, value: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bool:
    """Store a result of a call at its whole key; return whether it is stored.

    If it is not, the old entry is removed. Computations of this call are overtaken: their results are
    not stored. An invalidation that comes meanwhile wins.
    """
    store, storing = calls.store, None
    calls.begin()
    if not store.switch.is_off:
        try:
            storing = _storing(calls, key, handed.original(value), args, kwargs)
        except Exception as error:  # from `store_if=`, `expire=`, or what derives tags
            why = f"its store_if=, expire= or tags= failed: {type(error).__name__}: {error}"
            calls.warnings.once("is not stored", why)
    if storing is None:
        await store.invalidations.remove([key])
        return False
    return bool(await store.invalidations.carry_out(storing, False, [KeyPattern((key,))]))


def _storing(
    calls: "CachedCalls", key: str, value: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Awaitable[int] | None:
    """Return the steps that store a result; `None` if it is not to be stored."""
    if not calls.keeping.wants(value) or _is_refused(calls, value):
        return None
    tags = calls.tags.keys(args, kwargs)
    if calls.derives:
        tags = (*tags[:-1], *calls.tags.derived(value))
    freshness = calls.keeping.freshness(value, args, kwargs)
    calls.store.fence.too_large.discard(key)  # a result of another size was

    def make(nonces: Nonces) -> tuple[bytes, int]:
        about, ms = freshness.stamp(0.0)
        if tags:
            about[TAGS] = tags_of_record(tags, nonces)
        if isinstance(value, Response):
            ms = freshness.limited(about, ms, stated(value))
        recorder = Recorder(calls, key, BY_HAND, freshness, about, ms, list)
        data = recorder.of_result(value) if ms > 0 else None
        return data or b"", ms

    data, ms = make((NO_NONCE,) * len(tags))
    if not data:
        return None
    writes, backend = calls.store.fence.writes, calls.store.backend
    if tags:
        return writes.put_tagged(key, tags, make)
    lives = timedelta(milliseconds=ms)
    return writes.take(key, lambda: backend.set_bytes(key, data, lives))


def _is_refused(calls: "CachedCalls", value: object) -> bool:
    """Whether a result is a response that is not stored."""
    if not isinstance(value, Response):
        return False
    why = responses.why_not_stored(value, calls.statuses, frozenset())
    if responses.is_stream(value):
        why = "it is a stream"
    if why is not None:
        calls.warnings.not_stored(why)
    return why is not None
