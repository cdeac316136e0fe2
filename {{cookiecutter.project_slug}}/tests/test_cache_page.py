"""The page of the cache, as the setting `CACHE_PAGE` lets people see it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, HTTPException
from fastapi.testclient import TestClient

from app.core.cache import CacheManager
from app.core.config import Settings
from app.main import create_app
from tests.conftest import StartService

LOCAL = ("127.0.0.1", 50000)


@contextmanager
def serving(
    settings: Settings, page: str, *, client: tuple[str, int] = LOCAL, **more: Any
) -> Iterator[TestClient]:
    """Start the application with a setting; the client is on this machine unless told otherwise."""
    app = create_app(settings.model_copy(update={"cache_page": page, **more}))
    with TestClient(app, base_url="http://localhost:8000", client=client) as browser:
        yield browser


@pytest.fixture
def admins(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a module with a dependency, and with what is none; return its name."""
    module = ModuleType("admins")

    async def admin(token: str = "") -> None:
        if token != "secret":
            raise HTTPException(403)

    module.__dict__.update(admin=admin, number=7)
    monkeypatch.setitem(sys.modules, "admins", module)
    return "admins"


def test_there_is_no_page_unless_it_is_wanted(settings: Settings, cache: CacheManager) -> None:
    """Nor is the cache counted."""
    listeners = cache.events.listeners
    with serving(settings, Settings().cache_page) as browser:
        for path in ("/cache", "/cache/data", "/cache/entries"):
            assert browser.get(path).status_code == 404
    assert cache.events.listeners == listeners


def test_a_local_page_is_for_this_machine(settings: Settings, cache: CacheManager) -> None:
    """Others do not learn that it is there."""
    with serving(settings, "local") as browser:
        assert "<h1>Cache" in browser.get("/cache").text
        state = browser.get("/cache/data").json()
        assert (state["key_prefix"], len(state["processes"])) == (cache.key_prefix, 1)
        assert "/cache" not in browser.get("/openapi.json").json()["paths"]
    with serving(settings, "local", client=("192.0.2.7", 50000)) as browser:
        assert browser.get("/cache").status_code == 404
        assert browser.get("/cache/data").status_code == 404


def test_a_route_for_any_name_does_not_hide_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a route answers to all other names, and to this one where there is no page."""
    router = APIRouter()
    router.get("/{name}")(lambda name: name)
    monkeypatch.setattr("app.api.router.router", router)
    for page, found in (("local", "<h1>Cache"), ("off", '"cache"')):
        with serving(settings, page) as browser:
            assert found in browser.get("/cache").text
            assert browser.get("/other").json() == "other"


def test_a_dependency_decides(settings: Settings, cache: CacheManager, admins: str) -> None:
    """Of every route of the page."""
    with serving(settings, f"{admins}:admin", client=("192.0.2.7", 1)) as browser:
        for path in ("/cache", "/cache/data", "/cache/entries"):
            assert browser.get(path).status_code == 403
            assert browser.get(path, params={"token": "secret"}).status_code == 200
        headers = {"X-Cache-Page": "1", "Content-Type": "application/json"}
        asked: dict[str, Any] = {"headers": headers, "json": {"key": "x"}}
        assert browser.post("/cache/invalidate", **asked).status_code == 403
        done = browser.post("/cache/invalidate", params={"token": "secret"}, **asked)
        assert done.json()["done"] is True


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("on", "must be off, local, or package.module:name"),
        (".admins:admin", "must be off, local, or package.module:name"),
        ("admins:", "must be off, local, or package.module:name"),
        ("admins:no", "it cannot be imported: module 'admins' has no attribute 'no'"),
        ("nowhere.at.all:admin", "it cannot be imported: No module named 'nowhere'"),
        ("admins:number", "this is a int, which cannot be called"),
    ],
)
def test_a_wrong_setting_is_told_at_the_start(
    settings: Settings, admins: str, name: str, says: str
) -> None:
    """The service does not start without the guard that it was to have."""
    with pytest.raises(ValueError, match="CACHE_PAGE") as error:
        create_app(settings.model_copy(update={"cache_page": name}))
    assert says in str(error.value)


@pytest.mark.parametrize("seconds", ["-1", "20", "often"])
def test_a_wrong_time_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    """Counters would expire before the next ones come."""
    monkeypatch.setenv("CACHE_PUBLISH_SECONDS", seconds)
    with pytest.raises(ValueError, match="cache_publish_seconds"):
        Settings()


def test_processes_tell_each_other_their_numbers(
    start_service: StartService, redis_environment: dict[str, str]
) -> None:
    """Unless that is switched off, as it is for the one that was there first."""
    page = {**redis_environment, "CACHE_PAGE": "local"}
    start_service(**page, CACHE_PUBLISH_SECONDS="0")
    services = [start_service(**page, CACHE_PUBLISH_SECONDS="0.1") for _ in range(2)]
    owns = {service.get("/cache/data").json()["own"] for service in services}
    deadline = time.monotonic() + 30
    while [known_to(service) for service in services] != [owns, owns]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def known_to(service: httpx2.Client) -> set[str]:
    """Return the processes whose numbers a service shows."""
    return {process["id"] for process in service.get("/cache/data").json()["processes"]}
