"""Replies that cannot be right put nothing wrong into the near cache (promise P9)."""

import asyncio
from functools import partial
from typing import Any, Final, cast

import pytest
from redis import Redis

from .... import (
    CacheManager,
    cache_response,
)
from ....keys.patterns import KeyPattern
from ....stored.record import is_record_of
from ...faults import at_once, eventually
from ...proxy.fault_proxy import Fault, Kind
from .scene import (
    KEY,
    Own,
    Source,
    Wire,
    brought_near,
    is_of,
    near_of,
)

NUMBERS: Final = range(8)


KINDS: Final[tuple[Kind, ...]] = ("garbage", "noise", "duplicate", "shift", "cut")


@pytest.mark.parametrize("command", [b"GET", b"PTTL", b"PING", b""], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
async def test_p9_what_is_near_is_what_stands_there(
    manager: CacheManager,
    wire: Wire,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
    command: bytes,
) -> None:
    """However replies are harmed, nothing gets under the wrong key, and no value is wrong."""

    @cache_response(manager, "of", key="{number}", tags=["of:{number}"])
    async def record(number: int) -> int:
        return number

    async def read(number: int) -> None:
        assert await record(number) == number
        assert await manager.get_or_set(f"or_set:{number}", lambda: number) == number
        assert await manager.get(f"by hand:{number}") in {number, None}

    await manager.set_many({f"by hand:{number}": number for number in NUMBERS})
    await asyncio.gather(*map(read, NUMBERS))
    near, wrong, keep = near_of(manager), list[str](), near_of(manager).keep

    def watched_keep(key: str, data: bytes, *rest: Any) -> None:
        by_hand = ":by hand:" in key
        if not (data == key[-1].encode() if by_hand else is_record_of(key, data) or "~tag" in key):
            wrong.append(f"{data!r} at {key}")
        keep(key, data, *rest)

    monkeypatch.setattr(near, "keep", watched_keep)
    kept = 0
    for trial in range(10):
        near.forget([KeyPattern(("", ""))])
        wire.inject(Fault(kind, command=command, times=1 + trial % 3, chance=0.3))
        await asyncio.gather(*map(read, NUMBERS))
        wire.heal()
        there = {key: each.data for key, each in near._entries.items()}
        assert there == {key: redis_client.get(key) for key in there}
        kept += len(there)
    assert wrong == []
    assert wire.done[kind] > 3
    assert kept > 30


@pytest.mark.parametrize("damage", [b"cache/2 ", b"", b"\x00", b"}"], ids=repr)
async def test_p9_damaged_bytes_are_a_miss(
    manager: CacheManager, wire: Wire, redis_client: Redis, source: Source, damage: bytes
) -> None:
    """Those that name their key, too: the function runs, and what it makes is near then."""
    own, full = Own(manager, source), f"{manager.key_prefix}:{KEY}"
    assert await brought_near(own.version, wire) == 1
    whole = cast("bytes", redis_client.get(full))
    redis_client.set(full, damage if damage != b"}" else whole[:-1] + b"]")
    source.version = 2
    await eventually(lambda: is_of(partial(own.read, 1), source))
    assert source.runs == 2
    assert await brought_near(own.version, wire) == 2


async def test_p9_what_was_set_by_hand_is_kept_from_sealed_answers_only(
    manager: CacheManager, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not name its key, so it is asked for twice, and kept the second time."""
    full, keep, times = f"{manager.key_prefix}:{KEY}", near_of(manager).keep, list[str]()

    def counted(key: str, *rest: Any) -> None:
        times.append(key)
        keep(key, *rest)

    monkeypatch.setattr(near_of(manager), "keep", counted)
    redis_client.set(full, b"1")
    assert await manager.get_or_set(KEY, lambda: 2) == 1
    assert times == [full]
    assert at_once(manager.get_or_set(KEY, lambda: 2)) == 1
