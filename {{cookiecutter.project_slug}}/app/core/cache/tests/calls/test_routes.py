"""A cached function below a route: methods, decorators, responses and requests as without a cache."""

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any
from weakref import WeakKeyDictionary

import pytest
from fastapi import Depends, FastAPI, Request, Response

from ... import CacheManager, cache_response
from .clients import (
    ALICE,
    BOB,
    BYPASS,
    HIT,
    NOT_STORED,
    STORED,
    ask,
    bodies,
    statuses,
)

RUNS: list[str] = []
"""Which endpoints ran: not captured, as a captured list is told in the log."""


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY", "OPTIONS"])
async def test_p8_other_methods_run_each_time(
    app: FastAPI, our_manager: CacheManager, method: str
) -> None:
    """They are never answered from a GET's entry, and leave none."""
    ran: list[str] = []

    @app.api_route("/", methods=["GET", method])
    @cache_response(our_manager, "all")
    async def endpoint() -> int:
        ran.append("")
        return len(ran)

    other = {"method": method}
    assert await statuses(app, other, {}, other, {}, other) == [BYPASS, STORED, BYPASS, HIT, BYPASS]
    assert len(ran) == 4


async def test_a_method_that_is_named_is_cached(app: FastAPI, our_manager: CacheManager) -> None:
    """A search by POST may be, if the decorator says so; then a GET runs each time."""

    @app.api_route("/", methods=["GET", "POST"])
    @cache_response(our_manager, "search", method="POST")
    async def search() -> int:
        return 1

    post = {"method": "POST"}
    assert await statuses(app, post, {}, post, {}) == [STORED, BYPASS, HIT, BYPASS]
    with pytest.raises(ValueError, match="method='post'"):
        cache_response(our_manager, "x", method="post")(search)


async def test_p8_a_cookie_set_by_a_detour_keeps_a_result_from_being_stored(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """Through an object that holds the response, on any route."""

    class Holder:
        def __init__(self, response: Response) -> None:
            self.response = response

    @app.get("/")
    @cache_response(our_manager, "cookie", ignore=("holder",))
    async def endpoint(holder: Annotated[Any, Depends(Holder)]) -> int:
        holder.response.set_cookie("session", "alice's")
        return 1

    assert await statuses(app, {}, {}) == [NOT_STORED, NOT_STORED]


async def test_p8_what_a_dependency_put_into_a_header_is_not_repeated(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """Not beside what the function adds, nor within what it makes of it."""

    async def names(response: Response, name: str = "") -> None:
        response.headers["X-Names"] = name

    @app.get("/added", dependencies=[Depends(names)])
    @cache_response(our_manager, "added")
    async def added(response: Response) -> int:
        response.headers.append("X-Names", "own")
        return 1

    @app.get("/mixed", dependencies=[Depends(names)])
    @cache_response(our_manager, "mixed")
    async def mixed(response: Response) -> int:
        response.headers["X-Names"] += ", own"
        return 1

    for url, first, second in (("/added", STORED, HIT), ("/mixed", NOT_STORED, NOT_STORED)):
        alice, bob = await ask(app, {"url": f"{url}?name=alice"}, {"url": f"{url}?name=bob"})
        assert alice.headers.get_list("x-names", split_commas=True) == ["alice", "own"]
        assert bob.headers.get_list("x-names", split_commas=True) == ["bob", "own"]
        assert [each.headers["cache-status"] for each in (alice, bob)] == [first, second]


async def test_the_endpoint_of_a_route_is_what_was_given(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """A class-based view finds its functions, and a middleware compares endpoints."""

    @app.get("/")
    @cache_response(our_manager, "me")
    async def endpoint() -> int:
        return 1

    assert endpoint in [getattr(route, "endpoint", None) for route in app.routes]
    assert await statuses(app, {}, {}) == [STORED, HIT]


def explicit(function: Callable[..., Any]) -> Any:
    """Decorate with a function of the very parameters that are known."""

    @wraps(function)
    async def around(number: int) -> Any:
        return await function(number)

    return around


def general(function: Callable[..., Any]) -> Any:
    """Decorate with a function that takes whatever comes."""

    @wraps(function)
    async def around(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return around


async def test_p8_decorators_above_hand_on_whose_call_it_is(
    app: FastAPI, our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """One that hands on only what it knows is handed no more: then nobody can tell, and it is told."""

    RUNS.clear()

    @app.get("/general/{number}")
    @general
    @cache_response(our_manager, "general")
    async def number(number: int) -> int:
        RUNS.append("general")
        return number

    @app.get("/explicit/{number}")
    @explicit
    @cache_response(our_manager, "explicit")
    async def another(number: int) -> int:
        RUNS.append("explicit")
        return number

    for url in ("/general", "/explicit"):
        asked = [{"url": f"{url}/1"}, {"url": f"{url}/2"}]
        assert await bodies(app, *asked, *asked) == [1, 2, 1, 2]
    assert RUNS == ["general"] * 2 + ["explicit"] * 4
    (warning,) = caplog.messages
    assert "let the decorator take **kwargs and hand them on" in warning


async def test_a_decorator_above_the_routes_is_told(
    app: FastAPI, our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """FastAPI never calls what it makes."""

    @cache_response(our_manager, "below")
    async def below() -> int:
        return 1

    app.get("/below")(below)
    assert caplog.records == []

    @cache_response(our_manager, "above")
    @app.get("/above")
    async def above() -> int:
        return 1

    (record,) = caplog.records
    assert "above is an endpoint already" in record.getMessage()
    assert "below the decorator of the route" in record.getMessage()


async def test_a_request_is_what_it_was_in_a_dictionary(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """A dependency notes something by the request, and the endpoint finds it there."""
    known: WeakKeyDictionary[Request, int] = WeakKeyDictionary()

    async def register(request: Request) -> int:
        known[request] = 7
        return 1

    @app.get("/")
    @cache_response(our_manager, "known")
    async def endpoint(request: Request, number: Annotated[int, Depends(register)]) -> int:
        return known[request]

    assert await bodies(app, {}) == [7]


async def test_a_request_may_carry_more_than_its_class(
    app: FastAPI, our_manager: CacheManager
) -> None:
    """What was put on it comes before what its class has, and is noted, `None` too."""

    class Mine(Request):
        tenant = "nobody"

    class Route(type(app.router.route_class("/", lambda: None))):  # type: ignore[misc]
        def get_route_handler(self) -> Any:
            handle = super().get_route_handler()

            async def with_tenant(request: Request) -> Any:
                mine = Mine(request.scope, request.receive)
                mine.tenant = request.headers["authorization"]
                return await handle(mine)

            return with_tenant

    app.router.route_class = Route

    @app.get("/")
    @cache_response(our_manager, "mine")
    async def endpoint(request: Request) -> Any:
        return request.tenant  # type: ignore[attr-defined]

    assert await bodies(app, {"headers": ALICE}, {"headers": BOB}) == ["alice", "bob"]
