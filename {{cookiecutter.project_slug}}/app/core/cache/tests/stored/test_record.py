"""Stored records: what is not exactly ours is a miss (promise P9)."""

from typing import Any

import pytest
from redis import Redis

from ... import CacheManager, cache_response
from ...stored.record import Record, is_of_another_key
from ..forging import resealed

KEY = "app:data:f:0123"
DATA = Record(b"value", b'{"a":1}').to_bytes(KEY)
HEADER = DATA[: DATA.index(b"\n") + 1]


def from_bytes(data: bytes, key: str = KEY, owner: bytes = b"") -> Record | None:
    """Read a record, of which a compressed payload may grow to a megabyte."""
    return Record.from_bytes(key, data, owner, largest=1_000_000)


def test_a_record_comes_back() -> None:
    """At its own key, whatever is in the payload."""
    for payload in (b'{"a":1}', b"", b"\n", b"cache/2 \n\x00"):
        record = from_bytes(Record(b"response", payload, {"a": 1}).to_bytes(KEY))
        assert record is not None
        assert (record.kind, record.payload, record.about) == (b"response", payload, {"a": 1})


def test_p9_a_record_of_another_key_is_a_miss() -> None:
    """A reply that went astray is nobody's answer, and it can be told."""
    assert from_bytes(DATA, "app:data:f:0124") is None
    assert is_of_another_key("app:data:f:0124", DATA)
    assert not is_of_another_key(KEY, DATA)
    assert not is_of_another_key(KEY, b"{}")


def test_p2_a_record_of_another_function_is_a_miss() -> None:
    """Two functions may make the same key."""
    assert from_bytes(DATA, owner=b"another") is None
    assert not is_of_another_key(KEY, Record(b"value", b"1").to_bytes(KEY, b"another"))


@pytest.mark.parametrize("key", [KEY, "\ud800"])
def test_p9_a_header_holds_64_bits_of_key_function_and_record(key: str) -> None:
    """Of any key that can be written down."""
    data = Record(b"value", b"payload").to_bytes(key, b"owner")
    magic, of_key, of_function, number, kind, length, crc, rest = data.partition(b"\n")[0].split(
        b" "
    )
    assert (magic, kind, length, rest) == (b"cache/2", b"value", b"7", b"{}")
    assert (len(of_key), len(of_function), len(crc), len(number)) == (16, 16, 8, 28)
    assert Record(b"value", b"payload").to_bytes(key, b"owner") != data


@pytest.mark.parametrize("payload", [b"12345", b'"text"', b"[1]"])
def test_p9_a_payload_that_is_cut_or_grows_is_a_miss(payload: bytes) -> None:
    """A number that lost its last digit would still be a number."""
    data = Record(b"value", payload).to_bytes(KEY)
    assert from_bytes(data[:-1]) is None
    assert from_bytes(data + b" ") is None


def test_a_payload_is_compressed_where_that_pays() -> None:
    """Above the limit, and only if it becomes smaller."""
    large, dense = b"a" * 10_000, bytes(range(256)) * 2
    assert len(Record(b"value", large).to_bytes(KEY, compress_over=1000)) < 1000
    assert len(Record(b"value", large).to_bytes(KEY, compress_over=10_000)) > 10_000
    assert len(Record(b"value", large).to_bytes(KEY)) > 10_000
    assert dense[:200] in Record(b"value", dense[:200]).to_bytes(KEY, compress_over=100)


def test_p9_a_compressed_payload_grows_no_further_than_it_says() -> None:
    """A few bytes that would become gigabytes do not."""
    data = Record(b"value", b"a" * 1_000_000).to_bytes(KEY, compress_over=1)
    lied = data.replace(b'"zlib":1000000', b'"zlib":10000')
    assert lied != data
    with pytest.raises(ValueError, match="does not grow to 10000 bytes"):
        from_bytes(resealed(lied))


@pytest.mark.parametrize("length", range(len(HEADER)))
def test_p9_a_header_that_is_cut_is_a_miss(length: int) -> None:
    """At whatever byte."""
    assert from_bytes(HEADER[:length]) is None


@pytest.mark.parametrize(
    "data",
    [b" " + DATA, DATA.replace(b"cache/2", b"cache/1"), b"{}", b"null", b"\x80\x04N."],
    ids=["a space before", "an older version", "no record", "null", "pickled"],
)
def test_p9_other_bytes_are_a_miss(data: bytes) -> None:
    """Of another version, of another tool."""
    assert from_bytes(data) is None


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
