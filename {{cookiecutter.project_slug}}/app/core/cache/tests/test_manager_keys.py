"""Keys as people make them: long ones, those of the cache itself, those that spoil a log."""

import logging
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .. import CacheManager, MemoryBackend, RedisBackend, cache_response
from ..keys.by_hand import LONGEST_KEY
from ..resilience.outage import reason
from .package import NAME

CALLS: dict[str, Callable[[CacheManager, str], Awaitable[Any]]] = {
    "get": lambda manager, key: manager.get(key),
    "set": lambda manager, key: manager.set(key, 1),
    "get_or_set": lambda manager, key: manager.get_or_set(key, lambda: 1),
    "delete": lambda manager, key: manager.delete(key),
    "exists": lambda manager, key: manager.exists(key),
    "get_many": lambda manager, key: manager.get_many(["x", key]),
    "set_many": lambda manager, key: manager.set_many({"x": 1, key: 1}),
    "delete_many": lambda manager, key: manager.delete_many(["x", key]),
    "get_or_set_many": lambda manager, key: manager.get_or_set_many(["x", key], dict.fromkeys),
}
LONG = ["a" * (LONGEST_KEY + 1), "a" * 1_000_000, "ü" * 513, "😀" * 257, "\ud800" * 342]


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize("key", LONG, ids=["a byte more", "a megabyte", "ü", "emoji", "half"])
async def test_a_long_key_is_refused(
    manager: CacheManager, call: Callable[[CacheManager, str], Awaitable[Any]], key: str
) -> None:
    """By each method, with its size, the bound and what to do, and in one short line."""
    with pytest.raises(ValueError, match=r"bytes, more than 1024.*sha256") as error:
        await call(manager, key)
    assert len(str(error.value)) < 400
    assert str(error.value).isprintable()


@pytest.mark.parametrize("key", ["a" * LONGEST_KEY, "ü" * 512, "😀" * 256, "\ud800" * 341])
async def test_the_longest_key_works(manager: CacheManager, key: str) -> None:
    """In bytes, whatever the characters."""
    assert await manager.set(key, 1) is True
    assert [await manager.get(key), await manager.exists(key)] == [1, True]
    assert await manager.invalidate(f"{key[:100]}*")
    assert await manager.get(key) is None


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize("key", ["~", "~tags", "~tag:x", "~probe", "~ user"])
async def test_p7_the_caches_own_keys_are_refused(
    manager: CacheManager, call: Callable[[CacheManager, str], Awaitable[Any]], key: str
) -> None:
    """A name that begins with a tilde: nobody sets or removes the nonce of a tag by hand."""
    with pytest.raises(ValueError, match="begins with '~'"):
        await call(manager, key)


def test_p7_no_family_is_named_like_the_caches_own_keys() -> None:
    """Neither by a decorator."""
    with pytest.raises(ValueError, match=r"key_prefix='~tag'.*no '~'"):
        cache_response(CacheManager(MemoryBackend()), key_prefix="~tag")(int.bit_length)


async def test_a_tilde_elsewhere_is_a_character(manager: CacheManager) -> None:
    """As in what a user types behind a name."""
    assert await manager.set("user:~ada", 1) is True
    assert await manager.get("user:~ada") == 1


async def test_a_pattern_may_be_as_long_as_it_likes(our_manager: CacheManager) -> None:
    """It may be made of what users type, and an invalidation is no place to fail; it covers none."""
    await our_manager.set("a", 1)
    for pattern in ("a" * 2000, "a" * 2000 + "*", "~tag:*", "~tag:x"):
        assert await our_manager.invalidate(pattern)
    assert await our_manager.get("a") == 1


@pytest.mark.parametrize("tag", ["", *LONG], ids=lambda tag: f"{tag[:1]!a} {len(tag)}")
async def test_p3_a_tag_is_any_text(manager: CacheManager, tag: str) -> None:
    """A write that is done is no place to fail; tags that differ at their end are two."""
    for other in (f"{tag}x", tag):
        assert await manager.get_or_set("key", lambda: "old", tags=[tag]) == "old"
        assert await manager.invalidate_tags(other) is True
        found = await manager.get_or_set("key", lambda: "new", tags=[tag])
        assert found == ("new" if other == tag else "old")


HOSTILE = {
    "line breaks": "user:\r\nERROR everything is lost\x85\u2028x",
    "a terminal": "user:\x1b[2J\x1b[31mred\x07\x00",
    "half a character": "user:\ud800",
    "right to left": "user:\u202etxt.exe",
    "long": "user:" + "a" * 900,
}


@pytest.mark.parametrize("key", HOSTILE.values(), ids=list(HOSTILE))
async def test_a_log_shows_keys_escaped_and_cut(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    """One line of log is one line, whatever is typed into keys, patterns and tags."""
    caplog.set_level(logging.DEBUG, logger=NAME)
    await our_manager.set(key, 1)
    await our_manager.set(key, object())
    await our_manager.get(key)
    await our_manager.get_or_set(key, lambda: 1, tags=[key])
    await our_manager.get_or_set(f"{key}2", object)
    await our_manager.set(key, 1, expire=0)
    await our_manager.delete(key)
    await our_manager.invalidate(f"{key}*")
    await our_manager.invalidate_tags(key)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith(NAME)]
    assert len(lines) >= 9
    for line in lines:
        assert line.isprintable()
        line.encode()
        assert len(line) < 350
        assert key[:4] not in line or line.count("a" * 80) <= 1


async def test_long_keys_are_not_kept_in_memory(redis_backend_of_tests: RedisBackend) -> None:
    """Of what a backend remembers of keys, the bytes are bounded, not only the number."""
    keys = [f"{redis_backend_of_tests.key_prefix}:{number}" + "k" * 50_000 for number in range(400)]
    tracemalloc.start()
    try:
        for key in keys[:200]:
            await redis_backend_of_tests.look(key)
            future = redis_backend_of_tests.read_nowait(key)
            if future is not None:
                await future
        before, _ = tracemalloc.get_traced_memory()
        for key in keys[200:]:
            await redis_backend_of_tests.look(key)
            future = redis_backend_of_tests.read_nowait(key)
            if future is not None:
                await future
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2_000_000


@pytest.mark.slow
async def test_long_arguments_are_not_kept_in_memory() -> None:
    """Nor many of them, nor their names: of a call, its key is remembered if all is small."""

    @cache_response(CacheManager(MemoryBackend(max_bytes=1000)), "it")
    async def it(*numbers: int, **options: int) -> int:
        return 1

    async def ask(number: int) -> None:
        await it(*[number] * 20_000)
        await it(**{f"{number}" + "n" * 200_000: 1})

    await ask(0)
    tracemalloc.start()
    try:
        for number in range(1, 50):
            await ask(number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2_000_000


def test_a_log_shows_errors_in_one_line() -> None:
    """What a server says, for one, which is a stranger's text."""
    text = reason(OSError("a\r\nb\x1b[2J" + "c" * 5000))
    assert text.startswith(r"OSError: a\r\nb\x1b[2Jccc")
    assert len(text) == 300


@pytest.fixture
def redis_backend_of_tests(redis_manager: CacheManager) -> RedisBackend:
    """Lend the backend of a manager over Redis."""
    backend = redis_manager.backend
    assert isinstance(backend, RedisBackend)
    return backend
