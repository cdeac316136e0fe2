"""What it costs to build the key of a call."""

import inspect
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import Request
from pydantic import BaseModel

from .contenders import CannotError, Contender, Function
from .measure import Effort, Open, Stage, per_plain_call


class Filter(BaseModel):
    """A model among the arguments."""

    name: str
    limit: int = 10


async def of_two(number: int, name: str) -> None:
    """Stand for a cached function."""


async def of_three(number: int, name: str, tags: list[str]) -> None:
    """Stand for a cached function."""


async def of_four(number: int, name: str, tags: list[str], more: Filter) -> None:
    """Stand for a cached function."""


async def of_five(number: int, name: str, tags: list[str], more: Filter, request: Request) -> None:
    """Stand for a cached endpoint."""


def _arguments(function: Function, number: int = 7) -> dict[str, Any]:
    every = {
        "number": number,
        "name": "ada",
        "tags": ["a", "b", "c"],
        "more": Filter(name="x"),
        "request": Request(
            {
                "type": "http",
                "method": "GET",
                "scheme": "http",
                "server": ("localhost", 8000),
                "path": "/items/7",
                "query_string": b"page=2&sort=name",
                "headers": [(b"host", b"localhost")],
            }
        ),
    }
    return {name: every[name] for name in inspect.signature(function).parameters}


def key_of(function: Function) -> Open:
    """Build the key of a call that names its arguments, as FastAPI does."""

    @asynccontextmanager
    async def build(contender: Contender, effort: Effort) -> AsyncIterator[Stage]:
        key = contender.key(function)
        _check(key, function)
        yield await per_plain_call(partial(key, **_arguments(function)), effort)

    return build


def new_key_of(function: Function) -> Open:
    """Build the keys of calls of which each has another number."""

    @asynccontextmanager
    async def build(contender: Contender, effort: Effort) -> AsyncIterator[Stage]:
        key, numbers = contender.key(function), itertools.count()
        _check(key, function)
        others = _arguments(function)
        del others["number"]
        yield await per_plain_call(lambda: key(number=next(numbers), **others), effort)

    return build


def _check(key: Callable[..., object], function: Function) -> None:
    one, equal, other = _arguments(function), _arguments(function), _arguments(function, number=8)
    if key(**one) != key(**equal):
        raise CannotError(
            "it builds different keys for equal calls: a Request has no text of its own"
        )
    if key(**one) == key(**other):
        raise CannotError("it builds the same key for different calls")
