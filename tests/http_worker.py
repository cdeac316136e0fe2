"""An application with `CacheMiddleware`, for the tests with clients and proxies of HTTP.

uvicorn runs it in an installed project. The outermost middleware writes each request and its answer
into the file `SEEN`, as JSON in a line. Below `/kinds` are the ways in which an endpoint can learn
who asks; each tells the user his name.
"""

import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Final

from app.core.cache import (  # type: ignore[import-not-found] # of the project that it runs in
    CacheMiddleware,
    cache_response,
    get_cache_manager,
    invalidate_cache,
)
from fastapi import (  # type: ignore[import-not-found] # of the project, too
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Request,
    Response,
)
from fastapi.responses import (  # type: ignore[import-not-found] # of the project, too
    HTMLResponse,
    StreamingResponse,
)
from fastapi.security import (  # type: ignore[import-not-found] # of the project, too
    APIKeyCookie,
    APIKeyHeader,
    HTTPAuthorizationCredentials,
    HTTPBearer,
)

CACHE: Final = get_cache_manager()
SEEN: Final = Path(os.environ["SEEN"]).open("a")  # noqa: SIM115 - as long as the process lives
Send = Callable[[dict[str, Any]], Awaitable[None]]
User = dict[str, str]

user_of_request: ContextVar[str] = ContextVar("user_of_request")
versions: Counter[str] = Counter()
runs: Counter[str] = Counter()


@asynccontextmanager
async def lifespan(_: object) -> AsyncIterator[None]:
    """Leave nothing in Redis."""
    yield
    await CACHE.clear()
    await CACHE.close()


app = FastAPI(lifespan=lifespan)


def cached(path: str, function: Callable[..., object], **options: object) -> None:
    """Make a cached endpoint of a function."""
    of_route = {name: options.pop(name) for name in ("dependencies", "name") if name in options}
    options = {"key_prefix": path.split("/")[1], "expire": 60} | options
    app.get(path, **of_route)(cache_response(CACHE, **options)(function))


# --- what can be changed -------------------------------------------------------------------------


async def counted(name: str) -> dict[str, str | int]:
    """Tell the version of something."""
    return {"name": name, "version": versions[name]}


async def checked(name: str) -> dict[str, str | int]:
    """Tell the version of something of which clients ask each time."""
    return {"name": name, "version": versions[name]}


async def brief(name: str) -> dict[str, str | int]:
    """Tell the version of something that is not fresh for long."""
    return {"name": name, "version": versions[name]}


async def lasting(name: str) -> dict[str, str | int]:
    """Tell the version of something that others may use when it is stale."""
    return {"name": name, "version": versions[name]}


async def in_language(name: str, accept_language: Annotated[str, Header()]) -> dict[str, str]:
    """Greet in the language that is asked for."""
    return {"name": name, "greeting": {"de": "Hallo"}.get(accept_language, "Hello")}


async def by_dependency(
    language: Annotated[dict[str, str], Depends(in_language)],
) -> dict[str, str]:
    """Greet so by a dependency."""
    return language


async def change(name: str) -> None:
    """Make a new version."""
    versions[name] += 1


cached("/counted/{name}", counted)
cached("/checked/{name}", checked, cache_control="no-cache")
cached("/brief/{name}", brief, expire=2)
cached("/lasting/{name}", lasting, expire=2, stale=60)
cached("/language/{name}", in_language)
cached("/depending/{name}", by_dependency)
changing = invalidate_cache(CACHE, keys=["counted:*", "checked:*"])(change)
for changed in ("/counted/{name}", "/checked/{name}"):
    app.put(changed, status_code=204)(changing)
app.put("/quietly/{name}", status_code=204)(change)


# --- what says something itself ------------------------------------------------------------------


async def aged(response: Response) -> dict[str, str]:
    """Say that it is old already."""
    response.headers["Cache-Control"] = "max-age=100"
    response.headers["Age"] = "50"
    return {"it": "is old"}


async def dated(response: Response) -> dict[str, str]:
    """Say when it was changed."""
    response.headers["Last-Modified"] = "Mon, 01 Jan 2024 00:00:00 GMT"
    return {"it": "has a date"}


async def streamed() -> StreamingResponse:
    """Send a body in parts, with an entity tag."""

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"part"

    return StreamingResponse(parts(), headers={"ETag": '"of-a-stream"'})


PAGE: Final = """<body><script>
if (sessionStorage.reloaded) document.body.textContent = "reloaded"
else { sessionStorage.reloaded = 1; location.reload() }
</script></body>"""
ASKING: Final = """<body><script>
(async () => {
  const seen = []
  for (const [method, path, cache] of JSON.parse(decodeURIComponent(location.hash.slice(1)))) {
    const response = await fetch(path, {method, cache})
    seen.push([response.status, await response.text()])
  }
  document.body.textContent = JSON.stringify(seen)
})().catch(error => { document.body.textContent = error })
</script></body>"""


async def page() -> HTMLResponse:
    """Serve a page that reloads itself once."""
    return HTMLResponse(PAGE)


async def asking() -> HTMLResponse:
    """Serve a page that sends the requests that its fragment lists."""
    return HTMLResponse(ASKING)


cached("/aged", aged, expire=600)
cached("/dated", dated)
cached("/streamed", streamed)
cached("/page", page)
app.get("/asking", include_in_schema=False)(asking)


# --- who asks ------------------------------------------------------------------------------------


def from_header(x_user: Annotated[str, Header()] = "nobody") -> str:
    """Return the user of a header."""
    return x_user


def from_bearer(
    given: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> str:
    """Return the user of a security scheme; refuse who is none."""
    return str(given.credentials)


def from_optional_bearer(
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> str:
    """Return the user of a security scheme."""
    return str(given.credentials) if given else "nobody"


def from_request(request: Request) -> str:
    """Return the user of a request."""
    return str(request.headers.get("x-user", "nobody"))


def from_variable() -> str:
    """Return the user of a context variable."""
    return user_of_request.get()


def some_user(user: Annotated[str, Depends(from_header)]) -> None:
    """Refuse who is none."""
    if user == "nobody":
        raise HTTPException(401)


def some_bearer(_: Annotated[str, Depends(from_bearer)]) -> None:
    """Refuse who is none."""


def depending(dependency: Callable[..., object]) -> Callable[..., object]:
    """Return an endpoint that depends on a user."""

    async def endpoint(user: Annotated[str, Depends(dependency)]) -> User:
        return {"user": user}

    return endpoint


async def of_header(x_user: Annotated[str, Header()] = "nobody") -> User:
    """Tell a header."""
    return {"user": x_user}


async def of_cookie(session: Annotated[str, Cookie()] = "nobody") -> User:
    """Tell a cookie."""
    return {"user": session}


async def of_request(request: Request) -> User:
    """Tell a header of the request."""
    return {"user": from_request(request)}


async def of_authorization(request: Request) -> User:
    """Tell the header of the request that authorizes."""
    return {"user": request.headers.get("authorization", "Bearer nobody").removeprefix("Bearer ")}


async def of_cookies(request: Request) -> User:
    """Tell a cookie of the request."""
    return {"user": request.cookies.get("session", "nobody")}


async def of_variable() -> User:
    """Tell a context variable."""
    return {"user": user_of_request.get()}


async def of_a_run() -> User:
    """Tell nothing of the user."""
    return {"user": "somebody"}


async def with_a_cookie(response: Response) -> User:
    """Set a cookie."""
    response.set_cookie("session", user_of_request.get())
    return {"user": user_of_request.get()}


async def absent() -> User:
    """Have something for one user only."""
    if user_of_request.get() != "ada":
        raise HTTPException(404)
    return {"user": "ada"}


def of_key(request: Request) -> tuple[str | None, ...]:
    """Return a key that holds the user."""
    return (request.headers.get("x-user"),)


KINDS: Final[dict[str, tuple[Callable[..., object], dict[str, Any]]]] = {
    "header": (of_header, {}),
    "dependency-on-header": (depending(from_header), {}),
    "dependency-on-request": (depending(from_request), {}),
    "dependency-on-variable": (depending(from_variable), {}),
    "bearer": (depending(from_bearer), {}),
    "optional-bearer": (depending(from_optional_bearer), {}),
    "api-key-header": (depending(APIKeyHeader(name="X-User")), {}),
    "api-key-cookie": (depending(APIKeyCookie(name="session")), {}),
    "cookie": (of_cookie, {}),
    "vary-header": (of_request, {"vary": ["X-User"]}),
    "vary-authorization": (of_authorization, {"vary": ["Authorization"]}),
    "vary-cookie": (of_cookies, {"vary": ["Cookie"]}),
    "vary-variable": (of_variable, {"vary": [user_of_request]}),
    "vary-function": (of_variable, {"vary": [from_variable]}),
    "key-template": (of_request, {"key": "{request.headers[x-user]}"}),
    "key-function": (of_request, {"key": of_key}),
    "not-in-key-request": (of_request, {}),
    "not-in-key-variable": (of_variable, {}),
    "ignored-dependency": (depending(from_header), {"ignore": ["user"]}),
    "set-cookie": (with_a_cookie, {"vary": [user_of_request]}),
    "absent-for-others": (absent, {"vary": [user_of_request]}),
    "gate-on-header": (of_a_run, {"dependencies": [Depends(some_user)]}),
    "gate-on-bearer": (of_a_run, {"dependencies": [Depends(some_bearer)]}),
    "shared-behind-gate-on-header": (
        of_a_run,
        {"dependencies": [Depends(some_user)], "shared": True},
    ),
    "shared-behind-gate-on-bearer": (
        of_a_run,
        {"dependencies": [Depends(some_bearer)], "shared": True},
    ),
}


async def careless(response: Response, x_user: Annotated[str, Header()]) -> User:
    """Let everybody have what is one user's: not cached here, but by a proxy."""
    response.headers["Cache-Control"] = "max-age=60"
    return {"user": x_user}


async def kinds() -> list[str]:
    """Tell which kinds there are."""
    return [*KINDS]


app.get("/kinds")(kinds)
app.get("/careless")(careless)


# --- around it -----------------------------------------------------------------------------------


class Identified:
    """Puts the user into a context variable."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - FastAPI's types are not here
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: object, send: Send) -> None:
        if scope["type"] == "http":
            user_of_request.set(dict(scope["headers"]).get(b"x-user", b"nobody").decode())
        await self.app(scope, receive, send)


class Witness:
    """Writes down what was asked and answered, before the answer is sent."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - FastAPI's types are not here
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: object, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        messages: list[dict[str, Any]] = []

        async def keep(message: dict[str, Any]) -> None:
            messages.append(message)

        await self.app(scope, receive, keep)
        start = messages[0]
        line = {
            "method": scope["method"],
            "path": scope["path"],
            "asked": _texts(scope["headers"]),
            "status": start["status"],
            "answered": _texts(start["headers"]),
            "size": sum(len(message.get("body", b"")) for message in messages),
        }
        SEEN.write(json.dumps(line) + "\n")
        SEEN.flush()
        for message in messages:
            await send(message)


def _texts(lines: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in lines}


for kind, (function, options) in KINDS.items():
    cached(f"/kinds/{kind}", function, key_prefix=kind, **options)
app.add_middleware(CacheMiddleware)
app.add_middleware(Identified)
app.add_middleware(Witness)
