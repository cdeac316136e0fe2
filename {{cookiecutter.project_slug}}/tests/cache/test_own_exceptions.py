"""Each caller of a flight that fails raises an exception of his own (promises P4 and P5)."""

import asyncio
import io
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self

import pytest
from fastapi import HTTPException
from pydantic import BaseModel, TypeAdapter

from app.core.cache import CacheManager, cache_response
from app.core.cache.exceptions import own
from tests.cache.test_fence import joined

CALLERS: Final = 100


class CodedError(Exception):
    """One whose constructor wants other things than it keeps."""

    def __init__(self, *, code: int, detail: dict[str, Any]) -> None:
        super().__init__(f"code {code}")
        self.code, self.detail = code, detail


class SlottedError(ValueError):
    """One with places of its own."""

    __slots__ = ("empty", "where")

    def __init__(self, where: list[int]) -> None:
        super().__init__("slotted")
        self.where = where


class CountingError(Exception):
    """One whose constructor does something besides."""

    made = 0

    def __init__(self, what: str) -> None:
        super().__init__(what)
        CountingError.made += 1


class StubbornError(Exception):
    """One that does not want to be made or changed but by its constructor."""

    def __new__(cls, *_: object) -> Self:
        if not _:
            raise RuntimeError("never without an argument")
        return super().__new__(cls)

    def __setattr__(self, *_: object) -> None:
        raise RuntimeError("never")

    def __reduce__(self) -> Any:
        raise RuntimeError("never")


class Model(BaseModel):
    """What an invalid value is not."""

    number: int


def invalid() -> Exception:
    """Return an exception that an extension made."""
    try:
        TypeAdapter(Model).validate_python({"number": "x"})
    except Exception as error:
        return error
    raise AssertionError


def decoding() -> Exception:
    """Return one of Python's own that keeps its state in places of its own."""
    try:
        b"\xff".decode()
    except UnicodeDecodeError as error:
        return error
    raise AssertionError


def caused() -> Exception:
    """Return one with a cause, a context and notes."""
    error = LookupError("caused")
    error.__cause__, error.__context__ = OSError("cause"), ValueError("context")
    error.add_note("a note")
    return error


COPIED: Final[dict[str, Callable[[], Exception]]] = {
    "plain": lambda: ValueError("x", 1),
    "key": lambda: KeyError("x"),
    "os": lambda: FileNotFoundError(2, "none", "/a/file"),
    "unicode": decoding,
    "stop": lambda: StopAsyncIteration("x"),
    "import": lambda: ImportError("no", name="name", path="path"),
    "attribute": lambda: AttributeError("no", name="name", obj=[1]),
    "http": lambda: HTTPException(404, {"a": [1]}, {"x-a": "b"}),
    "http by name": lambda: HTTPException(status_code=404, detail="x"),
    "odd constructor": lambda: CodedError(code=7, detail={"a": [1]}),
    "slots": lambda: SlottedError([1, 2]),
    "counting": lambda: CountingError("x"),
    "stubborn": lambda: StubbornError("x"),
    "group": lambda: ExceptionGroup("g", [ValueError("a"), KeyError("b")]),
    "caused": caused,
    "timeout": lambda: TimeoutError("late"),
}
SHARED: Final[dict[str, Callable[[], Exception]]] = {"an extension's": invalid}
SEEN: Final = ("args", "__cause__", "__context__", "__suppress_context__", "__notes__")


def state(error: Exception) -> dict[str, Any]:
    """Return what can be seen of an exception; those inside a group are what they are."""
    places = [name for cls in type(error).__mro__ for name in getattr(cls, "__slots__", ())]
    names = {*SEEN, *vars(error), *places, "name", "path", "obj", "filename", "errno", "start"}
    return {name: getattr(error, name) for name in sorted(names) if hasattr(error, name)}


@pytest.mark.parametrize("name", COPIED)
def test_a_copy_is_equal_and_another_object(name: str) -> None:
    """In its type, its text and all that it holds; no code of its class has run."""
    error = COPIED[name]()
    before = CountingError.made
    copy = own(error, None)
    assert copy is not error
    assert type(copy) is type(error)
    assert (str(copy), state(copy)) == (str(error), state(error))
    assert repr(copy) == repr(error)
    assert (copy.__traceback__, CountingError.made) == (None, before)


@pytest.mark.parametrize("name", sorted(COPIED.keys() - {"stubborn"}))
def test_what_one_changes_the_others_do_not_see(name: str) -> None:
    """Be it a note, an attribute, or what is in a container that it holds."""
    error = COPIED[name]()
    before = state(error), list(getattr(error, "__notes__", ()))
    copy = own(error, None)
    copy.add_note("mine")
    vars(copy)["mine"] = True
    for value in (*vars(copy).values(), *copy.args, getattr(copy, "where", None)):
        if isinstance(value, dict):
            value["mine"] = True
        if isinstance(value, list):
            value.append("mine")
    copy.args = ("mine",)
    assert (state(error), list(getattr(error, "__notes__", ()))) == before


@pytest.mark.parametrize("name", SHARED)
def test_one_that_cannot_be_copied_is_raised_again(name: str) -> None:
    """Its traceback is what it was at first, however many have raised it."""
    error = SHARED[name]()
    first = error.__traceback__

    def depth(traceback: TracebackType | None) -> int:
        return 0 if traceback is None else 1 + depth(traceback.tb_next)

    for _ in range(50):
        with pytest.raises(type(error)) as raised:
            raise own(error, first)
        assert raised.value is error
    assert depth(error.__traceback__) <= depth(first) + 1


@pytest.mark.parametrize("name", [*COPIED, *SHARED])
async def test_p4_callers_who_share_a_failure_have_its_type_and_attributes(
    our_manager: CacheManager, name: str
) -> None:
    """The function has run once for all of them."""
    error = (COPIED | SHARED)[name]()
    expected, text = state(error), str(error)
    runs: list[int] = []
    go_on = asyncio.Event()

    @cache_response(our_manager, "failing", key="it")
    async def function() -> None:
        runs.append(1)
        await go_on.wait()
        raise error

    callers = [asyncio.create_task(function()) for _ in range(5)]
    await joined(our_manager, 4)
    go_on.set()
    raised = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(each) for each in raised} == {type(error)}
    assert [state(each) for each in raised if isinstance(each, Exception)] == [expected] * 5
    assert {str(each) for each in raised} == {text}
    assert len({id(each) for each in raised}) == (5 if name in COPIED else 1)
    assert runs == [1]


async def failing(_number: int = 0) -> None:
    """Fail after a while, some calls deep."""
    await asyncio.sleep(0.01)
    _deeper(5)


def _deeper(depth: int) -> None:
    if depth == 0:
        raise CodedError(code=1, detail={"a": "b"})
    _deeper(depth - 1)


async def logged(function: Callable[[], Awaitable[None]]) -> tuple[int, float]:
    """Return how much a hundred callers write who log how it fails, and how long all take."""
    stream = io.StringIO()
    log, handler = logging.getLogger("callers"), logging.StreamHandler(stream)
    log.addHandler(handler)

    async def caller() -> None:
        try:
            await function()
        except CodedError:
            log.exception("it has failed")

    began = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    log.removeHandler(handler)
    return len(stream.getvalue()), time.monotonic() - began


async def test_p5_a_hundred_failures_write_no_more_than_uncached_ones(
    our_manager: CacheManager,
) -> None:
    """Nor do they take much longer: no traceback grows with the number of callers."""
    uncached, seconds = await logged(failing)
    cached = cache_response(our_manager, "failing", ignore=("_number",))(failing)
    written, took = await logged(cached)
    assert written <= uncached
    assert took < 10 * seconds + 0.5


async def test_a_traceback_shows_the_function_and_not_the_cache(our_manager: CacheManager) -> None:
    """As if there were none: for the one who ran it, and for who shared its failure."""
    cached = cache_response(our_manager, "failing", ignore=("_number",))(failing)
    raised = await asyncio.gather(cached(), cached(), return_exceptions=True)
    for error in raised:
        assert isinstance(error, CodedError)
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names == ["failing", *["_deeper"] * 6]
