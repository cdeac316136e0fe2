"""Stored records: what is not exactly ours is a miss (promise P9)."""

from typing import Any

import pytest
from redis import Redis

from app.core.cache import CacheManager, cache_response
from app.core.cache.record import Record

KEY = "app:data:f:0123"
DATA = Record(b"value", b'{"a":1}').to_bytes(KEY)
HEADER = DATA[: DATA.index(b"\n") + 1]


def test_a_record_comes_back() -> None:
    """At its own key, whatever is in the payload."""
    assert Record.from_bytes(KEY, DATA) == Record(b"value", b'{"a":1}')
    for payload in (b"", b"\n", b"cache/1 \n\x00"):
        record = Record(b"response", payload)
        assert Record.from_bytes(KEY, record.to_bytes(KEY)) == record


def test_p9_a_record_of_another_key_is_a_miss() -> None:
    """A reply that went astray is nobody's answer."""
    assert Record.from_bytes("app:data:f:0124", DATA) is None


@pytest.mark.parametrize("data", [HEADER[:n] for n in range(len(HEADER))])
def test_p9_a_header_that_is_cut_is_a_miss(data: bytes) -> None:
    """At whatever byte."""
    assert Record.from_bytes(KEY, data) is None


@pytest.mark.parametrize(
    "data", [b" " + DATA, DATA.replace(b"cache/1", b"cache/2"), b"{}", b"null", b"\x80\x04N."]
)
def test_p9_other_bytes_are_a_miss(data: bytes) -> None:
    """Of another version, of another tool."""
    assert Record.from_bytes(KEY, data) is None


@pytest.mark.parametrize("damage", ["cut", "list", "foreign", "kind", "swapped"])
async def test_p9_damage_in_redis_is_a_miss(
    redis_manager: CacheManager, redis_client: Redis, damage: str
) -> None:
    """The function runs, its result is stored again, and the next call is a hit."""
    calls: list[int] = []

    @cache_response(redis_manager, "data")
    async def f(number: int) -> dict[str, Any]:
        calls.append(number)
        return {"number": number}

    assert [await f(1), await f(2)] == [{"number": 1}, {"number": 2}]
    one, two = sorted(redis_client.scan_iter(f"{redis_manager.key_prefix}:data:*"))
    data, other = redis_client.get(one), redis_client.get(two)
    assert isinstance(data, bytes)
    assert isinstance(other, bytes)
    redis_client.unlink(one)
    if damage == "list":
        redis_client.rpush(one, "a")
    else:
        redis_client.set(
            one,
            {
                "cut": data[:-1],
                "foreign": b"\x80\x04N.",
                "kind": data.replace(b" value ", b" code "),
                "swapped": other,
            }[damage],
        )
    assert [await f(1), await f(2)] == [{"number": 1}, {"number": 2}]
    assert len(calls) == 3
    assert [await f(1), await f(2)] == [{"number": 1}, {"number": 2}]
    assert len(calls) == 3
