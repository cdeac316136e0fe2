"""Functions of one name: each has entries of its own, or is refused (promise P2)."""

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from pydantic import BaseModel

from ... import CacheManager, MemoryBackend, cache_response
from ...keys.identity import Identity
from ...values.classes import NO_CLASSES
from ..processes import printed_by

Reader = Callable[[int], Coroutine[Any, Any, Any]]


class User(BaseModel):
    """One class that a factory is given."""


class Order(BaseModel):
    """Another one."""


async def load_users(number: int) -> str:
    return f"user {number}"


async def load_orders(number: int) -> str:
    return f"order {number}"


def crud(manager: CacheManager, captured: Any, **options: Any) -> Reader:
    """Make a reader as a factory of routers does: each of the same module and name."""

    @cache_response(manager, **{"key_prefix": "crud", **options})
    async def read(number: int) -> str:
        if callable(captured) and not isinstance(captured, type):
            return str(await captured(number))
        return f"{captured!r} {number}"

    return read


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (User, Order),
        ("users", "orders"),
        (1, "1"),
        (load_users, load_orders),
        ({"table": "users"}, {"table": "orders"}),
        (("a", 1), ("a", 2)),
    ],
)
async def test_p2_closures_with_different_captures_do_not_meet(
    memory: CacheManager, one: Any, two: Any
) -> None:
    """What a closure captured is part of its identity."""
    first, second = crud(memory, one), crud(memory, two)
    assert await first(1) != await second(1)
    assert await first(1) != await second(1)


@pytest.mark.parametrize("captured", [User, "users", load_users, ("a", 1), None])
async def test_p2_closures_with_equal_captures_are_one_function(
    memory: CacheManager, captured: Any
) -> None:
    """A factory that is called twice with the same makes one family of entries."""
    await crud(memory, captured)(1)
    await crud(memory, captured)(1)
    backend = memory.backend
    assert isinstance(backend, MemoryBackend)
    assert len(backend._entries) == 1


@pytest.mark.parametrize("make", [object, list, dict])
async def test_p2_closures_that_cannot_be_told_apart_do_not_meet(
    memory: CacheManager, make: Callable[[], object]
) -> None:
    """Two objects without identity, or two that will be filled, are not one and the same."""
    runs: list[str] = []

    def made(name: str, captured: object) -> Any:
        @cache_response(memory, "crud")
        async def read() -> list[Any]:
            runs.append(name)
            return [name, repr(captured)[:0]]

        return read

    one, two = made("one", make()), made("two", make())
    assert [await one(), await two(), await two(), await one()] == [
        ["one", ""],
        ["two", ""],
        ["two", ""],
        ["one", ""],
    ]


def bodies(taken: Any) -> tuple[Callable[[], object], ...]:
    """Return closures that differ in one constant, of every kind that a compiler makes."""
    return (
        *(lambda: taken[1:2], lambda: taken[1:3], lambda: taken[..., 1:2], lambda: taken[..., 0]),
        *(lambda: taken[::-1], lambda: taken[()], lambda: taken[1:2, 3:4], lambda: taken is ...),
        *(lambda: taken in {1, 2}, lambda: taken in (1, 2), lambda: taken in (1, (2, ...))),
        *(lambda: (taken, 1), lambda: (taken, -1), lambda: (taken, 1.0), lambda: (taken, -0.0)),
        *(lambda: (taken, 1j), lambda: (taken, True), lambda: (taken, None), lambda: (taken, "1")),
        *(lambda: (taken, b"1"), lambda: (taken, "..."), lambda: [each[1:] for each in taken]),
        *(lambda: f"{taken[:3]!r:>{10}}", lambda: lambda: taken[:3], lambda: lambda: taken[:4]),
    )


def test_p2_closures_are_told_apart_by_the_constants_of_their_code() -> None:
    """None is refused: Python 3.14 made constants of slices."""
    made, again = ([Identity(each, NO_CLASSES) for each in bodies("x")] for _ in range(2))
    for (here, one), (there, other) in product(enumerate(made), enumerate(again)):
        assert one.is_same(other) == (here == there)


@pytest.mark.parametrize(
    ("attribute", "one", "two"),
    [
        ("__module__", "users", "orders"),
        ("__qualname__", "\u00e4", "\u00f6"),
        ("__qualname__", "a" + "x" * 100, "b" + "x" * 100),
    ],
)
def test_p2_module_and_whole_name_count(attribute: str, one: str, two: str) -> None:
    """Also letters that do not stand in a key, and those that are too many for it."""

    def named(value: str) -> bytes:
        async def function() -> None: ...

        setattr(function, attribute, value)
        return Identity(function, NO_CLASSES).who

    assert named(one) == named(one) != named(two)


async def test_p2_a_key_prefix_of_its_own_mends_it(memory: CacheManager) -> None:
    """As the error says."""
    one = crud(memory, object(), key_prefix="one")
    two = crud(memory, object(), key_prefix="two")
    assert await one(1) != await two(1)


def test_p2_the_same_object_may_be_captured_twice(memory: CacheManager) -> None:
    """Functions that share what they captured answer alike."""
    captured = object()
    crud(memory, captured)
    crud(memory, captured)


def test_p2_a_redefinition_is_refused(memory: CacheManager) -> None:
    """Another body under the same name would be answered with the first one's results."""

    def define(body: int) -> None:
        if body == 1:

            @cache_response(memory, "same")
            async def function(number: int) -> int:
                return number + 1

        else:

            @cache_response(memory, "same")
            async def function(number: int) -> int:
                return number + 2

    define(1)
    define(1)
    with pytest.raises(ValueError, match="share its entries"):
        define(2)


def test_p2_one_key_template_belongs_to_one_function(memory: CacheManager) -> None:
    """Two functions with the same `key=` under the same `key_prefix` would share entries."""

    @cache_response(memory, "users", key="user:{number}")
    async def one(number: int) -> int:
        return number

    with pytest.raises(ValueError, match="share its entries"):

        @cache_response(memory, "users", key="user:{number}")
        async def two(number: int) -> int:
            return number


async def test_p2_functions_that_make_the_same_key_are_not_mixed_up(memory: CacheManager) -> None:
    """A record names the function too, for keys that a function makes cannot be compared."""

    @cache_response(memory, "users", key=lambda number: f"n{number}")
    async def one(number: int) -> str:
        return f"one {number}"

    @cache_response(memory, "users", key=lambda number: f"n{number}")
    async def two(number: int) -> str:
        return f"two {number}"

    for _ in range(2):
        assert [await one(1), await two(1)] == ["one 1", "two 1"]


async def test_p2_methods_are_keyed_by_their_object(memory: CacheManager) -> None:
    """`self` is an argument like others: by its class and by what it is."""

    @dataclass(frozen=True)
    class Base:
        name: str

        @cache_response(memory, "method")
        async def read(self, number: int) -> str:
            return f"{type(self).__name__} {self.name} {number}"

    class Other(Base):
        pass

    assert await Base("a").read(1) == "Base a 1"
    assert await Base("b").read(1) == "Base b 1"
    assert await Other("a").read(1) == "Other a 1"
    assert await Base("a").read(1) == "Base a 1"


async def test_p2_a_method_of_an_object_without_identity_runs_uncached(
    memory: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Its address is nobody's name, for it will be another object's."""

    class Service:
        def __init__(self, tenant: str) -> None:
            self.tenant = tenant

        @cache_response(memory, "method")
        async def read(self) -> str:
            return self.tenant

    for number in range(50):
        assert await Service(f"tenant {number}").read() == f"tenant {number}"
    [warning] = [record.getMessage() for record in caplog.records]
    assert "parameter 'self'" in warning


SHAPES = {
    "one field": "class M(BaseModel):\n    x: int",
    "two fields": "class M(BaseModel):\n    x: int\n    y: int = 0",
    "another type": "class M(BaseModel):\n    x: str = '0'",
    "another name": "class M(BaseModel):\n    z: int = 0",
    "nested": "class N(BaseModel):\n    a: int = 0\nclass M(BaseModel):\n    x: N = N()",
    "nested, more": "class N(BaseModel):\n    a: int = 0\n    b: int = 0\nclass M(BaseModel):\n    x: N = N()",
    "enum": "import enum\nclass E(enum.Enum):\n    A = 1\nclass M(BaseModel):\n    x: E = E.A",
    "enum, more": "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\nclass M(BaseModel):\n    x: E = E.A",
}


@pytest.mark.slow
def test_p1_a_deploy_that_changes_a_model_gets_keys_of_its_own() -> None:
    """Code of two versions runs side by side, each with entries that it can read."""
    code = (
        "from typing import Annotated, Literal\n"
        "from pydantic import BaseModel, Field\n"
        "from {package}.keys.identity import Identity\n"
        "from {package}.values.classes import KnownClasses\n"
        "{model}\n"
        "async def f() -> Annotated[list[M] | None | Literal['a'], Field(default_factory=list)]: ...\n"
        "print(Identity(f, KnownClasses.returned_by(f)).who.hex())"
    )
    found = {}
    for name, model in SHAPES.items():
        outputs = printed_by(code.replace("{model}", model))
        assert len(outputs) == 1, name
        found[name] = outputs.pop().strip()
    assert len(set(found.values())) == len(SHAPES)
    assert not re.search(b"0x[0-9a-f]{6}", bytes.fromhex(found["one field"]))
