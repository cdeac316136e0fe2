"""A function that reads who asks from a context variable, however it comes to it, is not shared."""
# ruff: noqa: PLC3002, PLW0108 - it is the code of the lambdas that is followed

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest

from ... import CacheManager, cache_response
from .asking import as_users

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


def current() -> str:
    """Say who asks."""
    return tenant.get()


class Base:
    """Says who asks in several ways."""

    held = tenant

    def __init__(self) -> None:
        self._variable = tenant

    @staticmethod
    def static() -> str:
        """Say who asks."""
        return current()

    @classmethod
    def of_class(cls) -> str:
        """Say who asks."""
        return cls.static()

    @property
    def name(self) -> str:
        """Who asks."""
        return self._variable.get()

    def method(self) -> str:
        """Say who asks."""
        return self._variable.get()

    def __getitem__(self, key: str) -> str:
        return self._variable.get()

    def __call__(self) -> str:
        return self.method()

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *_: object) -> None:
        pass


class Derived(Base):
    """Has all from its base."""


class Slotted:
    """Has its variable in a slot."""

    __slots__ = ("_variable",)

    def __init__(self) -> None:
        self._variable = tenant

    def get(self) -> str:
        """Say who asks."""
        return self._variable.get()


def prefixed(func: Callable[[], str]) -> Callable[[], str]:
    """Let a function say who asks before what it says."""

    @functools.wraps(func)
    def with_prefix() -> str:
        return tenant.get() + func()

    return with_prefix


@prefixed
def decorated() -> str:
    """Say nothing."""
    return ""


def by_default(variable: ContextVar[str] = tenant) -> str:
    """Say who asks."""
    return variable.get()


known, slotted = Derived(), Slotted()
bag = SimpleNamespace(variable=tenant)
variables, functions = {"tenant": tenant}, [current]
bound, partly = known.method, functools.partial(by_default)


def with_statement() -> str:
    """Say who asks."""
    with known as found:
        return found


def import_inside() -> str:
    """Say who asks."""
    from .test_context_variables import tenant as imported  # noqa: PLC0415

    return imported.get()


WAYS: dict[str, Callable[[], str]] = {
    "the variable": lambda: tenant.get(),
    "a function": lambda: current(),
    "a function that stands further down": lambda: further_down(),
    "a function inside": lambda: (lambda: current())(),
    "a default": lambda: by_default(),
    "a decorator": lambda: decorated(),
    "a partial": lambda: partly(),
    "a bound method": lambda: bound(),
    "a static method": lambda: Base.static(),
    "a class method": lambda: Derived.of_class(),
    "a method": lambda: known.method(),
    "a method of a new object": lambda: Derived().method(),
    "a property": lambda: known.name,
    "an attribute of a class": lambda: Derived.held.get(),
    "an item": lambda: known["name"],
    "a call of an object": lambda: known(),
    "a with statement": with_statement,
    "a slot": lambda: slotted.get(),
    "an object of a library's class": lambda: bag.variable.get(),
    "a dict": lambda: variables["tenant"].get(),
    "a list": lambda: functions[0](),
    "an import inside": import_inside,
}


def further_down() -> str:
    """Say who asks."""
    return tenant.get()


def reading(way: str) -> Any:
    """Return a function that says who asks, in this way."""
    read = WAYS[way]

    async def read_it() -> str:
        return read()

    return read_it


@pytest.mark.parametrize("way", WAYS)
async def test_p8_whoever_reads_a_context_variable_is_not_shared(
    manager: CacheManager, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Two users never see each other's answer, and the log names the variable."""
    cached = cache_response(manager, "read")(reading(way))
    assert await as_users(cached, tenant) == ["alice", "bob"] * 2
    assert "the context variable 'tenant'" in caplog.text


@pytest.mark.parametrize("way", WAYS)
async def test_p8_a_context_variable_in_vary_is_part_of_the_key(
    manager: CacheManager, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Named in `vary=`, each value has its entry, and nothing is warned of."""
    runs = []
    read = reading(way)

    async def counted() -> str:
        runs.append(way)
        return str(await read())

    cached = cache_response(manager, "read", vary=(tenant,))(counted)
    assert await as_users(cached, tenant) == ["alice", "bob"] * 2
    assert len(runs) == 2
    assert "uncached" not in caplog.text


async def test_p8_what_a_key_of_ones_own_reads_is_in_the_key(manager: CacheManager) -> None:
    """A `key=` function that reads the variable holds it."""
    runs = []

    async def read(item: int) -> str:
        runs.append(item)
        return current()

    cached = cache_response(manager, "read", key=lambda item: f"{current()}:{item}")(read)
    assert await as_users(lambda: cached(1), tenant) == ["alice", "bob"] * 2
    assert runs == [1, 1]


async def test_p8_a_function_that_calls_a_cached_one_depends_on_what_that_reads(
    manager: CacheManager,
) -> None:
    """The inner one's `vary=` does not put the variable into the outer one's key."""
    inner = cache_response(manager, "inner", vary=(tenant,))(reading("a function"))

    @cache_response(manager, "outer")
    async def outer() -> str:
        return str(await inner())

    assert await as_users(outer, tenant) == ["alice", "bob"] * 2


def spanned(func: Callable[[], Awaitable[str]]) -> Callable[[], Coroutine[Any, Any, str]]:
    """Set a variable around a function, as a tracer does."""

    @functools.wraps(func)
    async def with_span() -> str:
        token = span.set("read")
        try:
            return await func()
        finally:
            span.reset(token)

    return with_span


def continued(func: Callable[[], Awaitable[str]]) -> Callable[[], Coroutine[Any, Any, str]]:
    """Set a variable around a function, and tell what it was before."""

    @functools.wraps(func)
    async def with_old() -> str:
        token = tenant.set("read")
        try:
            return await func() + str(token.old_value)
        finally:
            tenant.reset(token)

    return with_old


span: ContextVar[str] = ContextVar("span", default="")


async def test_p8_a_variable_that_is_only_set_decides_about_nothing(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless what it was before is read, from the token."""
    runs = []

    async def counted() -> str:
        runs.append(1)
        return ""

    traced = cache_response(manager, "traced")(spanned(counted))
    assert [await traced(), await traced()] == ["", ""]
    assert runs == [1]
    assert "uncached" not in caplog.text
    told = cache_response(manager, "told")(continued(counted))
    assert await as_users(told, tenant) == ["alice", "bob"] * 2


async def test_p8_what_libraries_and_the_cache_read_keeps_nothing_from_the_cache(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Loggers, the event loop and the cache's own functions decide about no result."""
    runs = []
    inner = cache_response(manager, "inner")(reading_nothing)

    @cache_response(manager, "outer")
    async def outer() -> str:
        runs.append(1)
        logging.getLogger(__name__).debug("running")
        await manager.get("another")
        await asyncio.sleep(0)
        return str(await inner())

    assert [await outer(), await outer()] == ["nothing", "nothing"]
    assert runs == [1]
    assert "uncached" not in caplog.text


async def reading_nothing() -> str:
    """Say the same to everybody."""
    return "nothing"
