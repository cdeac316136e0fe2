"""The audit of an application (promise P10): where it looks, what it tells, and what it leaves alone."""

import functools
import gc
import logging
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Host, Mount, Route, Router

from ... import CacheManager, CacheMiddleware, cache_response, invalidate_cache
from ...calls import made_of, made_with
from ...ops import CacheAuditError, audit_cache
from ..internals import without_shared_manager
from ..package import NAME
from ..test_readme import EXAMPLES, TEXTS, Database, run
from .audited import findings


def wrong(manager: CacheManager, prefix: str = "own") -> APIRouter:
    """Make a router with a cached endpoint by POST, which is wrong."""
    router = APIRouter()

    @router.post("/it")
    @cache_response(manager, prefix)
    async def write_it() -> int:
        return 1

    return router


# What is right.


async def test_p10_the_examples_of_the_documents_have_no_findings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither one by one, nor together."""
    monkeypatch.setenv("CACHE_BACKEND", "memory")
    without_shared_manager(monkeypatch)
    app = FastAPI()
    scope: dict[str, Any] = {"database": Database(), "app": app, "__file__": __file__}
    audited = 0
    for example in EXAMPLES:
        await run(example, scope)
        for each in {id(value): value for value in scope.values()}.values():
            if isinstance(each, FastAPI):
                assert audit_cache(each, level="error").findings == ()
                audited += 1
    assert audited >= len(EXAMPLES)
    assert [each.path for each in audit_cache(app).routes] == ["/users/{user_id}"]


# Where it looks.


def by_routers(app: FastAPI, router: APIRouter) -> str:
    for prefix in ("/c", "/b", "/a"):
        outer = APIRouter(prefix=prefix)
        outer.include_router(router)
        router = outer
    app.include_router(router)
    return "/a/b/c/it"


def by_mount(app: FastAPI, router: APIRouter) -> str:
    inner = FastAPI()
    inner.include_router(router, prefix="/in")
    app.mount("/sub", inner)
    return "/sub/in/it"


def by_two_mounts(app: FastAPI, router: APIRouter) -> str:
    inner = FastAPI()
    path = by_mount(inner, router)
    app.mount("/outer", inner)
    return f"/outer{path}"


def by_mount_with_middleware(app: FastAPI, router: APIRouter) -> str:
    inner = FastAPI()
    inner.include_router(router)
    app.mount("/sub", GZipMiddleware(GZipMiddleware(inner)))
    return "/sub/it"


def by_mount_of_routes(app: FastAPI, router: APIRouter) -> str:
    app.router.routes.append(
        Mount("/sub", routes=router.routes, middleware=[Middleware(GZipMiddleware)])
    )
    return "/sub/it"


def by_starlette(app: FastAPI, router: APIRouter) -> str:
    app.mount("/sub", Starlette(routes=[Mount("/in", app=Router(router.routes))]))
    return "/sub/in/it"


def by_host(app: FastAPI, router: APIRouter) -> str:
    app.router.routes.append(Host("api.example", router))
    return "/it"


def by_mount_in_a_router(app: FastAPI, router: APIRouter) -> str:
    outer = APIRouter()
    outer.mount("/sub", router)
    app.include_router(outer, prefix="/v1")
    with TestClient(app) as client:
        if client.post("/v1/sub/it").status_code == 404:
            pytest.skip("this version of FastAPI includes no mounts")
    return "/v1/sub/it"


@pytest.mark.parametrize(
    "put",
    [
        by_routers,
        by_mount,
        by_two_mounts,
        by_mount_with_middleware,
        by_mount_of_routes,
        by_starlette,
        by_host,
        by_mount_in_a_router,
    ],
)
def test_p10_it_finds_every_route(put: Any, memory: CacheManager) -> None:
    """Of routers of any depth, and of what is mounted."""
    app = FastAPI()
    path = put(app, wrong(memory))
    (found,) = findings(app)
    assert found.kind == "method"
    assert re.fullmatch(rf"POST \S*{path} \(.*\.write_it\)", found.where)


def test_p10_a_route_in_several_places_is_one(memory: CacheManager) -> None:
    """All of its paths are told. In older FastAPI each inclusion is a route of its own."""
    app, router = FastAPI(), wrong(memory)
    for prefix in ("/a", "/b"):
        app.include_router(router, prefix=prefix)
    found = findings(app)
    assert all(f"{prefix}/it" in " ".join(map(str, found)) for prefix in ("/a", "/b"))
    assert len(found) == (2 if isinstance(app.routes[-1], APIRoute) else 1)


def test_p10_an_application_that_has_itself_mounted_ends(memory: CacheManager) -> None:
    """By way of another one, too."""
    app, other = FastAPI(), FastAPI()
    app.mount("/self", app)
    app.mount("/other", other)
    other.mount("/back", app)
    app.include_router(wrong(memory))
    (found,) = findings(app)
    assert found.where.startswith("POST /it (")


def test_p10_other_kinds_of_routes_are_passed_over(memory: CacheManager, tmp_path: Path) -> None:
    """Web sockets, files, routes of Starlette, and classes."""
    app = FastAPI()

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None: ...

    @app.get("/it")
    @cache_response(memory, "own")
    async def read_it(number: int = 1) -> int:
        return number

    async def plain(request: Request) -> Any: ...

    app.mount("/nothing", object())  # type: ignore[arg-type]
    app.router.routes += [Route("/plain", plain), Route("/cached", read_it)]
    assert findings(app) == []
    assert [each.path for each in audit_cache(app).routes] == ["/it", "/cached"]


# What it tells.


def test_p10_an_error_lists_all_findings(memory: CacheManager) -> None:
    """Each with the way to mend it."""
    app = FastAPI()
    app.include_router(wrong(memory))

    @app.put("/that")
    @invalidate_cache(memory, keys="owns:*")
    async def write_that() -> int:
        return 1

    with pytest.raises(CacheAuditError) as raised:
        audit_cache(app, level="error")
    assert {each.kind for each in raised.value.audit.findings} == {"method", "pattern"}
    assert str(raised.value).startswith("2 findings in the cache of this application\n- ")
    for each in raised.value.audit.findings:
        assert f"- {each.kind}: {each.where}: {each.what}; {each.mend}" in str(raised.value)


def test_p10_a_warning_is_one_line_for_each_finding(
    memory: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """And the audit is returned."""
    app = FastAPI()
    app.include_router(wrong(memory))
    app.include_router(wrong(memory, "other"), prefix="/other")
    audit = audit_cache(app)
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert told == list(map(str, audit.findings))
    assert len(told) == 2
    assert not any("\n" in line for line in told)


def test_wrong_arguments_are_refused(memory: CacheManager) -> None:
    """What is around an application has no routes."""
    with pytest.raises(ValueError, match="level='warn' must be 'error' or 'warning'"):
        audit_cache(FastAPI(), level="warn")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give the application itself"):
        audit_cache(GZipMiddleware(FastAPI()))  # type: ignore[arg-type]


def test_p10_it_tells_which_hits_come_before_routing(memory: CacheManager) -> None:
    """And why others do not."""
    app, inner = FastAPI(), FastAPI()
    app.mount("/sub", inner)
    app.add_middleware(CacheMiddleware)

    @app.get("/early/{number}")
    @cache_response(memory, "early")
    async def early(number: int) -> int:
        return number

    @app.get("/late")
    @inner.get("/late")
    @cache_response(memory, "late")
    async def late(request: Request) -> int:
        return 1

    audit = audit_cache(app, level="error")
    assert [(each.path, each.why_routed) for each in audit.routes] == [
        ("/sub/late", "its application has no CacheMiddleware"),
        ("/early/{number}", ""),
        ("/late", "it takes the request, as 'request'"),
    ]
    assert str(audit).splitlines()[:2] == [
        "0 findings in the cache of this application",
        "Not answered before routing, which is no mistake:",
    ]
    assert "/late: it takes the request" in str(audit)
    assert "/early" not in str(audit)
    app.include_router(wrong(memory))
    assert str(audit_cache(app)).startswith("1 finding in the cache")


def test_p10_without_the_optional_files_it_tells_what_it_knows(
    memory: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the audit goes on."""
    app = FastAPI()
    app.add_middleware(CacheMiddleware)
    app.include_router(wrong(memory))
    monkeypatch.setitem(sys.modules, f"{NAME}.http", None)
    audit = audit_cache(app)
    assert [each.kind for each in audit.findings] == ["method"]
    assert [each.why_routed for each in audit.routes] == [
        "CacheMiddleware is not there: its files were deleted"
    ]


# What it leaves alone.


def test_p5_what_raises_is_told_and_passed_over(
    memory: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """A class with code of its own stops no service from starting."""

    class Raising(type):
        def __getattr__(cls, name: str) -> Any:
            raise RuntimeError(name)

    class Odd(metaclass=Raising): ...

    async def odd() -> Odd:
        return Odd()

    app = FastAPI()

    @app.post("/it")
    @cache_response(memory, "own")
    async def write_it(it: Annotated[Any, Depends(odd)]) -> int:
        return 1

    assert [each.kind for each in findings(app)] == ["method"]
    (told, _) = caplog.messages
    assert "cannot examine POST /it (" in told
    assert "Traceback" not in caplog.text


def test_p1_an_audited_application_answers_as_before(memory: CacheManager) -> None:
    """Nothing ran, and a function is cached as it was."""
    app, runs = FastAPI(), [0]
    app.add_middleware(CacheMiddleware)

    @app.get("/it")
    @cache_response(memory, "own", shared=True)
    async def read_it() -> int:
        runs[0] += 1
        return runs[0]

    audit_cache(app, level="error")
    assert runs == [0]
    with TestClient(app) as client:
        assert [client.get("/it").json() for _ in range(3)] == [1, 1, 1]


def test_what_is_decorated_is_known_for_as_long_as_it_lives(memory: CacheManager) -> None:
    """A function that is made for each request does not stay behind."""

    def make() -> None:
        async def read_it() -> int:
            return 1

        cached = cache_response(memory, "own")(read_it)
        writing = invalidate_cache(memory, keys="own:*")(read_it)
        wrapper = functools.wraps(cached)(lambda: None)
        assert made_of(cached) is not None
        assert made_of(wrapper) is None  # which has the attributes of what it wraps
        assert {each.function for each in made_with([memory])} == {cached, writing}

    make()
    gc.collect()
    assert made_with([memory]) == []


def test_every_kind_is_told_in_the_document() -> None:
    """With what to do."""
    from ...ops.findings import Kind  # noqa: PLC0415

    (page,) = (text for path, text in TEXTS.items() if path.name == "audit.md")
    for kind in Kind.__args__:  # type: ignore[attr-defined]
        assert f"`{kind}`" in page
