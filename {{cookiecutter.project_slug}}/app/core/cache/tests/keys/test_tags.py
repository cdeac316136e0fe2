"""A tag is one text, whoever names it and how, and what cannot be one is told."""

import itertools
import logging
from typing import Any

import pytest
from fastapi import FastAPI

from ... import CacheManager, cache_response, invalidate_cache
from ...calls import Reader

NAMES = ["ada", "a@b.c", "a b", "a:b", "*", "~", "ü", "x" * 70]


@pytest.mark.parametrize("name", NAMES)
async def test_p3_a_tag_is_the_same_however_it_is_written(
    our_manager: CacheManager, name: str
) -> None:
    """By a template, by hand, and derived from a result, on either side."""
    version = 0

    @cache_response(our_manager, "one", tags=["user:{name}"])
    async def one(name: str) -> int:
        return version

    @cache_response(our_manager, "team", tags=[lambda _: [f"user:{name}"]])
    async def team() -> int:
        return version

    @invalidate_cache(our_manager, tags=["user:{name}"])
    async def update(name: str) -> None:
        nonlocal version
        version += 1

    async def by_hand() -> None:
        nonlocal version
        version += 1
        assert await our_manager.invalidate_tags(f"user:{name}")

    async def set_one() -> Any:
        return await our_manager.get_or_set("set", lambda: version, tags=[f"user:{name}"])

    for write in (by_hand, lambda: update(name)):
        for read in (lambda: one(name), team, set_one):
            await read()
            await write()
            assert await read() == version


@pytest.mark.parametrize("ignore", [(), ("who",)])
async def test_p3_remembered_tags_are_those_of_the_call(
    our_manager: CacheManager, ignore: tuple[str, ...]
) -> None:
    """Whatever types the arguments have, however they are given, and whether the key has them."""
    runs: list[object] = []

    @cache_response(our_manager, "of", ignore=ignore, tags=["number:{number}", "who:{who}"])
    async def of(number: object, who: object = None) -> int:
        runs.append(who)
        return len(runs)

    for number, who in itertools.product([1, True, "1"], [None, 1, "ada", "x" * 70]):
        for tag in (f"number:{number}", f"who:{who}"):
            first = await of(number, who)
            assert await of(who=who, number=number) == first
            assert await of(number, *[each for each in [who] if each is not None]) == first
            assert await our_manager.invalidate_tags(tag)
            assert await of(number, who) == len(runs) > first


@pytest.mark.parametrize("number", [1, 4, 5, 30])
async def test_p3_each_of_many_tags_counts(
    our_manager: CacheManager, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hit compares the nonces of all with the bytes of the record, and decodes none of them."""
    runs: list[int] = []
    tags = [f'tag "%b" {each}: \u00fc' for each in range(number)]

    @cache_response(our_manager, "many", tags=tags)
    async def many() -> int:
        runs.append(1)
        return len(runs)

    for tag in tags:
        before = await many()
        assert await our_manager.invalidate_tags(tag)
        assert await many() == before + 1
    with monkeypatch.context() as patched:
        patched.setattr(Reader, "_record", lambda *_: pytest.fail("a record was decoded"))
        assert await many() == len(runs) == number + 1


async def test_a_call_without_tags_has_a_key(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """It runs uncached, as it is not known what would invalidate it; its key can be asked for."""

    @cache_response(our_manager, "of", tags=["org:{user.org}"])
    async def of(user: Any) -> int:
        return 1

    assert of.cache_key("ada") == of.cache_key(user="ada") != of.cache_key("bob")
    assert await of("ada") == 1
    assert "{user.org} has no text" in caplog.text


@pytest.mark.parametrize("derived", ["user:1", 5, None])
async def test_what_is_no_list_of_tags_is_told(
    our_manager: CacheManager, derived: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A text is not split into letters: nothing is stored, and a warning says why."""
    runs: list[int] = []

    @cache_response(our_manager, "user", tags=[lambda _: derived], ignore=("ran",))
    async def user(ran: list[int]) -> int:
        ran.append(1)
        return 1

    assert [await user(runs), await user(runs)] == [1, 1]
    assert len(runs) == 2
    assert "return a list of texts" in caplog.text


async def test_tags_that_cannot_be_are_refused(our_manager: CacheManager) -> None:
    """An asynchronous function of a result, and a function where there is no result."""

    async def later(_: Any) -> list[str]:
        return []

    with pytest.raises(TypeError, match="asynchronous"):

        @cache_response(our_manager, "user", tags=[later])  # type: ignore[list-item]
        async def user() -> int:
            return 1

    with pytest.raises(TypeError, match="has a function"):
        invalidate_cache(our_manager, tags=[lambda _: ["t"]])  # type: ignore[list-item]


async def test_keys_that_cover_nothing_are_told(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the prefix of all keys was written out, and where the decorator is above the route's."""
    app = FastAPI()

    @invalidate_cache(our_manager, keys=f"{our_manager.key_prefix}:users:*")
    async def update() -> None:
        pass

    await update()
    assert "did you mean 'users:*'" in caplog.text

    @invalidate_cache(our_manager, keys="users:*")
    @app.post("/users")
    async def create() -> None:
        pass

    assert "put invalidate_cache below the decorator of the route" in caplog.text
    assert {each.levelno for each in caplog.records} == {logging.WARNING}


async def test_keys_that_were_written_as_they_are_are_found(our_manager: CacheManager) -> None:
    """By a function that returns a text, and by hand, whatever characters a value holds."""

    @cache_response(our_manager, "read", key=lambda email: f"user:{email}")
    async def read(email: str) -> str:
        return version

    @invalidate_cache(our_manager, keys=["read:user:{email}", "set:{email}"])
    async def update(email: str) -> None:
        pass

    for email in ("bob", "a@b.c", "a b"):
        version = "old"
        await read(email)
        await our_manager.set(f"set:{email}", "old")
        version = "new"
        await update(email)
        assert await read(email) == "new"
        assert await our_manager.get(f"set:{email}") is None
