"""Each caller of a flight that fails raises an exception of his own (promises P4, P5 and P8)."""

import asyncio
import inspect
import io
import itertools
import logging
import sqlite3
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import httpx2
import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter, ValidationError

from ... import CacheManager, cache_response
from ...coherence.exceptions import copied
from ..internals import joined

CALLERS: Final = 100


class CodedError(Exception):
    """One whose constructor wants other things than it keeps."""

    def __init__(self, *, code: int, detail: dict[str, Any]) -> None:
        super().__init__(f"code {code}")
        self.code, self.detail = code, detail


class RefusedError(ConnectionError):
    """One of the operating system's, with a constructor of its own."""

    def __init__(self, code: int) -> None:
        super().__init__(code, "refused")
        self.code = code


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


def caused() -> Exception:
    """Return one with a cause, a context and notes."""
    error = LookupError("caused")
    error.__cause__, error.__context__ = OSError("cause"), ValueError("context")
    error.add_note("a note")
    return error


def late() -> Exception:
    """Return that of a time limit, which a cancellation has caused."""
    error = TimeoutError()
    error.__cause__ = error.__context__ = asyncio.CancelledError()
    return error


def no_such_table() -> Exception:
    """Return one that an extension made, and that adds nothing to Python's own."""
    with (
        pytest.raises(sqlite3.OperationalError) as raised,
        closing(sqlite3.connect(":memory:")) as db,
    ):
        db.execute("SELECT 1 FROM nothing")
    return raised.value


COPIED: Final[dict[str, Callable[[], Exception]]] = {
    "plain": lambda: ValueError("x", 1),
    "key": lambda: KeyError("x"),
    "os": lambda: FileNotFoundError(2, "none", "/a/file"),
    "stop": lambda: StopAsyncIteration("x"),
    "os of a class": lambda: RefusedError(7),
    "http": lambda: HTTPException(404, {"a": [1]}, {"x-a": "b"}),
    "http by name": lambda: HTTPException(status_code=404, detail="x"),
    "odd constructor": lambda: CodedError(code=7, detail={"a": [1]}),
    "counting": lambda: CountingError("x"),
    "stubborn": lambda: StubbornError("x"),
    "caused": caused,
    "timeout": lambda: TimeoutError("late"),
    "late": late,
    "a database's": no_such_table,
}
SEEN: Final = ("args", "__cause__", "__context__", "__suppress_context__", "__notes__")


def state(error: Exception) -> dict[str, Any]:
    """Return what can be seen of an exception; of one in it, that it is the same."""
    names = {*SEEN, *vars(error), "filename", "errno"}
    seen = {name: getattr(error, name) for name in sorted(names) if hasattr(error, name)}
    return {
        name: repr(value) if isinstance(value, BaseException) else value
        for name, value in seen.items()
    }


@pytest.mark.parametrize("name", COPIED)
def test_a_copy_is_equal_and_another_object(name: str) -> None:
    """In its type, its text and all that it holds; no code of its class has run."""
    error = COPIED[name]()
    before = CountingError.made
    copy = copied(error)
    assert copy is not None
    assert copy is not error
    assert type(copy) is type(error)
    assert (str(copy), state(copy)) == (str(error), state(error))
    assert repr(copy) == repr(error)
    assert (copy.__traceback__, CountingError.made) == (error.__traceback__, before)


@pytest.mark.parametrize("name", sorted(COPIED.keys() - {"stubborn"}))
def test_what_one_changes_the_others_do_not_see(name: str) -> None:
    """Be it a note, an attribute, or what is in a container that it holds."""
    error = COPIED[name]()
    before = state(error), list(getattr(error, "__notes__", ()))
    copy = copied(error)
    assert copy is not None
    copy.add_note("mine")
    vars(copy)["mine"] = True
    for value in (*vars(copy).values(), *copy.args):
        if isinstance(value, dict):
            value["mine"] = True
        if isinstance(value, list):
            value.append("mine")
    copy.args = ("mine",)
    assert (state(error), list(getattr(error, "__notes__", ()))) == before


def test_no_traceback_grows() -> None:
    """However many have raised one of their own: it begins where the function failed."""
    error = COPIED["plain"]()
    with pytest.raises(ValueError, match="x"):
        raise error
    first = error.__traceback__
    for _ in range(50):
        copy = copied(error)
        assert copy is not None
        with pytest.raises(ValueError, match="x") as raised:
            raise copy
        assert depth(raised.value.__traceback__) == depth(first) + 1
    assert error.__traceback__ is first


def test_p5_no_stack_is_too_short() -> None:
    """Who has nearly reached the limit of recursion shares nothing, and no other error comes."""
    data: list[Any] = []
    for _ in range(100):
        data = [data]
    error = ValueError(data)
    assert copied(error) is not None
    frames = len(inspect.stack(0))

    def deeper(left: int) -> Exception | None:
        return copied(error) if left == 0 else deeper(left - 1)

    assert deeper(sys.getrecursionlimit() - frames - 50) is None


def depth(traceback: TracebackType | None) -> int:
    """Return how many frames there are."""
    return 0 if traceback is None else 1 + depth(traceback.tb_next)


@pytest.mark.parametrize("name", COPIED)
async def test_p4_callers_who_share_a_failure_have_its_type_and_attributes(
    our_manager: CacheManager, name: str
) -> None:
    """The function has run once for all of them."""
    error = COPIED[name]()
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
    assert len({id(each) for each in raised}) == 5
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


# --- which exceptions are one caller's own ---------------------------------------------------------


class Redirect(Exception):  # noqa: N818 - so an application may call it
    """One that holds what its handler makes an answer of."""

    def __init__(self, answer: object) -> None:
        super().__init__("elsewhere")
        self.answer = answer


class SlottedRedirect(Exception):  # noqa: N818 - likewise
    """One that holds it in a place of its own."""

    __slots__ = ("answer",)

    def __init__(self, answer: object) -> None:
        super().__init__("elsewhere")
        self.answer = answer


class DigestError(HTTPException):
    """One whose class works out its headers."""

    def __getattribute__(self, name: str) -> Any:
        """Return what is there, and headers that are not."""
        nonce = {"WWW-Authenticate": "Digest nonce=1"}
        return nonce if name == "headers" else super().__getattribute__(name)


class WorkedOutError(Exception):
    """One whose class works them out of what it holds."""

    @property
    def headers(self) -> dict[str, str]:
        """Return a challenge."""
        return {"WWW-Authenticate": f"Digest nonce={self.args[0]}"}


class EndingError(Exception):
    """One whose class gives something back at its end."""

    def __del__(self) -> None:
        """Give it back."""


@dataclass
class Held:
    """Data of an application."""

    value: object


class Session:
    """What has no identity."""


def cookie() -> Response:
    """Return a response that is for one client."""
    response = JSONResponse({})
    response.set_cookie("s", "1")
    return response


def with_headers(*lines: tuple[str, str]) -> Exception:
    """Return the exception that FastAPI answers with these lines."""
    return HTTPException(401, "no", headers=dict(lines))


def from_cause(cause: Exception) -> Exception:
    """Return one that another one has caused."""
    error = ValueError("caused")
    error.__cause__ = cause
    return error


def in_context(context: Exception) -> Exception:
    """Return one that was raised while another one was handled."""
    error = ValueError("in context")
    error.__context__ = context
    return error


def found_missing() -> Exception:
    """Return one of Python's own that keeps its state in places of its own."""
    return AttributeError("no", name="name", obj=[1])


def decoding() -> Exception:
    """Return another one."""
    with pytest.raises(UnicodeDecodeError) as raised:
        b"\xff".decode()
    return raised.value


def changed() -> Exception:
    """Return one that is not what it was made of."""
    error = FileNotFoundError(2, "none")
    error.args = ("other",)
    return error


def invalid() -> Exception:
    """Return one that an extension made, and that keeps what nobody sees."""
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(int).validate_python("x")
    return raised.value


def looped() -> Exception:
    """Return one that holds itself."""
    error = Redirect([])
    error.answer = [error, error.__dict__]
    return error


OF_ONE: Final[dict[str, Callable[[], Exception]]] = {
    "digest": lambda: with_headers(("www-authenticate", "Digest nonce=1")),
    "in capitals": lambda: with_headers(("WWW-Authenticate", "Digest nonce=1")),
    "cookie": lambda: with_headers(("Set-Cookie", "a=b")),
    "a nonce": lambda: with_headers(("DPoP-Nonce", "1")),
    "no-store": lambda: with_headers(("cache-control", "no-store")),
    "private": lambda: with_headers(("Cache-Control", "max-age=60, private")),
    "no-cache": lambda: with_headers(("Pragma", "no-cache")),
    "stale": lambda: with_headers(("Cache-Control", "max-age=0")),
    "vary": lambda: with_headers(("Vary", "*")),
    "headers of its class": lambda: DigestError(401),
    "headers in pairs": lambda: Redirect([("set-cookie", "a=b")]),
    "headers in bytes": lambda: Redirect([(b"Set-Cookie", b"a=b")]),
    "headers inside": lambda: Redirect({"headers": {"Set-Cookie": "a=b"}}),
    "headers of a response": lambda: Redirect(cookie().headers),
    "a response": lambda: Redirect(cookie()),
    "a plain response": lambda: Redirect(Response("hello")),
    "a response in a slot": lambda: SlottedRedirect(cookie()),
    "a response as argument": lambda: ValueError("elsewhere", cookie()),
    "a response in a list": lambda: Redirect([cookie()]),
    "a response deep inside": lambda: Redirect([{"answer": (1, [cookie()])}]),
    "a response as detail": lambda: HTTPException(404, cookie()),
    "a response in data": lambda: Redirect(Held(cookie())),
    "a cause": lambda: from_cause(Redirect(cookie())),
    "a context": lambda: in_context(Redirect(cookie())),
    "a cause of a cause": lambda: from_cause(from_cause(Redirect(cookie()))),
    "a group": lambda: ExceptionGroup("g", [ValueError("a"), Redirect(cookie())]),
    "a held exception": lambda: Redirect(Redirect(cookie())),
    "a request": lambda: Redirect(Request({"type": "http", "headers": []})),
    "tasks": lambda: Redirect(BackgroundTasks()),
    "an object": lambda: Redirect(Session()),
    "a function": lambda: Redirect(cookie),
    "a missing attribute of an object": lambda: AttributeError("no", name="x", obj=Session()),
    "a property": lambda: WorkedOutError("1"),
    "an end": lambda: EndingError("1"),
    "cacheable for a minute": lambda: with_headers(("Cache-Control", "max-age=60")),
    "an object of an application": lambda: Redirect(Held({"a": UUID(int=1)})),
    "a loop": looped,
    "slots": lambda: SlottedRedirect([1, 2]),
    "a group of plain ones": lambda: ExceptionGroup("g", [ValueError("a"), KeyError("b")]),
    "a missing attribute": found_missing,
    "a missing module": lambda: ImportError("no", name="name", path="path"),
    "unicode": decoding,
    "an extension's": invalid,
    "a changed one": changed,
}
OF_ALL: Final[dict[str, Callable[[], Exception]]] = COPIED | {
    "plain headers": lambda: with_headers(("Retry-After", "5"), ("X-A", "b")),
    "data": lambda: Redirect({"a": [1, (2.5, b"3")], "b": {Held(1).value, None}}),
    "an identity": lambda: Redirect({"a": UUID(int=1), "b": HTTPStatus.NOT_FOUND}),
    "caused by one of all": lambda: from_cause(FileNotFoundError(2, "none")),
    "notes": caused,
}


@pytest.mark.parametrize("name", [*OF_ONE, *OF_ALL])
@pytest.mark.parametrize("by_hand", [False, True])
async def test_p8_an_exception_of_one_caller_is_told_to_nobody_else(
    our_manager: CacheManager, name: str, by_hand: bool
) -> None:
    """Be it of a decorated function or of a factory: each runs it for himself."""
    runs: list[int] = []
    go_on = asyncio.Event()

    async def function() -> None:
        runs.append(1)
        await go_on.wait()
        error = (OF_ONE | OF_ALL)[name]()
        raise error

    cached = cache_response(our_manager, "failing", key="it")(function)
    call: Callable[[], Coroutine[Any, Any, None]] = cached
    if by_hand:
        call = partial(our_manager.get_or_set, "it", function)
    callers = [asyncio.create_task(call()) for _ in range(3)]
    await joined(our_manager, 2)
    go_on.set()
    raised = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(each, Exception) for each in raised)
    assert len({id(each) for each in raised}) == 3
    assert len(runs) == (3 if name in OF_ONE else 1)


async def test_p8_a_handler_gives_each_his_own_cookie(our_manager: CacheManager) -> None:
    """An application may keep a whole answer in an exception."""
    app, number, go_on = FastAPI(), itertools.count(), asyncio.Event()

    @app.exception_handler(Redirect)
    async def answer(_request: Request, error: Redirect) -> Any:
        return error.answer

    @app.get("/")
    @cache_response(our_manager, "login")
    async def login() -> None:
        await go_on.wait()
        response = JSONResponse({}, 303)
        response.set_cookie("s", str(next(number)))
        raise Redirect(response)

    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        asking = [asyncio.create_task(client.get("/")) for _ in range(3)]
        await joined(our_manager, 2)
        go_on.set()
        answers = await asyncio.gather(*asking)
    assert len({each.headers["set-cookie"] for each in answers}) == 3
