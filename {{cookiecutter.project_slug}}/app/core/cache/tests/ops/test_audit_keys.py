"""What an audit finds in keys and tags (promises P2, P3, P10): they cover nothing, or too much."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from ... import CacheManager, MemoryBackend, cache_response, invalidate_cache
from ...ops.shapes import meet, shape_of
from ..naming import named
from .audited import findings, in_module, the_finding


def shop(manager: CacheManager, *, of: CacheManager | None = None, **invalidated: Any) -> FastAPI:
    """Make an application with cached endpoints, and one that invalidates."""
    app = FastAPI()

    @app.get("/users/{user_id}")
    @cache_response(manager, "users", tags=["user:{user_id}", "users"])
    async def read_user(user_id: int) -> int:
        return user_id

    @app.get("/orders/{order_id}")
    @cache_response(manager, "orders", key="{order_id}", tags=["order:{order_id}"])
    async def read_order(order_id: str) -> str:
        return order_id

    @app.get("/reports/{name}")
    @cache_response(manager, "reports:daily", key=lambda name: ("of", name))
    async def read_report(name: str) -> str:
        return name

    @app.put("/users/{user_id}")
    @invalidate_cache(of or manager, **invalidated)
    async def write_user(user_id: int, name: str = "") -> int:
        return user_id

    return app


@pytest.mark.parametrize(
    ("pattern", "nearest", "reader"),
    [
        ("user:*", "users:*", "read_user"),
        ("users", "users:*", "read_user"),
        ("users:{user_id}", "users:*", "read_user"),
        ("users:{user_id}:*", "users:*", "read_user"),
        ("users:read_users:*", "users:*", "read_user"),
        ("app:users:*", "users:*", "read_user"),
        ("User:*", "users:*", "read_user"),
        ("orders:order:{user_id}", "orders:{order_id}", "read_order"),
        ("order:{user_id}", "orders:{order_id}", "read_order"),
        ("orders", "orders:{order_id}", "read_order"),
        ("orders:7:8", "orders:{order_id}", "read_order"),
        ("report:*", "reports:daily:*", "read_report"),
        ("reports:weekly:*", "reports:daily:*", "read_report"),
        ("reports:of:*", "reports:daily:*", "read_report"),
        ("nothing at all", "reports:daily:*", "read_report"),
    ],
)
def test_p10_a_pattern_that_covers_nothing_is_found(
    pattern: str, nearest: str, reader: str, memory: CacheManager
) -> None:
    """With the nearest one, which does no harm, and which is right."""
    app = shop(memory, keys=["orders:*", pattern])
    found = the_finding(app, "pattern", "write_user", "keys= of write_user", reader)
    assert f"keys={pattern!r}" in found.what
    assert f"{nearest!r} of {reader}" in found.what
    suggested = re.findall(r"add '(.*?)' to keys=", found.mend) or ["orders:*"]
    assert findings(shop(CacheManager(MemoryBackend()), keys=suggested)) == []
    assert ("take" in found.mend) is (suggested == ["orders:*"])


@pytest.mark.parametrize(
    "pattern",
    [
        "users:*",
        "users*",
        "*",
        "us*",
        "*:read_user:*",
        "users:*read_user:*",
        "orders:{user_id}",
        "orders:7",
        "orders:{name}",
        "orders:{user_id}*",
        "reports:daily:of:{name}",
        "reports:daily:{name}:{user_id}",
        "reports:daily:anything:at:all",
        "reports:*",
    ],
)
def test_p10_a_pattern_that_may_cover_something_is_right(
    pattern: str, memory: CacheManager
) -> None:
    """By a wildcard, by a value, and where a function makes the key."""
    assert findings(shop(memory, keys=pattern)) == []


@pytest.mark.parametrize(
    ("tag", "nearest", "reader"),
    [
        ("user", "users", "read_user"),
        ("users:{user_id}", "users", "read_user"),
        ("usr:{user_id}", "user:{user_id}", "read_user"),
        ("user:{user_id}:name", "user:{user_id}", "read_user"),
        ("orders:{user_id}", "order:{order_id}", "read_order"),
        ("users*", "users", "read_user"),
    ],
)
def test_p10_a_tag_that_nothing_has_is_found(
    tag: str, nearest: str, reader: str, memory: CacheManager
) -> None:
    """With the nearest one; a tag has no wildcard."""
    found = the_finding(shop(memory, tags=["users", tag]), "tag", repr(nearest), reader)
    assert f"tags={tag!r}" in found.what
    assert "write_user" in found.mend
    assert ("in place of order_id" in found.mend) is (reader == "read_order")


@pytest.mark.parametrize("tag", ["users", "user:{user_id}", "user:7", "order:{name}"])
def test_p10_a_tag_that_something_has_is_right(tag: str, memory: CacheManager) -> None:
    """Whatever the arguments are called."""
    assert findings(shop(memory, tags=[tag])) == []


def test_p10_where_tags_are_derived_nobody_knows(memory: CacheManager) -> None:
    """A function makes them of the result."""
    app = shop(memory, tags=["team:{name}"])
    the_finding(app, "tag", "write_user")

    @app.get("/teams")
    @cache_response(memory, "teams", tags=[lambda value: [f"team:{value}"]])
    async def read_team() -> int:
        return 1

    assert findings(app) == []


def test_p10_where_nothing_has_a_tag_no_other_one_is_named(memory: CacheManager) -> None:
    """But what to do."""
    app = FastAPI()

    @app.get("/it")
    @cache_response(memory, "it")
    async def read_it() -> int:
        return 1

    @app.put("/it")
    @invalidate_cache(memory, tags=["it"])
    async def write_it() -> int:
        return 1

    found = the_finding(app, "tag", "write_it", "give one")
    assert "'it'" in found.what


@pytest.mark.parametrize("invalidated", [{"keys": "users:*"}, {"tags": ["users"]}], ids=named)
def test_p10_another_manager_is_found(invalidated: dict[str, Any], memory: CacheManager) -> None:
    """It has other entries, unless it has the backend of the first one."""
    other = CacheManager(MemoryBackend())
    found = the_finding(
        shop(memory, of=other, **invalidated), "pattern" if "keys" in invalidated else "tag"
    )
    assert "cache_manager of read_user" in found.mend
    assert "write_user" in found.mend
    same = CacheManager(memory.backend)
    assert findings(shop(CacheManager(MemoryBackend()), of=None, **invalidated)) == []
    assert findings(shop(memory, of=same, **invalidated)) == []


def test_p10_what_has_its_readers_in_another_process_is_right(memory: CacheManager) -> None:
    """Nothing is cached here with this manager: nobody knows what it is to cover."""
    other = CacheManager(MemoryBackend())
    assert findings(shop(memory, of=other, keys="elsewhere:*", tags=["elsewhere"])) == []


def test_p10_a_function_without_a_route_counts(memory: CacheManager) -> None:
    """What is cached anywhere with the manager may be what is meant."""
    app = shop(memory, keys="teams:*")
    the_finding(app, "pattern", "write_user")

    @cache_response(memory, "teams")
    async def load_team() -> int:
        return 1

    assert findings(app) == []
    assert callable(load_team)


# Shapes.


@given(st.text("ab:*", max_size=8), st.text("ab:", max_size=8))
def test_a_pattern_meets_what_it_matches(pattern: str, text: str) -> None:
    """As a regular expression says, and in either order."""
    one, other = shape_of(pattern, has_wildcards=True), shape_of(text, has_wildcards=False)
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
    assert meet(one, other) is meet(other, one) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a:{x}", "a:{y}", True),
        ("a:{x}", "{y}:b", True),
        ("a:{x}", "{y}:{z}:b", False),
        ("{x}{y}", "a:b", False),
        ("a{{b", "a{{{x}", True),
        ("{x}:*", "*:a:{y}", True),
        ("", "", True),
        ("", "a", False),
        ("*" * 50 + "b", "a" * 200, False),
    ],
)
def test_shapes_meet_where_a_text_has_both(one: str, other: str, expected: bool) -> None:
    """A value has no colon; a wildcard may have any."""
    shapes = [shape_of(each, has_wildcards=True) for each in (one, other)]
    assert meet(*shapes) is meet(*reversed(shapes)) is expected


# Prefixes.


def cached(module: str, name: str, manager: CacheManager, prefix: str, **options: Any) -> Any:
    """Make a cached function of some module."""

    async def function(number: int, text: str = "") -> int:
        return number

    function.__name__ = function.__qualname__ = name
    ignored = ("text",) if "key" in options else ()
    cache = cache_response(manager, prefix, ignore=ignored, **options)
    return cache(in_module(module)(function))


def everyone(manager: CacheManager) -> Any:
    """Make a cached function with one key."""

    async def read_all() -> int:
        return 1

    return cache_response(manager, "users", key="all")(in_module("shop.users")(read_all))


def routed(*functions: Any) -> FastAPI:
    """Make an application with these endpoints."""
    app = FastAPI()
    for place, function in enumerate(functions):
        app.get(f"/{place}")(function)
    return app


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("users", "of:{number}"), ("users:of", "{text}")),
        (("users", "admin:{number}"), ("users:admin", "{number}")),
        (("users", "{text}:{number}"), ("users", "{number}:{text}")),
    ],
    ids=named,
)
def test_p10_keys_that_may_be_equal_are_found(
    one: tuple[str, str], other: tuple[str, str], memory: CacheManager
) -> None:
    """Each takes the other's entries away; with a prefix of its own it does not."""

    first = cached("shop.a", "read_one", memory, one[0], key=one[1])
    second = cached_other(memory, *other)
    found = the_finding(routed(first, second), "prefix", "read_other", "key_prefix=")
    assert "read_one" in found.what
    elsewhere = cached_other(CacheManager(MemoryBackend()), *other)
    assert findings(routed(first, elsewhere)) == []
    mended = cached_other(memory, "mended", other[1])
    assert findings(routed(first, mended)) == []


def cached_other(manager: CacheManager, prefix: str, key: str) -> Any:
    """Make another cached function."""

    async def read_other(number: int, text: str = "") -> int:
        return number + 1

    ignored = [name for name in ("number", "text") if name not in key]
    cache = cache_response(manager, prefix, key=key, ignore=ignored)
    return cache(in_module("shop.b")(read_other))


def test_p10_a_prefix_that_was_copied_is_found(memory: CacheManager) -> None:
    """It is that of another module, and neither module nor function is named for it."""
    users = cached("shop.users", "read_user", memory, "users")
    orders = cached("shop.orders", "read_order", memory, "users")
    found = the_finding(routed(users, orders), "prefix", "read_order", "key_prefix=")
    assert "'users'" in found.what
    assert "read_user" in found.what
    assert found.mend.index("key_prefix= of its own") < found.mend.index("if it is meant")
    mended = cached("shop.orders", "read_order", memory, "orders")
    assert findings(routed(users, mended)) == []


def one_decorator(manager: CacheManager) -> list[Any]:
    cache = cache_response(manager, "users")

    async def one() -> int:
        return 1

    async def two() -> int:
        return 2

    return [cache(in_module("shop.users")(one)), cache(in_module("shop.orders")(two))]


@pytest.mark.parametrize(
    "make",
    [
        one_decorator,
        lambda manager: [
            cached("shop.users", "read_user", manager, "users", tags=["users"]),
            cached("shop.orders", "read_order", manager, "users", tags=["orders", "users"]),
        ],
        lambda manager: [
            cached("shop.users", "read_user", manager, "users"),
            cached("shop.orders", "users_with_orders", manager, "users"),
        ],
        lambda manager: [
            cached("shop.users", "read_user", manager, "users"),
            cached("shop.users", "read_all", manager, "users"),
        ],
        lambda manager: [
            cached("shop.orders", "read_users", manager, "users"),
            cached("shop.orders", "load", manager, "users"),
        ],
        lambda manager: [
            cached("shop.api.users", "read_one", manager, "users"),
            cached("shop.services.users", "load", manager, "users"),
        ],
        lambda manager: [
            cached("shop.people", "read_one", manager, "users"),
            cached("shop.orders", "load", manager, "users"),
        ],
        lambda manager: [
            cached("shop.users", "read_user", manager, "users"),
            cached("shop.orders", "read_order", manager, "users:orders"),
        ],
        lambda manager: [
            cached("shop.users", "read_user", manager, "users"),
            cached("shop.orders", "read_order", CacheManager(MemoryBackend()), "users"),
        ],
        lambda manager: [
            everyone(manager),
            cached("shop.users", "read_user", manager, "users", key="{number}"),
        ],
    ],
)
def test_p10_a_prefix_that_is_shared_on_purpose_is_right(
    make: Callable[[CacheManager], list[Any]], memory: CacheManager
) -> None:
    """By one decorator, tag, or name; and a prefix below another one is a family of it."""
    assert findings(routed(*make(memory))) == []
