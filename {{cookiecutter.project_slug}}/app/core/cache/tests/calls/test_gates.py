"""A gate lets in, or not, and hands out nothing: what it asks about is in the key already (P8)."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.security import OAuth2PasswordBearer

from ... import CacheManager, CacheStatusMiddleware, MemoryBackend, cache_response
from ..endpoints import get

HIT = "app; hit"
token = OAuth2PasswordBearer("token")
language: ContextVar[str] = ContextVar("language", default="")


def user_of(name: Annotated[str, Depends(token)]) -> str:
    """Return who asks."""
    return name


User = Annotated[str, Depends(user_of)]


def by_role(role: str) -> Callable[..., None]:
    """Make a gate for those who have a role."""

    def check(user: User) -> None:
        if user.endswith("stranger"):
            raise HTTPException(403, role)

    return check


def greets(user: User, response: Response) -> None:
    """Say something in a header, to this client."""
    response.headers["x-hello"] = user


GATES: dict[str, Any] = {
    "the same dependency": user_of,
    "the scheme itself": token,
    "one that asks for it": by_role("reader"),
    "one that sets a header": greets,
}


def application(**options: Any) -> tuple[FastAPI, APIRouter]:
    """Make an application and a router with dependencies."""
    app = FastAPI()
    app.add_middleware(CacheStatusMiddleware)
    return app, APIRouter(**options)


async def ask(app: FastAPI, name: str, **more: str) -> Any:
    """Ask as somebody."""
    return await get(app, headers={"authorization": f"Bearer {name}", **more})


@pytest.mark.parametrize("place", ["router", "route", "inclusion", "application"])
@pytest.mark.parametrize("key", [None, "{user}"])
@pytest.mark.parametrize("gate", GATES)
async def test_p8_a_gate_before_an_endpoint_that_has_the_user_in_its_key(
    place: str, key: str | None, gate: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each user has his own entry, and hits it; who is refused stays refused."""
    gates: Any = {"dependencies": [Depends(GATES[gate])]}
    app, router = application(**(gates if place == "router" else {}))
    if place == "application":
        app = FastAPI(**gates)
        app.add_middleware(CacheStatusMiddleware)

    @router.get("/it", **(gates if place == "route" else {}))
    @cache_response(CacheManager(MemoryBackend()), "it", key=key)
    async def endpoint(user: User) -> str:
        return user

    app.include_router(router, **(gates if place == "inclusion" else {}))
    for name in ("alice", "bob"):
        answers = [await ask(app, name) for _ in range(2)]
        assert [answer.json() for answer in answers] == [name] * 2
        assert answers[1].headers["cache-status"] == HIT
    assert "uncached" not in caplog.text
    if gate == "one that asks for it":
        assert [(await ask(app, "stranger")).status_code for _ in range(2)] == [403, 403]


async def speaks(user: User, accept_language: Annotated[str, Header()] = "") -> None:
    """Note a language that nobody else is told of."""
    language.set(accept_language)


async def looks(user: User, request: Request) -> None:
    """Look at the request, and keep something of it."""
    request.state.who = request.headers.get("accept-language")


@pytest.mark.parametrize("gate", [speaks, looks])
async def test_p8_a_gate_that_looks_at_more_is_no_mere_gate(
    gate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What it takes besides is in no key."""
    app, router = application(dependencies=[Depends(gate)])

    @router.get("/it")
    @cache_response(CacheManager(MemoryBackend()), "it")
    async def endpoint(user: User, request: Request) -> str:
        return language.get() or str(getattr(request.state, "who", ""))

    app.include_router(router)
    asked = [(await ask(app, "alice", **{"accept-language": each})).json() for each in "ab"]
    assert asked != ["a", "a"]
    assert "uncached" in caplog.text


async def test_p8_an_ignored_value_that_is_made_of_the_user_is_no_gate() -> None:
    """The function has it, and no key."""
    app, router = application()

    def service(user: User, accept_language: Annotated[str, Header()] = "") -> list[str]:
        return [user, accept_language]

    @router.get("/it")
    @cache_response(CacheManager(MemoryBackend()), "it", ignore=("made",))
    async def endpoint(user: User, made: Annotated[Any, Depends(service)]) -> list[str]:
        return list(made)

    app.include_router(router)
    asked = [(await ask(app, "alice", **{"accept-language": each})).json() for each in "ab"]
    assert asked == [["alice", "a"], ["alice", "b"]]


current: ContextVar[str] = ContextVar("current", default="")


def session() -> str:
    """Lend a session, and note it where others of its request find it."""
    current.set("a session")
    return "a session"


@pytest.mark.parametrize("is_named", [True, False])
async def test_p8_an_ignored_value_that_comes_with_a_context_variable(
    is_named: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows whether it is made of that, unless `ignore=` says that this decides nothing."""
    app, router = application()
    ignored: Any = ("database", current) if is_named else ("database",)

    @router.get("/it")
    @cache_response(CacheManager(MemoryBackend()), "it", ignore=ignored)
    async def endpoint(database: Annotated[str, Depends(session)]) -> str:
        return "the same for all"

    app.include_router(router)
    answers = [await ask(app, name) for name in ("alice", "bob")]
    assert (answers[1].headers["cache-status"] == HIT) is is_named
    assert ("the context variable 'current'" in caplog.text) is not is_named
