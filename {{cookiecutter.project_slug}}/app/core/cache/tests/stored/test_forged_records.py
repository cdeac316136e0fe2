"""Records that somebody has forged are a miss of their key alone (promise P9).

Length and checksum are right in all of them: whoever can write in Redis can make these.
"""

import json
import time
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from ... import CacheManager, MemoryBackend
from ...base import Nonces
from ...testing.redis_server import RedisServer
from ..backends.test_own_keys import Watch
from ..conftest import redis_backend
from ..forging import forged, no_outage, put, resealed, standing_at
from ..surfaces import SURFACES, Surface, function, get_or_set, responding, stale

NASTY: list[str] = [
    *("null", "true", "-1", "0", "1", "1.5", "1e308", "1e999", "NaN", "-0", "9" * 30),
    *('""', '"x"', '"1"', '"\\ud800"', '"\\u0000"', '"\\r\\nx: y"', '"' + "9" * 5000 + '"'),
    *("[]", "{}", "[[]]", "[null]", "[{}]", "[1,2]", '["x"]', '["x",["y"]]', '[["x"],[null]]'),
    *('[["x"],["y"]]', '[["foreign:key"],["1"]]', '{"x":"y"}', '{"x":["y"]}', "[null,{}]"),
    *(
        "[500,{}]",
        "[null,null]",
        '[null,{"set-cookie":["a=b"]}]',
        '[null,{"content-length":["1"]}]',
    ),
    *('[null,{"connection":["close"]}]', '[null,{"x y":[]}]', '[null,{"x":"yz"}]', "[[],[]]"),
    "[" * 3000 + "]" * 3000,
    "9" * 1_000_000,
    "[" + ",".join(['"x"'] * 50_000) + "]",
    '[null,{"x":[' + ",".join(['"y"'] * 5000) + "]}]",
    '[["' + '"],["'.join(["a"] * 3000) + '"]]',
]
"""JSON that is no record's, whatever the field."""
FIELDS = ["until", "cost", "tags", "injected", "form", "head", "zlib"]
FIELDS += ["class", "media_type", "unknown"]
SECONDS = 2.0
"""So long may a question take at most, on a machine that has much to do: most take a millisecond."""


async def harmless(manager: CacheManager, surface: Surface, expected: Any, data: bytes) -> None:
    """Put a forged record where the entry is; see that nobody notices, and that it is healed."""
    await put(manager, "it:one", data)
    before, began = len(surface.runs), time.monotonic()
    await manager.get("it:one"), await manager.get_many(["it:one"])
    await manager.exists("it:one")
    assert [await surface.ask() for _ in range(3)] == [expected] * 3
    assert time.monotonic() - began < SECONDS
    assert len(surface.runs) <= before + 1


def changed(data: bytes, name: str, value: str) -> bytes:
    """Return a record that says something else in one field, in JSON of any kind."""
    rest = json.loads(data.partition(b"\n")[0].split(b" ", 7)[7])
    rest.pop(name, None)
    fields = [f"{json.dumps(key)}:{json.dumps(item)}" for key, item in rest.items()]
    return forged(data, rest=f"{{{','.join([f'{json.dumps(name)}:{value}', *fields])}}}".encode())


@pytest.mark.parametrize("make", SURFACES)
async def test_p9_each_field_may_say_anything(
    own: CacheManager, caplog: pytest.LogCaptureFixture, make: Callable[[CacheManager], Surface]
) -> None:
    """The caller has what the function computes, and no outage is declared."""
    surface = make(own)
    expected = await surface.ask()
    sound = await standing_at(own, "it:one")
    step = 1 if isinstance(own.backend, MemoryBackend) else 6
    for place, name in enumerate(FIELDS):
        for value in NASTY[place % step :: step]:
            await harmless(own, surface, expected, changed(sound, name, value))
    assert no_outage(caplog)
    assert await own.get("another") is None


RESTS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"7",
    b'""',
    b"{}x",
    b"{}}",
    b'{"a":1,"a":2}',
    b"\xff",
    b"{" * 9999,
]
KINDS = [b"value", b"response", b"sent", b"code", b"", b"VALUE", b"\xff"]


@pytest.mark.parametrize("make", SURFACES)
async def test_p9_a_head_and_a_kind_may_be_anything(
    own: CacheManager, caplog: pytest.LogCaptureFixture, make: Callable[[CacheManager], Surface]
) -> None:
    """Another kind than the function's, a rest that is no object, a record without a payload."""
    surface = make(own)
    expected = await surface.ask()
    sound = await standing_at(own, "it:one")
    own_kind = sound.split(b" ")[4]
    for kind in KINDS:
        for rest in [None, *RESTS]:
            if (kind, rest) != (own_kind, b"{}"):
                await harmless(own, surface, expected, forged(sound, kind=kind or b"-", rest=rest))
    for payload in (b"", b"{", b"\xff", b"[" * 100_000, b"9" * 1_000_000, b"NaN", b'{"$set":1}'):
        if payload or own_kind != b"sent":
            await harmless(own, surface, expected, forged(sound, payload=payload))
    assert no_outage(caplog)


LENGTHS = [b"", b"-1", b"+%d", b"0%d", b" %d", b"%d.0", b"1_0", b"\xd9\xa1", b"9" * 5000, b"0x1"]


@pytest.mark.parametrize("length", LENGTHS)
async def test_p9_a_length_is_written_in_one_way(own: CacheManager, length: bytes) -> None:
    """Digits, and no other way to say the same number."""
    surface = function(own)
    expected = await surface.ask()
    sound = await standing_at(own, "it:one")
    head, _, payload = sound.partition(b"\n")
    parts = head.split(b" ", 7)
    parts[5] = length % len(payload) if b"%d" in length else length
    await harmless(own, surface, expected, b" ".join(parts) + b"\n" + payload)
    assert len(surface.runs) == 2


def bomb(size: int) -> bytes:
    """Return what grows to so many bytes, and is a thousandth of it."""
    packing, chunk = zlib.compressobj(9), b"0" * 1_000_000
    return b"".join([packing.compress(chunk) for _ in range(size // len(chunk))]) + packing.flush()


BOMB = bomb(200_000_000)
SMALL = zlib.compress(b"[" + b"1," * 1000 + b"1]")
COMPRESSED: dict[str, tuple[bytes, str]] = {
    "a negative size": (SMALL, "-1"),
    "less than nothing": (SMALL, "-2"),
    "no size": (SMALL, "0"),
    "one byte": (SMALL, "1"),
    "less than it is": (SMALL, "2002"),
    "more than it is": (SMALL, "2004"),
    "a gigabyte": (SMALL, str(2**30)),
    "more than a machine has": (SMALL, str(2**62)),
    "more than a number has": (SMALL, "9" * 400),
    "a fraction": (SMALL, "2003.0"),
    "a text": (SMALL, '"2003"'),
    "yes": (SMALL, "true"),
    "a list": (SMALL, "[2003]"),
    "a bomb that says so": (BOMB, "200000000"),
    "a bomb that says less": (BOMB, str(8 * 1024 * 1024)),
    "a bomb that says -1": (BOMB, "-1"),
    "compressed twice": (zlib.compress(SMALL), str(len(SMALL))),
    "something behind it": (SMALL + b"x", "2003"),
    "another one behind it": (SMALL + SMALL, "2003"),
    "cut": (SMALL[:-1], "2003"),
    "not compressed": (b"[1]", "3"),
    "no bytes": (b"", "3"),
}


@pytest.mark.parametrize("what", COMPRESSED)
@pytest.mark.parametrize("make", [function, stale, get_or_set, responding])
async def test_p9_what_says_that_it_is_compressed_grows_to_the_bound_at_most(
    own: CacheManager,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[CacheManager], Surface],
    what: str,
) -> None:
    """Whatever size it states, in no time and with no memory to speak of."""
    payload, size = COMPRESSED[what]
    surface = make(own)
    expected = await surface.ask()
    sound = await standing_at(own, "it:one")
    data = changed(forged(sound, payload=payload), "zlib", size)
    tracemalloc.start()
    try:
        await harmless(own, surface, expected, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40_000_000
    assert len(surface.runs) == 2
    assert no_outage(caplog)


@pytest.mark.parametrize("compress_over", [0, 100])
async def test_the_largest_entry_is_measured_before_it_is_compressed(compress_over: int) -> None:
    """What would grow to more than that is neither stored nor read."""
    manager = CacheManager(MemoryBackend(), max_entry_bytes=1000, compress_over=compress_over)
    runs: list[int] = []

    def factory() -> str:
        runs.append(1)
        return "a" * 2000

    for _ in range(2):
        assert await manager.get_or_set("large", factory) == "a" * 2000
    assert len(runs) == 2
    assert await manager.get("large") is None


@pytest.mark.parametrize("make", SURFACES)
async def test_p9_nothing_larger_than_the_bound_is_read(
    own: CacheManager, make: Callable[[CacheManager], Surface]
) -> None:
    """Of whatever kind: it is a miss, and what the function computes takes its place."""
    own.max_entry_bytes = 10_000
    surface = make(own)
    expected = await surface.ask()
    sound = await standing_at(own, "it:one")
    _, _, payload = sound.partition(b"\n")
    larger = payload + b" " * 10_000  # the same value in JSON, and a longer body
    await harmless(own, surface, expected, forged(sound, payload=larger))
    assert len(surface.runs) == 2
    await harmless(own, surface, expected, changed(sound, "unknown", json.dumps("x" * 10_000)))
    assert len(surface.runs) == 3
    await put(own, "it:one", b'"' + b"x" * 10_000 + b'"')
    assert await own.get("it:one") is None
    assert await own.get_or_set("it:one", lambda: "computed") == "computed"


class Spy(MemoryBackend):
    """A backend that notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(key_prefix="own")
        self.asked: set[str] = set()

    async def look(
        self, key: str, tags: Sequence[str] = (), deadline: float | None = None
    ) -> tuple[bytes | None, Nonces]:
        self.asked |= {key, *tags}
        return await super().look(key, tags, deadline)

    def read_now(self, key: str, tags: Sequence[str] = (), /) -> tuple[bytes | None, Nonces]:
        self.asked |= {key, *tags}
        return super().read_now(key, tags)

    async def get_many_bytes(self, keys: Sequence[str]) -> Nonces:
        self.asked |= {*keys}
        return await super().get_many_bytes(keys)

    async def get_bytes(self, key: str) -> bytes | None:
        self.asked.add(key)
        return await super().get_bytes(key)


FOREIGN = [
    "foreign:key",
    "own",
    "own:it:two",
    "own2:~tag:a",
    "own:~tags",
    "own:~probe",
    "",
    "~tag:a",
]
NAMING = [
    *[f'["{key}"]' for key in FOREIGN],
    *[f'["own:~tag:a","{key}"]' for key in FOREIGN],
    *[f'[["{key}"],["1"]]' for key in FOREIGN],
    *[f'[["own:~tag:a","{key}"],["1","1"]]' for key in FOREIGN],
    '"foreign:key"',
    '{"foreign:key":1}',
    '[{"foreign:key":1},["1"]]',
    "[" + ",".join(f'"own:~tag:{number}"' for number in range(2000)) + "]",
    "[[" + ",".join(f'"own:~tag:{number}"' for number in range(2000)) + '],["1"]]',
]


@pytest.mark.parametrize("make", SURFACES)
async def test_p7_a_record_names_no_keys_but_those_of_tags(
    make: Callable[[CacheManager], Surface],
) -> None:
    """Whatever it names is not even read; nor are more tags than an entry may have."""
    backend = Spy()
    manager = CacheManager(backend)
    surface = make(manager)
    expected = await surface.ask()
    sound = await standing_at(manager, "it:one")
    for name in ("tags", "derived"):
        for value in NAMING:
            backend.asked.clear()
            await harmless(manager, surface, expected, changed(sound, name, value))
            others = {key for key in backend.asked if not key.startswith("own:~tag")}
            assert others <= {"own:it:one", "own:~tags"}
            assert len(backend.asked) < 10


async def test_p7_a_record_makes_redis_read_nothing_else(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """As the server itself sees it."""
    backend = redis_backend(redis_server)
    manager = CacheManager(backend)
    redis_client.set("foreign:key", "1", ex=60)
    watch = Watch(redis_server)
    try:
        for make in SURFACES:
            manager = CacheManager(backend)
            await manager.delete("it:one")
            surface = make(manager)
            expected = await surface.ask()
            sound = await standing_at(manager, "it:one")
            for name in ("tags", "derived", "nonces"):
                for value in NAMING[::3]:
                    forging = changed(sound, name, value.replace("own:", f"{manager.key_prefix}:"))
                    await harmless(manager, surface, expected, forging)
        keyed = [
            each for each in watch.commands() if each[0].upper() in (b"GET", b"EVALSHA", b"SET")
        ]
        names = {key for each in keyed for key in watch.keys(each)}
        assert not {name for name in names if not name.startswith(f"{manager.key_prefix}:")}
    finally:
        watch.close()
        await manager.clear()
        await manager.close()


forgeries = st.one_of(
    st.tuples(st.just("flip"), st.integers(0), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.integers(0), st.integers(0, 50)),
    st.tuples(st.just("splice"), st.integers(0), st.binary(max_size=30)),
    st.tuples(st.just("field"), st.sampled_from(FIELDS), st.sampled_from(NASTY)),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SURFACES), st.lists(forgeries, min_size=1, max_size=3), st.booleans())
async def test_p9_whatever_was_done_to_a_record(
    make: Callable[[CacheManager], Surface], done: list[tuple[str, Any, Any]], seals: bool
) -> None:
    """Bytes flipped, cut out and put in, with and without a checksum that fits: no error, ever.

    With one that fits, a record may say another value: then it is that, and no error either.
    """
    manager = CacheManager(MemoryBackend())
    surface = make(manager)
    expected = await surface.ask()
    data = await standing_at(manager, "it:one")
    for what, where, more in done:
        try:
            data = mutated(data, what, where, more)
            data = resealed(data) if seals else data
        except (ValueError, IndexError, AttributeError, RecursionError):  # it is no record any more
            break
    await put(manager, "it:one", data)
    found = [await surface.ask() for _ in range(2)]
    missing = object()
    is_there = await manager.get("it:one", missing) is not missing
    assert await manager.exists("it:one") is is_there
    # A field is changed with a checksum that fits.
    if not (seals or "field" in [what for what, _, _ in done]):
        assert found == [expected] * 2


def mutated(data: bytes, what: str, where: Any, more: Any) -> bytes:
    """Return the bytes with something done to them."""
    if what == "field":
        return changed(data, where, more)
    place = where % len(data)
    if what == "flip":
        return data[:place] + bytes([data[place] ^ more]) + data[place + 1 :]
    return data[:place] + (data[place + more :] if what == "cut" else more + data[place:])
