"""Nobody gets another's answer, however an endpoint learns who asks (promise P8)."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import Request
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from ... import CachedRoute, CacheEvent, CacheManager, MemoryBackend
from ...testing import assert_isolated
from .. import two_users_dependencies
from ..conftest import new_backend
from ..two_users import WAYS, Site, application, user

PATHS = {
    "sub_application": "/sub/me",
    "form_as_a_parameter": "/form",
    "query_as_a_parameter": "/query",
}
POSTS = {
    "body_of_the_request",
    "body_of_a_cached_post",
    "body_as_a_parameter",
    "form_as_a_parameter",
}
OWN_ENTRY = {
    "headers[], vary=",
    "headers[], ignored and vary=",
    "headers[], in the key=",
    "body_as_a_parameter",
    "form_as_a_parameter",
    "header_as_a_parameter",
    "query_as_a_parameter",
    "context_variable_of_a_middleware",
    "OAuth2, known",
    "API key in a header, known",
    "by_header, an_argument",
    "by_request, an_argument",
    "by_header, in_vary",
    "by_request, by_a_function_in_vary",
}
"""Ways in which an endpoint is cached, for each user apart."""


@pytest.fixture(params=["memory", "redis", "near", "observed"])
def new_manager(request: pytest.FixtureRequest) -> Callable[[], CacheManager]:
    """Lend what makes managers over each kind of backend in turn, and ones that have a listener."""

    def make() -> CacheManager:
        if request.param != "observed":
            return CacheManager(new_backend(request))
        manager = CacheManager(MemoryBackend())
        manager.observe(list[CacheEvent]().append)
        return manager

    return make


@pytest.fixture
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Lend a table, which is printed where output is shown."""
    found: dict[str, str] = {}
    yield found
    for name, what in found.items():
        print(f"{what:12} {name}")  # noqa: T201


@pytest.mark.parametrize("route_class", [APIRoute, CachedRoute])
def test_p8_two_users_never_see_each_others_answer(
    new_manager: Callable[[], CacheManager],
    route_class: type[APIRoute],
    outcomes: dict[str, str],
) -> None:
    """Each gets an entry of his own, or nothing is stored, or he is refused."""
    assert two_users_dependencies.DEPENDENCIES  # which are among the ways, too
    leaks = []
    for name, way in WAYS.items():
        manager = new_manager()
        with TestClient(application(way, manager, route_class)) as client:
            try:
                outcomes[name] = assert_isolated(client, PATHS.get(name, "/me"), *users(name))
            except AssertionError as error:
                leaks.append(f"{name}: {error}")
            assert client.portal is not None
            client.portal.call(manager.clear)
            client.portal.call(manager.close)
    assert leaks == []
    assert len(outcomes) >= 40
    assert {name for name in OWN_ENTRY if outcomes[name] != "own entry"} == set()


def users(name: str) -> list[dict[str, Any]]:
    """Return what the two send, so that this way works."""
    sent = []
    for each in ("alice", "bob"):
        options = user(each) | {"params": {"user": each}} if "query" in name else user(each)
        if name.startswith("basic"):
            token = base64.b64encode(f"{each}:x".encode()).decode()
            options["headers"]["Authorization"] = f"Basic {token}"
        if name in POSTS:
            options["method"] = "POST"
            options |= {"data": {"user": each}} if "form" in name else {"json": {"user": each}}
        sent.append(options)
    return sent


def test_a_leak_is_found() -> None:
    """An endpoint that gives one user's answer to another one fails the assertion."""
    manager = CacheManager(MemoryBackend())
    shared = application(leaking, manager, APIRoute)
    with TestClient(shared) as client, pytest.raises(AssertionError, match="both people got"):
        assert_isolated(client, "/me", user("alice"), user("bob"))


def leaking(site: Site) -> None:
    """Say that the answer is the same for everybody, which it is not."""

    @site.router.get("/me")
    @site.cached(shared=True, ignore=("request",))
    async def me(request: Request) -> str:
        return request.headers["x-user"]
