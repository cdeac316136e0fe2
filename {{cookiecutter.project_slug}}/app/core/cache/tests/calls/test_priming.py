"""A result from outside, by `f.set`: it is the entry of that call, and of no other."""

import asyncio
import logging
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Response
from pydantic import BaseModel

from ... import CacheManager, cache_response
from ..endpoints import get
from ..faults import soon
from ..package import NAME


class User(BaseModel):
    """A result that has to come back as what it is."""

    name: str


async def test_what_was_set_is_what_the_call_returns(our_manager: CacheManager) -> None:
    """By place or by name, and equal in value and type; other calls are not touched."""
    runs: list[int] = []

    @cache_response(our_manager, "users")
    async def read(number: int, *, page: str = "1") -> User:
        runs.append(number)
        return User(name="computed")

    assert await read.set(User(name="ada"), 1) is True
    assert await read.set(User(name="bob"), number=2, page="2") is True
    assert await read(1) == await read(number=1, page="1") == User(name="ada")
    assert await read(2, page="2") == User(name="bob")
    assert runs == []
    assert await read(2) == User(name="computed")
    assert await read.set(User(name="new"), 1) is True
    assert await read(1) == User(name="new")
    assert await read.invalidate(1)
    assert await read(1) == User(name="computed")


async def test_p3_it_has_the_tags_of_its_call(our_manager: CacheManager) -> None:
    """Those of its arguments, and those that are derived from it."""

    @cache_response(our_manager, "users", tags=["user:{number}", lambda user: [f"name:{user}"]])
    async def read(number: int) -> str:
        return "computed"

    for tag in ("user:1", "name:ada"):
        await read.set("ada", 1)
        await read.set("bob", 2)
        assert [await read(1), await read(2)] == ["ada", "bob"]
        await our_manager.invalidate_tags(tag)
        assert [await read(1), await read(2)] == ["computed", "bob"]


async def test_p3_a_computation_does_not_overwrite_it(our_manager: CacheManager) -> None:
    """What began before does not know of it: its caller gets it, and it is not stored."""
    began, go_on = asyncio.Event(), asyncio.Event()

    @cache_response(our_manager, "users")
    async def read() -> str:
        began.set()
        await go_on.wait()
        return "old"

    reading = asyncio.create_task(read())
    await soon(began.wait())
    assert await read.set("new") is True
    go_on.set()
    await soon(reading)
    assert await read() == "new"


async def test_p1_what_cannot_be_stored_is_not_left_old(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, and the old entry is gone: the caller has said that it is not so any more."""

    @cache_response(our_manager, "users", store_if=lambda user: user != "unwanted")
    async def read() -> Any:
        return "computed"

    our_manager.max_entry_bytes = 1000
    for value in (object(), "x" * 2000, "unwanted"):
        assert await read.set("old") is True
        assert await read.set(value) is False
        assert await read() == "computed"
    assert "is not stored" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"store_if": lambda result: result["missing"]},
        {"expire": lambda result: result["missing"]},
        {"expire": lambda result: "soon"},
        {"tags": [lambda result: [result["missing"]]]},
    ],
    ids=["store_if", "expire", "no time", "tags"],
)
async def test_p3_what_cannot_be_judged_is_not_left_old(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    """The caller has said that the old one is not so any more; that it failed is a warning."""
    read = cache_response(our_manager, "users")(computed)
    judged = cache_response(our_manager, "users", **options)(computed)
    assert await read.set({"name": "old"}) is True
    assert await read() == {"name": "old"}
    assert await judged.set({"name": "new"}) is False
    assert "is not stored: its store_if=, expire= or tags= failed: " in caplog.text
    assert await read() == {"name": "computed"}


async def computed() -> dict[str, str]:
    """Return a result that nobody has set."""
    return {"name": "computed"}


async def test_what_is_captured_may_change_before_the_first_call(our_manager: CacheManager) -> None:
    """A result that is set before any call is that of the calls to come."""

    def made() -> Any:
        state = {"number": 1}

        @cache_response(our_manager, "users")
        async def read(number: int) -> int:
            return state["number"] + number

        state["number"] = 2
        return read

    read = made()
    assert await read.set(777, 1) is True
    assert await read(1) == 777


async def test_times_and_exceptions_are_those_of_the_decorator(our_manager: CacheManager) -> None:
    """Its `expire`, also as a function of result and arguments; a time of 0 stores nothing."""
    our_manager.ttl_jitter = 0

    @cache_response(our_manager, "users", expire=lambda user, number: len(user) * number)
    async def read(number: int) -> str:
        return "computed"

    assert await read.set("four", 10) is True
    left = await our_manager.ttl(read.cache_key(10))
    assert left is not None
    assert 30 < left <= 40
    assert await read.set("four", 0) is False


async def test_arguments_that_do_not_fit_are_told(our_manager: CacheManager) -> None:
    """With the signature; those that no key holds may be left out, unless a tag names them."""

    async def session() -> object:
        return object()

    @cache_response(our_manager, "users", ignore=("team", "opened"), tags=["team:{team}"])
    async def read(
        number: int, opened: Annotated[object, Depends(session)], team: str, page: int = 1
    ) -> str:
        return "computed"

    for args, kwargs in (((), {}), ((1, 2, 3, 4, 5), {}), ((1,), {"numbr": 1})):
        with pytest.raises(TypeError, match=r"read\.set\(\).* it takes \(number: int"):
            await read.set("ada", *args, **kwargs)
    with pytest.raises(TypeError, match=r"read\.set\(\) has tags .* need 'team': give it, too"):
        await read.set("ada", 1)
    assert await read.set("ada", 1, team="two") is True


async def test_a_method_is_bound(our_manager: CacheManager) -> None:
    """The object belongs to the call."""

    class Repository:
        def __init__(self, name: str) -> None:
            self.name = name

        def __cache_key__(self) -> str:
            return self.name

        @cache_response(our_manager, "repository")
        async def read(self, number: int) -> str:
            return f"{self.name} {number}"

    one, other = Repository("one"), Repository("other")
    assert await one.read.set("set", 1) is True
    assert [await one.read(1), await other.read(1)] == ["set", "other 1"]
    assert await Repository.read.set("set, too", other, 1) is True
    assert await other.read(1) == "set, too"


@pytest.mark.parametrize("value", [{"name": "ada"}, Response("ada", 200, {"x-a": "1"})])
async def test_an_endpoint_sends_it(our_manager: CacheManager, app: FastAPI, value: Any) -> None:
    """On routes of both classes, as if the endpoint had returned it."""
    runs: list[int] = []

    @app.get("/users/{number}")
    @cache_response(our_manager, "users")
    async def read(number: int) -> Any:
        runs.append(number)
        return value

    expected = await get(app, "/users/1")
    assert await read.set(value, 2) is True
    for _ in range(2):
        response = await get(app, "/users/2")
        assert (response.status_code, response.content) == (200, expected.content)
        assert response.headers.get("x-a") == expected.headers.get("x-a")
    assert runs == [1]


@pytest.mark.parametrize(
    "response",
    [
        Response("no", 404),
        Response("no", headers={"set-cookie": "a=b"}),
        Response("no", headers={"cache-control": "private"}),
    ],
    ids=["status", "cookie", "private"],
)
async def test_p8_a_response_for_one_client_is_not_stored(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture, response: Response
) -> None:
    """By the rules for responses that the function returns."""
    caplog.set_level(logging.DEBUG, NAME)

    @cache_response(our_manager, "users")
    async def read() -> Response:
        return Response("computed")

    assert await read.set(response) is False
    assert (await read()).body == b"computed"


async def test_p10_while_the_cache_is_off_nothing_is_stored(our_manager: CacheManager) -> None:
    """And the old entry goes, for it is old."""

    @cache_response(our_manager, "users")
    async def read() -> str:
        return "computed"

    await read.set("old")
    with our_manager.disabled():
        assert await read.set("new") is False
    assert await read() == "computed"
