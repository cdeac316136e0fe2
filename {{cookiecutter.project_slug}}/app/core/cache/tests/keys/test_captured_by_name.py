"""What a function captured counts, whatever names it and its variables have (promise P8)."""

import functools
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ... import CacheManager, MemoryBackend, cache_response
from ..package import ROOT, program

Read = Callable[[int], Awaitable[Any]]


class Client:
    """What has no identity."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def get(self, number: int) -> str:
        """Return what it is asked for."""
        return f"{self.name} {number}"


async def fetch(number: int) -> Any:
    """Return something, in a function of a module, which others wrap."""
    return number


def with_source(source: Any) -> Callable[[Any], Any]:
    """Return a decorator that captures a client, a text, or a dict with a text."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        async def inner(number: int) -> str:
            name = source["name"] if isinstance(source, dict) else source
            return f"{getattr(name, 'name', name)} {await function(number)}"

        return inner

    return decorate


def retry(function: Any) -> Any:
    """Do nothing but call it."""

    @functools.wraps(function)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return inner


@functools.wraps(fetch)
async def as_alice(number: int) -> str:
    """Return something under the name of another function, without a closure."""
    return f"alice {number}"


@functools.wraps(fetch)
async def as_bob(number: int) -> str:
    """Return something else."""
    return f"bob {number}"


def a_client_behind_wraps(manager: CacheManager, who: str, **options: Any) -> Read:
    """Wrap a function of a module."""
    return cache_response(manager, "one", **options)(with_source(Client(who))(fetch))


def a_text_behind_wraps(manager: CacheManager, who: str) -> Read:
    """Do so with plain data."""
    return cache_response(manager, "one")(with_source(who)(fetch))


def a_client_behind_two(manager: CacheManager, who: str) -> Read:
    """Wrap it twice."""
    return cache_response(manager, "one")(retry(with_source(Client(who))(fetch)))


def a_dict_that_is_filled_later(manager: CacheManager, who: str) -> Read:
    """Capture a dict behind `wraps`."""
    source: dict[str, str] = {}
    read = cache_response(manager, "one")(with_source(source)(fetch))
    source["name"] = who
    return read


def a_bound_method(manager: CacheManager, who: str) -> Read:
    """Wrap a method of an object."""
    return cache_response(manager, "one")(retry(Client(who).get))


def a_bound_method_with_a_key(manager: CacheManager, who: str) -> Read:
    """Do so with a key of one's own."""
    return cache_response(manager, "one", key="{number}")(retry(Client(who).get))


def a_name_without_a_closure(manager: CacheManager, who: str) -> Read:
    """Give two functions one name."""
    return cache_response(manager, "one")(as_alice if who == "alice" else as_bob)


def a_variable_of_its_own_name(manager: CacheManager, who: str) -> Read:
    """Name a function as what it captured."""

    def repository(get: Any) -> Any:
        class Repository:
            @staticmethod
            @cache_response(manager, "one")
            async def get(number: int) -> str:
                return f"{get.name} {number}"

        return Repository

    return repository(Client(who)).get  # type: ignore[no-any-return]


def a_local_class_with_super(manager: CacheManager, who: str) -> Read:
    """Let the class decide."""

    class Base:
        async def get(self, number: int) -> str:
            return f"{who} {number}"

    class Repository(Base):
        @cache_response(manager, "one", ignore=("self",))
        async def get(self, number: int) -> str:
            return await super().get(number)

    return Repository().get


def a_local_class_by_name(manager: CacheManager, who: str) -> Read:
    """Let an attribute of the class decide, in a static method."""

    class Repository:
        name = who

        @staticmethod
        @cache_response(manager, "one")
        async def get(number: int) -> str:
            return f"{__class__.name} {number}"  # type: ignore[name-defined]

    return Repository.get


def an_attribute_of_a_function(manager: CacheManager, who: str) -> Read:
    """Capture a function that has attributes."""

    def helper() -> Any:
        return helper.name  # type: ignore[attr-defined]

    helper.name = who  # type: ignore[attr-defined]

    @cache_response(manager, "one")
    async def get(number: int) -> str:
        return f"{helper()} {number}"

    return get


def an_attribute_of_its_own(manager: CacheManager, who: str) -> Read:
    """Read an attribute of the function itself."""

    async def get(number: int) -> str:
        return f"{get.name} {number}"  # type: ignore[attr-defined]

    get.name = who  # type: ignore[attr-defined]
    return cache_response(manager, "one")(get)


def a_module_that_is_not_imported(manager: CacheManager, who: str) -> Read:
    """Capture a module that nobody finds by its name."""
    module: Any = ModuleType("plugin")
    module.name = who

    @cache_response(manager, "one")
    async def get(number: int) -> str:
        return f"{module.name} {number}"

    return get


def a_logger_that_is_not_known(manager: CacheManager, who: str) -> Read:
    """Capture a logger that `getLogger` does not return."""
    logger: Any = type("Own", (logging.Logger,), {})("plugin")
    logger.who = who

    @cache_response(manager, "one")
    async def get(number: int) -> str:
        return f"{logger.who} {number}"

    return get


KINDS = [
    a_client_behind_wraps,
    a_text_behind_wraps,
    a_client_behind_two,
    a_dict_that_is_filled_later,
    a_bound_method,
    a_bound_method_with_a_key,
    a_name_without_a_closure,
    a_variable_of_its_own_name,
    a_local_class_with_super,
    a_local_class_by_name,
    an_attribute_of_a_function,
    an_attribute_of_its_own,
    a_module_that_is_not_imported,
    a_logger_that_is_not_known,
]


@pytest.mark.parametrize("make", KINDS)
async def test_p8_functions_of_one_name_share_nothing(make: Callable[..., Read]) -> None:
    """Two managers on one backend: what one has stored is of no use to the other."""
    backend = MemoryBackend()
    found = [await make(CacheManager(backend), who)(1) for who in ("alice", "bob", "alice")]
    assert found == ["alice 1", "bob 1", "alice 1"]


class Lazy:
    """What stands for an object that is made at the first use, and is not to be made yet."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"it is not there yet, and has no {name}")


async def test_p5_what_was_captured_is_not_asked_what_it_wraps() -> None:
    """It may do anything then: raise, begin to connect, or wrap ever more."""
    captured = Lazy()

    @cache_response(CacheManager(MemoryBackend()), "lazy")
    async def get(number: int) -> int:
        return number if captured is not None else 0

    assert await get(1) == await get(1) == 1


ORDINARY = """
import asyncio, functools, logging
from typing import Generic, TypeVar
from {package} import CacheManager, MemoryBackend, cache_response

T = TypeVar("T")
manager = CacheManager(MemoryBackend())
cached = cache_response(manager, "one")
of_self = cache_response(manager, "one", ignore=("self",))
of_cls = cache_response(manager, "one", ignore=("cls",))

class Limiter: ...

def limited(limiter):
    def decorate(function):
        @functools.wraps(function)
        async def inner(*args, **kwargs):
            return limiter and await function(*args, **kwargs)
        return inner
    return decorate

class Base(Generic[T]):
    async def get(self, number): return number
    @classmethod
    async def of_class(cls, number): return number

class Repository(Base[int]):
    @of_self
    async def get(self, number: int): return await super().get(number)
    @of_self
    @limited(Limiter())
    async def wrapped(self, number: int): return await super().get(number)
    @limited(Limiter())
    @of_self
    async def inside(self, number: int): return await super().get(number)
    @of_cls
    @classmethod
    async def of_class(cls, number: int): return await super().of_class(number)
    @classmethod
    @of_cls
    async def in_class(cls, number: int): return await super().of_class(number)
    @staticmethod
    @cached
    async def static(number: int): return __class__.__name__

@cached
@limited(Limiter())
async def fetch(number: int): return number

@cached
async def plain(number: int): return number and await plain(number - 1)

def make(name):
    @cache_response(manager, "made")
    async def count(number: int): return number and await count(number - 1)
    return count

async def main():
    logging.basicConfig(format="%(message)s")
    it = Repository()
    for read in (it.get, it.wrapped, it.inside, it.of_class, it.in_class, it.static, fetch, plain,
                 make("a")):
        assert await read(2) == await read(2)
    print(*sorted(map(bytes.hex, manager.readers)))

asyncio.run(main())
"""


def test_p8_ordinary_functions_are_the_same_in_every_process(tmp_path: Path) -> None:
    """Methods with `super()`, decorated functions, and those that call themselves."""
    file = tmp_path / "ordinary.py"
    file.write_text(program(ORDINARY))
    command = [sys.executable, "-B", str(file)]
    env = {"PYTHONPATH": str(ROOT)}
    one, two = (
        subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
        for _ in range(2)
    )
    assert (one.stderr, two.stderr) == ("", "")
    assert one.stdout == two.stdout
    assert len(one.stdout.split()) >= 9


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what has been warned of."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


async def test_p10_what_a_wrapped_function_captured_is_told_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not the variable in which the decorator holds the function."""
    client = Client("alice")

    @cache_response(CacheManager(MemoryBackend()), "one")
    @retry
    async def get(number: int) -> str:
        return f"{client.name} {number}"

    await get(1)
    [message] = told(caplog)
    assert "it captured 'client', a " in message
    assert "'function'" not in message


async def test_p10_functions_of_one_name_and_key_are_told_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They captured different objects: nobody has to look for another function."""
    manager = CacheManager(MemoryBackend())
    one, two = (a_client_behind_wraps(manager, who, key="{number}") for who in ("a", "b"))
    for _ in range(2):
        assert (await one(1), await two(1)) == ("a 1", "b 1")
    [message, *_] = [each for each in told(caplog) if "the same keys" in each]
    assert "which captured another object" in message
    assert "make the object an argument" in message
    assert "key_prefix=" in message


async def test_p8_what_was_the_only_one_is_seen_again() -> None:
    """A function may turn out to be none that its module has."""
    module = sys.modules[__name__]
    backend, made = MemoryBackend(), fetch
    found = []
    for who in ("alice", "bob"):
        del module.fetch
        read = cache_response(CacheManager(backend), "one")(with_source(Client(who))(made))
        module.fetch = made  # type: ignore[attr-defined]
        found.append(await read(1))
    assert found == ["alice 1", "bob 1"]
