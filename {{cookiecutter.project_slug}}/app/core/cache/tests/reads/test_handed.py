"""What a dependency has put into the response or the background tasks is in no key (promise P8)."""

import asyncio
import copy
import operator
import pickle
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Query, Response
from fastapi.responses import JSONResponse

from ... import (
    CacheManager,
    CacheStatusMiddleware,
    cache_response,
)
from ..faults import WITHIN

HIT, STORED, NOT_STORED = "app; hit", "app; fwd=miss; stored", "app; fwd=miss"
HEADER = "x-user"


def telling(response: Response, tasks: BackgroundTasks, who: Annotated[str, Query()] = "") -> None:
    """Leave who asks wherever the function may find it."""
    if not who:
        return
    response.headers[HEADER] = who
    response.headers[f"x-{who}"] = "1"
    response.status_code = 230 + len(who)
    response.set_cookie("user", who)
    response.background = who  # type: ignore[assignment]
    response.who = who  # type: ignore[attr-defined]
    tasks.add_task(str, who)
    tasks.who = who  # type: ignore[attr-defined]


def after(write: Callable[[], object], read: Callable[[], Any]) -> Any:
    """Read what is there after something was written."""
    write()
    return read()


def looped(response: Response) -> Any:
    for name in response.headers:
        if name == HEADER:
            return response.headers.items()
    return None


OF_THE_RESPONSE: dict[str, Callable[[Response], Any]] = {
    "[]": lambda response: response.headers[HEADER],
    "[], in capitals": lambda response: response.headers["X-User"],
    "get": lambda response: response.headers.get(HEADER),
    "getlist": lambda response: response.headers.getlist(HEADER),
    "in": lambda response: [name for name in ("x-alice", "x-bob") if name in response.headers],
    "setdefault": lambda response: response.headers.setdefault(HEADER, "nobody"),
    "items": lambda response: dict(response.headers.items()),
    "keys": lambda response: [response.headers.keys(), response.headers.values()],
    "dict": lambda response: dict(response.headers),
    "**": lambda response: {**response.headers},
    "for": looped,
    "len": lambda response: [len(response.headers), str(response.headers)],
    "raw": lambda response: str(response.headers.raw),
    "raw_headers": lambda response: str(response.raw_headers),
    "raw_headers[]": lambda response: str(response.raw_headers[0]),
    "raw_headers, in turn": lambda response: [str(each) for each in response.raw_headers],
    "raw_headers, added to": lambda response: str(operator.add(response.raw_headers, [])),
    "raw_headers, copied": lambda response: str(response.raw_headers.copy()),
    "raw_headers, deep": lambda response: str(copy.deepcopy(response.raw_headers)),
    "raw_headers, compared": lambda response: [
        response.raw_headers[:1] == [(b"x-user", who)] for who in (b"alice", b"bob")
    ],
    "raw_headers, popped": lambda response: str(response.raw_headers.pop(0)),
    "raw_headers, written, then read": lambda response: after(
        lambda: setattr(response, "raw_headers", response.raw_headers.__iadd__([(b"x-raw", b"1")])),
        lambda: str(response.raw_headers),
    ),
    "raw_headers, by the real list": lambda response: after(
        partial(response.raw_headers.append, (b"x-raw", b"1")), lambda: str(response.headers)
    ),
    "repr": lambda response: repr(response.headers),
    "|": lambda response: dict(response.headers | {}),
    "==": lambda response: [
        name for name in ("alice", "bob") if ("x-user", name) in response.headers.items()
    ],
    "mutablecopy": lambda response: response.headers.mutablecopy()[HEADER],
    "copy of headers": lambda response: copy.copy(response.headers)[HEADER],
    "deepcopy of headers": lambda response: copy.deepcopy(response.headers)[HEADER],
    # They load what the same line has dumped; nothing of Redis is read with it.
    "pickle of headers": lambda response: pickle.loads(pickle.dumps(response.headers))[HEADER],
    "copy": lambda response: copy.copy(response).headers[HEADER],
    "deepcopy": lambda response: copy.deepcopy(response).headers[HEADER],
    "pickle": lambda response: pickle.loads(pickle.dumps(response)).headers[HEADER],
    "vars": lambda response: str(sorted(map(str, vars(response).values()))),
    "__dict__": lambda response: response.__dict__["who"],
    "getattr": lambda response: getattr(response, "headers")[HEADER],  # noqa: B009 - a way to read
    "a method of the class": lambda response: Response.headers.fget(response)[HEADER],  # type: ignore[attr-defined]
    "object": lambda response: object.__getattribute__(response, "headers").get(HEADER),
    "status_code": lambda response: response.status_code,
    "background": lambda response: response.background,
    "an attribute": lambda response: response.who,  # type: ignore[attr-defined]
    "hasattr": lambda response: [hasattr(response, "who"), response.status_code],
    "cookies": lambda response: response.headers["set-cookie"],
    "append, then read": lambda response: after(
        partial(response.headers.append, HEADER, "me"), lambda: response.headers.getlist(HEADER)
    ),
    "deleted, then others": lambda response: after(
        partial(response.headers.__delitem__, "x-other"), lambda: response.headers[HEADER]
    ),
}
OF_THE_TASKS: dict[str, Callable[[BackgroundTasks], Any]] = {
    "tasks": lambda tasks: [each.args for each in tasks.tasks],
    "len": lambda tasks: [len(tasks.tasks), str(tasks.tasks[0].args)],
    "an attribute": lambda tasks: tasks.who,  # type: ignore[attr-defined]
    "vars": lambda tasks: str(vars(tasks)["who"]),
    "copy": lambda tasks: copy.copy(tasks).tasks[0].args,
    "deepcopy": lambda tasks: copy.deepcopy(tasks).tasks[0].args,
    "add_task, then read": lambda tasks: after(
        partial(tasks.add_task, str, "x"), lambda: [each.args for each in tasks.tasks]
    ),
}


async def ask(app: FastAPI, *people: str, at_once: bool = False) -> list[httpx2.Response]:
    """Ask as each of some people."""
    transport = httpx2.ASGITransport(app)
    async with (
        asyncio.timeout(WITHIN),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        sending = [client.get("/", params={"who": who} if who else {}) for who in people]
        return await asyncio.gather(*sending) if at_once else [await each for each in sending]


def statuses(answers: list[httpx2.Response]) -> list[str]:
    """Return what the cache did."""
    return [each.headers["cache-status"] for each in answers]


@pytest.mark.parametrize("way", OF_THE_RESPONSE)
async def test_p8_what_a_dependency_put_into_the_response_is_not_shared(
    app: FastAPI, manager: CacheManager, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However the function reads it; and one warning says what it was."""

    @app.get("/", dependencies=[Depends(telling)])
    @cache_response(manager, "x")
    async def endpoint(response: Response) -> dict[str, str]:
        return {"you": str(OF_THE_RESPONSE[way](response))}

    people = ["alice", "bob", "alice", "bob"]
    answers = await ask(app, *people)
    told = [each.json()["you"] for each in answers]
    assert told[0] != told[1]
    assert told[:2] == told[2:]
    assert set(statuses(answers)) == {NOT_STORED}
    at_once = await ask(app, *people, at_once=True)
    assert [each.json()["you"] for each in at_once] == told
    [warning] = caplog.messages
    assert "of the response" in warning


@pytest.mark.parametrize("way", OF_THE_TASKS)
async def test_p8_what_a_dependency_has_scheduled_is_not_shared(
    app: FastAPI, manager: CacheManager, way: str
) -> None:
    """However the function reads it."""

    @app.get("/", dependencies=[Depends(telling)])
    @cache_response(manager, "x")
    async def endpoint(tasks: BackgroundTasks) -> dict[str, str]:
        return {"you": str(OF_THE_TASKS[way](tasks))}

    answers = await ask(app, "alice", "bob", "alice", "bob")
    told = [each.json()["you"] for each in answers]
    assert told[0] != told[1]
    assert set(statuses(answers)) == {NOT_STORED}


async def test_p8_that_a_dependency_put_nothing_there_is_not_shared_either(
    app: FastAPI, manager: CacheManager
) -> None:
    """The first to ask is a stranger, and the response that the function looks into is empty."""

    @app.get("/", dependencies=[Depends(telling)])
    @cache_response(manager, "x")
    async def endpoint(response: Response) -> dict[str, bool]:
        return {"known": HEADER in response.headers}

    assert [each.json()["known"] for each in await ask(app, "", "bob")] == [False, True]


async def test_p8_a_response_that_a_dependency_hands_out_is_no_part_of_a_key(
    app: FastAPI, manager: CacheManager
) -> None:
    """What is read of it, its body for one, is noted."""

    def made(who: Annotated[str, Query()]) -> JSONResponse:
        return JSONResponse({"you": who})

    @app.get("/")
    @cache_response(manager, "x")
    async def endpoint(given: Annotated[JSONResponse, Depends(made)]) -> dict[str, str]:
        return {"you": bytes(given.body).decode()}

    told = [each.json()["you"] for each in await ask(app, "alice", "bob")]
    assert told == ['{"you":"alice"}', '{"you":"bob"}']


async def test_p8_an_exception_made_of_what_a_dependency_has_set_is_not_shared(
    app: FastAPI, manager: CacheManager
) -> None:
    """Each caller gets his own."""

    @app.get("/", dependencies=[Depends(telling)])
    @cache_response(manager, "x")
    async def endpoint(response: Response) -> None:
        who = response.headers[HEADER]
        await asyncio.sleep(0)
        raise HTTPException(404, f"nothing for {who}")

    answers = await ask(app, "alice", "bob", at_once=True)
    assert [each.json()["detail"] for each in answers] == ["nothing for alice", "nothing for bob"]


def limited(response: Response, who: Annotated[str, Query()] = "") -> None:
    """Tell each client how much is left to him."""
    response.headers["x-left"] = who


async def test_p1_a_function_that_only_writes_is_cached(
    app: FastAPI, manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside a dependency that sets a header for each request."""

    @app.get("/", dependencies=[Depends(limited)])
    @cache_response(manager, "x", vary=("accept",))
    async def endpoint(response: Response, tasks: BackgroundTasks) -> dict[str, int]:
        response.headers["etag"] = "1"
        response.headers.update({"x-a": "1", "x-b": "2"})
        response.headers.append("link", "</1>")
        response.headers.add_vary_header("accept")
        del response.headers["x-b"]
        response.status_code = 202
        return {"a": 1}

    answers = await ask(app, "alice", "bob")
    assert statuses(answers) == [STORED, HIT]
    assert [each.headers["x-left"] for each in answers] == ["alice", "bob"]
    for each in answers:
        assert (each.status_code, each.headers["etag"], each.headers["x-a"]) == (202, "1", "1")
        assert (each.headers["link"], each.headers["vary"]) == ("</1>", "accept")
        assert "x-b" not in each.headers
    assert caplog.messages == []


WRITTEN_AND_READ: dict[str, Callable[[Response], object]] = {
    "a header": lambda response: response.headers["etag"],
    "the status": lambda response: response.status_code,
    "the lines": lambda response: response.raw_headers.append((b"x-raw", b"1")),
}


@pytest.mark.parametrize("way", WRITTEN_AND_READ)
async def test_p8_what_a_function_has_written_itself_counts_as_read_too(
    app: FastAPI, manager: CacheManager, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can tell it from what a dependency has put there."""

    @app.get("/")
    @cache_response(manager, "x")
    async def endpoint(response: Response) -> dict[str, int]:
        response.headers["etag"], response.status_code = "1", 202
        WRITTEN_AND_READ[way](response)
        return {"a": 1}

    answers = await ask(app, "alice", "bob")
    assert statuses(answers) == [NOT_STORED] * 2
    assert [(each.status_code, each.headers["etag"]) for each in answers] == [(202, "1")] * 2
    assert all(("x-raw" in each.headers) == (way == "the lines") for each in answers)
    [warning] = caplog.messages
    assert "of the response" in warning


async def test_a_cookie_and_a_task_of_the_function_reach_the_client(
    app: FastAPI, manager: CacheManager
) -> None:
    """What it writes to is what FastAPI sends."""
    ran: list[int] = []

    @app.get("/")
    @cache_response(manager, "x")
    async def endpoint(response: Response, tasks: BackgroundTasks) -> dict[str, int]:
        response.set_cookie("a", "1")
        tasks.add_task(ran.append, 1)
        return {"a": 1}

    answers = await ask(app, "", "")
    assert [each.headers["set-cookie"] for each in answers] == ["a=1; Path=/; SameSite=lax"] * 2
    assert (statuses(answers), ran) == ([NOT_STORED] * 2, [1, 1])


@pytest.mark.parametrize("how", ["returned", "with tasks"])
async def test_what_a_function_was_given_can_be_sent(
    app: FastAPI, manager: CacheManager, how: str
) -> None:
    """As the response, or as the tasks of one."""
    ran: list[int] = []

    @app.get("/")
    @cache_response(manager, "x")
    async def endpoint(response: Response, tasks: BackgroundTasks) -> Response:
        if how == "returned":
            response.status_code, response.body = 202, b"sent"
            return response
        tasks.add_task(ran.append, 1)
        return Response("sent", 202, background=tasks)

    answers = await ask(app, "", "")
    assert [(each.status_code, each.text) for each in answers] == [(202, "sent")] * 2
    assert ran == ([] if how == "returned" else [1, 1])


async def test_p8_a_cached_function_may_hand_its_response_on_to_another_one(
    app: FastAPI, manager: CacheManager
) -> None:
    """What that one only writes keeps neither from being stored, and what it reads keeps both."""

    @cache_response(manager, "inner")
    async def inner(response: Response, reads: bool) -> str:
        response.headers["x-inner"] = "1"
        return response.headers[HEADER] if reads else ""

    @app.get("/", dependencies=[Depends(telling)])
    @cache_response(manager, "reading")
    async def reading(response: Response) -> dict[str, str]:
        return {"you": await inner(response, True)}

    assert [each.json()["you"] for each in await ask(app, "alice", "bob")] == ["alice", "bob"]
    other = FastAPI()
    other.router.route_class = app.router.route_class
    other.add_middleware(CacheStatusMiddleware)

    @other.get("/", dependencies=[Depends(limited)])
    @cache_response(manager, "writing")
    async def writing(response: Response) -> dict[str, str]:
        return {"you": await inner(response, False)}

    answers = await ask(other, "alice", "bob")
    assert [each.headers["x-inner"] for each in answers] == ["1", "1"]
    assert statuses(answers)[1] == HIT
