"""A record carries a checksum: a bit that was flipped is a miss, and is healed (promise P9)."""

import logging
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from hypothesis import given
from hypothesis import strategies as st

from ... import CacheManager, cache_response
from ...stored.record import Record, plain_payload
from ..endpoints import Endpoint, application, get, one_item, sent
from ..forging import no_outage, put, standing_at
from ..package import NAME

KEY, OWNER = "app:data:f:0123", b"owner"
NUMBER_AT = len(b"cache/2 ") + 2 * 17
NUMBER = range(8 * NUMBER_AT, 8 * (NUMBER_AT + 28))
"""The bits of the random number, and of the time: any other is as good."""


def flipped(data: bytes, bit: int) -> bytes:
    """Return the bytes with one bit of them flipped."""
    place, number = divmod(bit % (8 * len(data)), 8)
    return data[:place] + bytes([data[place] ^ (1 << number)]) + data[place + 1 :]


def read(data: bytes) -> Record | None:
    """Read a record as all do who meet it: what raises is a miss, and so is an unknown kind."""
    try:
        record = Record.from_bytes(KEY, data, OWNER, largest=10_000)
    except Exception:
        return None
    return record if record is not None and record.kind == b"value" else None


@pytest.mark.parametrize("about", [{}, {"until": 17, "cost": 1}])
@pytest.mark.parametrize("compress_over", [0, 10])
def test_p9_each_bit_of_a_record_counts(about: dict[str, Any], compress_over: int) -> None:
    """Of its head, its random number left out, and its payload; on the shortest way as well."""
    record = Record(b"value", b'{"name":"ada","more":[1,1,1,1,1,1,1,1]}', about)
    data = record.to_bytes(KEY, OWNER, compress_over=compress_over)
    back = read(data)
    assert back is not None
    assert (back.kind, back.payload) == (b"value", record.payload)
    for bit in set(range(8 * len(data))).difference(NUMBER):
        assert read(flipped(data, bit)) is None
        assert plain_payload(KEY, flipped(data, bit), OWNER, b"value") is None


@given(st.binary(max_size=300), st.integers(0), st.integers(0))
def test_p9_bytes_that_changed_are_a_miss(payload: bytes, one: int, other: int) -> None:
    """Two flipped bits as well, wherever they are."""
    data = Record(b"value", payload).to_bytes(KEY, OWNER)
    assert plain_payload(KEY, data, OWNER, b"value") == payload
    changed = flipped(flipped(data, one), other)
    if changed != data and not {one % (8 * len(data)), other % (8 * len(data))} & {*NUMBER}:
        assert plain_payload(KEY, changed, OWNER, b"value") is None
        assert read(changed) is None


def test_the_checksum_is_that_of_zlib() -> None:
    """The CRC-32 of what stands behind it."""
    data = Record(b"value", b"1").to_bytes(KEY, OWNER)
    head, _, payload = data.partition(b"\n")
    assert head.split(b" ")[6] == b"%08x" % zlib.crc32(b"{}" + payload)


async def plain(manager: CacheManager) -> tuple[Callable[[], Any], list[int]]:
    """Return a function that is cached at the key `it:one`, and its runs."""
    runs: list[int] = []

    @cache_response(manager, "it", key="one")
    async def function() -> dict[str, Any]:
        runs.append(1)
        return {"name": "ada", "numbers": [1, 2, 3]}

    return function, runs


async def stale(manager: CacheManager) -> tuple[Callable[[], Any], list[int]]:
    """The same, of which a record says more."""
    runs: list[int] = []

    @cache_response(manager, "it", key="one", expire=60, stale=60)
    async def function() -> dict[str, Any]:
        runs.append(1)
        return {"name": "ada"}

    return function, runs


async def tagged(manager: CacheManager) -> tuple[Callable[[], Any], list[int]]:
    """The same with tags, one of them derived."""
    runs: list[int] = []

    @cache_response(manager, "it", key="one", tags=["tag", lambda value: [value["name"]]])
    async def function() -> dict[str, Any]:
        runs.append(1)
        return {"name": "ada"}

    return function, runs


async def response(manager: CacheManager) -> tuple[Callable[[], Any], list[int]]:
    """The same with a response, of which the body is compared."""
    runs: list[int] = []

    @cache_response(manager, "it", key="one")
    async def function() -> Response:
        runs.append(1)
        return JSONResponse({"name": "ada"})

    async def body() -> Any:
        return (await function()).body

    return body, runs


async def computed(manager: CacheManager) -> tuple[Callable[[], Any], list[int]]:
    """The same with `get_or_set`."""
    runs: list[int] = []

    def factory() -> list[str]:
        runs.append(1)
        return ["ada"]

    async def function() -> Any:
        return await manager.get_or_set("it:one", factory)

    return function, runs


@pytest.mark.parametrize("make", [plain, stale, tagged, response, computed])
async def test_p9_a_flipped_bit_is_healed(
    own: CacheManager,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[CacheManager], Any],
) -> None:
    """The function runs once more, and what it returns is stored in the record's place."""
    caplog.set_level(logging.INFO, NAME)
    function, runs = await make(own)
    value = await function()
    assert await function() == value
    sound = await standing_at(own, "it:one")
    bits = set(range(5, 8 * len(sound), 8 * len(sound) // 12)).difference(NUMBER)
    for count, bit in enumerate(bits, start=1):
        await put(own, "it:one", flipped(sound, bit))
        assert [await function() for _ in range(3)] == [value] * 3
        assert len(runs) == 1 + count
    assert no_outage(caplog)


async def test_p9_a_flipped_bit_in_what_was_sent_is_healed(our_manager: CacheManager) -> None:
    """On a `CachedRoute`."""

    def register(router: APIRouter, endpoint: Endpoint) -> None:
        router.get("/it")(endpoint(one_item))

    endpoint = Endpoint(our_manager, key="one")
    app = application(register, endpoint)
    expected = sent(await get(app))
    sound = await standing_at(our_manager, "it:one")
    bits = set(range(3, 8 * len(sound), 8 * len(sound) // 20)).difference(NUMBER)
    for count, bit in enumerate(bits, start=1):
        await put(our_manager, "it:one", flipped(sound, bit))
        assert [sent(await get(app)) for _ in range(2)] == [expected] * 2
        assert endpoint.runs == 1 + count


async def test_p9_a_record_of_the_version_before_is_a_miss(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no checksum; it is replaced."""
    function, runs = await plain(our_manager)
    value = await function()
    sound = await standing_at(our_manager, "it:one")
    head, _, payload = sound.partition(b"\n")
    start, *more, _, rest = head.split(b" ")
    old = b" ".join([b"cache/1", *more, rest]) + b"\n" + payload
    await put(our_manager, "it:one", old)
    assert await our_manager.get("it:one") is None
    assert [await function(), await function()] == [value] * 2
    assert len(runs) == 2
    assert (await standing_at(our_manager, "it:one")).startswith(start)
    assert no_outage(caplog)


async def test_what_is_set_by_hand_has_no_checksum(our_manager: CacheManager) -> None:
    """It is plain JSON, which a person can read with `redis-cli GET`."""
    await our_manager.set("key", {"a": 1})
    assert await standing_at(our_manager, "key") == b'{"a":1}'
