"""`app/main.py`: the application as servers, clients and operators see it."""

import logging
import tomllib
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.core.cache import CacheFactory
from app.core.cache.ops import audit_cache
from app.core.config import Settings
from app.main import create_app
from tests.conftest import StartService

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def test_the_entrypoint_is_an_application() -> None:
    """What pyproject.toml names as the entry point is an application."""
    entrypoint = tomllib.loads(PYPROJECT.read_text("utf-8"))["tool"]["fastapi"]["entrypoint"]
    module, _, name = entrypoint.partition(":")
    assert isinstance(getattr(import_module(module), name), FastAPI)


def test_openapi_describes_the_service(client: TestClient, settings: Settings) -> None:
    """The OpenAPI document renders, with the name of the service and its routes."""
    document = client.get("/openapi.json").json()
    assert document["info"]["title"] == settings.app_name
    assert {"/health/live", "/health/ready"} <= set(document["paths"])


def test_the_docs_page_is_served(client: TestClient) -> None:
    """The docs page is at /docs."""
    assert client.get("/docs").status_code == 200


def test_the_cache_is_closed_when_the_application_stops(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache is closed once, at the end and not before."""
    closed = []
    close: Callable[[], Awaitable[None]] = CacheFactory.close_cache_manager

    async def recorded() -> None:
        closed.append(True)
        await close()

    monkeypatch.setattr(CacheFactory, "close_cache_manager", recorded)
    with TestClient(create_app(settings)) as client:
        client.get("/health/ready")
        assert not closed
    assert closed == [True]


def test_an_application_starts_again_after_it_stopped(settings: Settings) -> None:
    """One application after another works: what was closed opens again."""
    for _ in range(2):
        with TestClient(create_app(settings)) as client:
            assert client.get("/health/ready").json()["status"] == "ok"


def test_the_audit_of_the_cache_has_no_findings(settings: Settings) -> None:
    """Nor has that of a second application in the same process."""
    for _ in range(2):
        assert audit_cache(create_app(settings), level="error").findings == ()


def test_the_log_level_holds_for_the_service(settings: Settings) -> None:
    """`LOG_LEVEL` decides what the loggers below `app` show, those of the cache included."""
    service, cache = logging.getLogger("app"), logging.getLogger("app.core.cache")
    before = service.level
    try:
        create_app(settings.model_copy(update={"log_level": "ERROR"}))
        assert not cache.isEnabledFor(logging.WARNING)
        create_app(settings.model_copy(update={"log_level": "DEBUG"}))
        assert cache.isEnabledFor(logging.DEBUG)
    finally:
        service.setLevel(before)


def test_the_keys_of_the_cache_begin_with_the_service(settings: Settings) -> None:
    """What the settings say is what the cache does: the service's name, unless told otherwise."""
    assert CacheFactory.get_cache_key_prefix() == settings.cache_key_prefix


def test_a_cache_that_was_made_too_early_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A cache with another prefix than the settings' may be shared with others: that is no secret."""
    monkeypatch.setenv("CACHE_KEY_PREFIX", "before")
    create_app(settings)
    assert "called before create_app()" not in caplog.text
    create_app(settings.model_copy(update={"cache_key_prefix": "another"}))
    assert "begin with" in caplog.text
    assert "and not with 'another'" in caplog.text


def test_the_log_says_where_the_cache_is(start_service: StartService, tmp_path: Path) -> None:
    """Once, although the manager is made before logging is configured; other caches may be there."""
    start_service(CACHE_BACKEND="memory", CACHE_KEY_PREFIX="of-this-test", LOG_LEVEL="INFO")
    [log] = tmp_path.glob("service-*.log")
    told = [each for each in log.read_text().splitlines() if "cache in MemoryBackend(" in each]
    assert sum("key prefix 'of-this-test'" in each for each in told) == 1


def test_log_levels_are_read_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """`debug` is `DEBUG`, and a level that does not exist stops the start."""
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert Settings().log_level == "DEBUG"
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(ValueError, match="log_level"):
        Settings()
