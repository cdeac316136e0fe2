"""A function's signature, also where its annotations are evaluated late: from Python 3.14 on."""

import inspect
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from ... import (
    CachedRoute,
    CacheManager,
    MemoryBackend,
    cache_response,
)
from ...values import hints
from ...values.hints import hints_of, signature_of
from ..package import NAME

if TYPE_CHECKING:
    from decimal import Decimal


async def price(of: "Decimal", number: int = 1) -> "Decimal":
    """Have a hint that exists for type checkers only."""
    return of * number


async def total(number: int = 1) -> int:
    """Have hints that FastAPI can resolve."""
    return number


def test_a_name_for_type_checkers_leaves_out_itself_only() -> None:
    """The other hints of the function are known."""
    assert list(signature_of(price).parameters) == ["of", "number"]
    assert hints_of(price) == {"number": int}


async def test_such_a_function_can_be_cached() -> None:
    """On every Python; what cannot be resolved is no error when it is decorated."""
    cached = cache_response(CacheManager(MemoryBackend()), "price")(price)
    assert await cached(2, 3) == 6  # type: ignore[arg-type] # an int will do


@pytest.fixture
def later_python(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Have annotations as Python 3.14 has them: evaluated when asked for; return who asks how.

    There, asking for a name that does not exist raises `NameError`, unless forward references are
    taken for it.
    """
    asked: list[Any] = []
    signature = inspect.signature

    def late(func: Any, *, annotation_format: object = "value", **options: Any) -> Any:
        asking = sys._getframe(1).f_globals["__name__"]
        if inspect.unwrap(func) in (price, total) and asking.startswith(NAME):
            asked.append(annotation_format)
            if annotation_format != "forwardref":
                raise NameError("name 'Decimal' is not defined")
        return signature(func, **options)

    annotationlib = ModuleType("annotationlib")
    vars(annotationlib)["Format"] = SimpleNamespace(VALUE="value", FORWARDREF="forwardref")
    monkeypatch.setitem(sys.modules, "annotationlib", annotationlib)
    monkeypatch.setattr(hints, "sys", SimpleNamespace(version_info=(3, 14)))
    monkeypatch.setattr(inspect, "signature", late)
    return asked


async def test_late_annotations_are_asked_for_as_references(later_python: list[Any]) -> None:
    """When a function is decorated."""
    cached = cache_response(CacheManager(MemoryBackend()), "price")(price)
    assert await cached(2, 3) == 6  # type: ignore[arg-type] # an int will do
    assert set(later_python) == {"forwardref"}


def test_so_they_are_for_an_endpoint(later_python: list[Any]) -> None:
    """When it becomes one of a `CachedRoute`."""
    app = FastAPI()
    app.router.route_class = CachedRoute
    app.get("/")(cache_response(CacheManager(MemoryBackend()), "total")(total))
    assert [TestClient(app).get("/?number=2").json() for _ in range(2)] == [2, 2]
    assert set(later_python) == {"forwardref"}
