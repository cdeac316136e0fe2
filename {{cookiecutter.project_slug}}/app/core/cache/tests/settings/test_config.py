"""Settings from the environment, and the factory that works with them."""

import contextlib
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from ... import (
    CacheConfigError,
    CacheFactory,
    CacheManager,
    CacheSettings,
    MemoryBackend,
    RedisBackend,
    backends,
    get_cache_manager,
)
from ..package import NAME

VARIABLES = [name.upper() for name in CacheSettings.model_fields]


def test_a_laptop_needs_no_settings() -> None:
    """Without any variable the cache is in memory, and Redis would be on localhost."""
    settings = CacheSettings.load()
    assert settings.backend_name == "memory"
    assert (settings.redis_host, settings.redis_port, settings.redis_db) == ("localhost", 6379, 0)
    assert settings.redis_password is None
    assert (settings.redis_max_connections, settings.redis_timeout) == (10, 5)
    assert (settings.cache_default_ttl, settings.cache_key_prefix) == (300, "app")


def test_every_variable_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the contract as it names them, and those beyond it; `REDIS_URL` says where Redis is."""
    for name, value in {
        "CACHE_BACKEND": "redis",
        "REDIS_HOST": "redis",
        "REDIS_PORT": "6380",
        "REDIS_DB": "3",
        "REDIS_PASSWORD": "your_password",
        "REDIS_MAX_CONNECTIONS": "20",
        "REDIS_TIMEOUT": "2",
        "CACHE_DEFAULT_TTL": "60",
        "CACHE_KEY_PREFIX": "shop:eu",
        "CACHE_MAX_ENTRY_BYTES": "1000",
        "CACHE_COMPRESS_OVER": "500",
        "CACHE_TTL_JITTER": "0.1",
        "CACHE_LOCK_TIMEOUT": "2.5",
        "CACHE_CONTROL": "no-cache",
        "CACHE_CLIENT_CONTROL": "true",
        "CACHE_ENABLED": "false",
        "CACHE_OPERATION_TIMEOUT": "0.5",
        "CACHE_NEAR_SIZE": "1000",
        "CACHE_NEAR_BYTES": "2000000",
        "REDIS_URL": "redis://redis",
        "REDIS_USERNAME": "app",
        "REDIS_TLS": "true",
        "REDIS_TLS_CA_FILE": __file__,
        "REDIS_TLS_CERT_FILE": __file__,
        "REDIS_TLS_KEY_FILE": __file__,
        "REDIS_TLS_CHECK_HOSTNAME": "false",
        "REDIS_SENTINELS": "redis:26379",
        "REDIS_SENTINEL_MASTER": "main",
        "REDIS_SENTINEL_USERNAME": "watch",
        "REDIS_SENTINEL_PASSWORD": "theirs",
        "REDIS_CLUSTER": "true",
    }.items():
        monkeypatch.setenv(name, value)
    assert CacheSettings.load().model_dump() == {
        "cache_backend": "redis",
        "redis_host": "redis",
        "redis_port": 6379,
        "redis_db": 0,
        "redis_password": SecretStr("your_password"),
        "redis_max_connections": 20,
        "redis_timeout": 2.0,
        "cache_default_ttl": 60,
        "cache_key_prefix": "shop:eu",
        "cache_max_entry_bytes": 1000,
        "cache_compress_over": 500,
        "cache_ttl_jitter": 0.1,
        "cache_lock_timeout": 2.5,
        "cache_control": "no-cache",
        "cache_client_control": True,
        "cache_enabled": False,
        "cache_operation_timeout": 0.5,
        "cache_near_size": 1000,
        "cache_near_bytes": 2_000_000,
        "redis_url": SecretStr("redis://redis"),
        "redis_username": "app",
        "redis_tls": True,
        "redis_tls_ca_file": Path(__file__),
        "redis_tls_cert_file": Path(__file__),
        "redis_tls_key_file": Path(__file__),
        "redis_tls_check_hostname": False,
        "redis_sentinels": "redis:26379",
        "redis_sentinel_master": "main",
        "redis_sentinel_username": "watch",
        "redis_sentinel_password": SecretStr("theirs"),
        "redis_cluster": True,
    }


def test_the_managers_own_settings_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what it goes by."""
    for name, value in {
        "REDIS_HOST": "redis",
        "REDIS_PORT": "6380",
        "REDIS_DB": "3",
        "CACHE_DEFAULT_TTL": "60",
        "CACHE_KEY_PREFIX": "shop:eu",
        "CACHE_MAX_ENTRY_BYTES": "1000",
        "CACHE_COMPRESS_OVER": "500",
        "CACHE_TTL_JITTER": "0.1",
        "CACHE_LOCK_TIMEOUT": "2.5",
        "CACHE_CONTROL": "no-cache",
    }.items():
        monkeypatch.setenv(name, value)
    manager = CacheFactory.create_cache_manager()
    assert isinstance(manager.backend, RedisBackend)
    assert repr(manager.backend) == "RedisBackend(host='redis', port=6380, db=3)"
    assert (manager.key_prefix, manager.default_ttl) == ("shop:eu", 60)
    assert manager.cache_control == "no-cache"
    assert (manager.max_entry_bytes, manager.compress_over) == (1000, 500)
    assert (manager.ttl_jitter, manager.fence.lock_timeout) == (0.1, 2.5)
    assert (CacheFactory.get_cache_key_prefix(), CacheFactory.get_default_ttl()) == ("shop:eu", 60)


@pytest.fixture
def made_with(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the factory makes a `RedisBackend` with, once it has made one."""
    options: dict[str, Any] = {}

    def make(**given: Any) -> RedisBackend:
        options.update(given)
        return RedisBackend(**given)

    monkeypatch.setitem(vars(backends), "RedisBackend", make)
    return options


def test_every_setting_of_redis_reaches_its_backend(
    monkeypatch: pytest.MonkeyPatch, made_with: dict[str, Any]
) -> None:
    """Each is handed over by its own name."""
    for name, value in {
        "REDIS_DB": "3",
        "REDIS_USERNAME": "app",
        "REDIS_PASSWORD": "your_password",
        "REDIS_MAX_CONNECTIONS": "20",
        "REDIS_TIMEOUT": "2",
        "CACHE_OPERATION_TIMEOUT": "0.5",
        "CACHE_KEY_PREFIX": "shop",
        "CACHE_NEAR_SIZE": "1000",
        "CACHE_NEAR_BYTES": "2000000",
        "REDIS_SENTINELS": "one:26379, two",
        "REDIS_SENTINEL_MASTER": "main",
        "REDIS_SENTINEL_USERNAME": "watch",
        "REDIS_SENTINEL_PASSWORD": "theirs",
    }.items():
        monkeypatch.setenv(name, value)
    manager = CacheFactory.create_cache_manager()
    assert repr(manager.backend) == "RedisBackend(sentinel_master='main', db=3)"
    assert made_with == {
        "host": "localhost",
        "port": 6379,
        "db": 3,
        "username": "app",
        "password": SecretStr("your_password"),
        "max_connections": 20,
        "timeout": 2.0,
        "operation_timeout": 0.5,
        "key_prefix": "shop",
        "cluster": False,
        "unix_socket": None,
        "sentinels": [("one", 26379), ("two", 26379)],
        "sentinel_master": "main",
        "sentinel_username": "watch",
        "sentinel_password": SecretStr("theirs"),
        "near_size": 1000,
        "near_bytes": 2_000_000,
    }


def test_the_prefix_is_that_of_memory_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log says once where the cache is."""
    caplog.set_level(logging.INFO, NAME)
    monkeypatch.setenv("CACHE_KEY_PREFIX", "shop")
    assert get_cache_manager().key_prefix == get_cache_manager().key_prefix == "shop"
    [line] = [record.getMessage() for record in caplog.records]
    assert "MemoryBackend" in line
    assert "'shop'" in line


def test_the_line_is_written_when_it_can_be_seen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A manager is often made at import, before logging is configured: it is told once, then."""
    caplog.set_level(logging.WARNING, logger=NAME)
    for _ in range(2):
        get_cache_manager()
    assert caplog.records == []
    caplog.set_level(logging.INFO, logger=NAME)
    for _ in range(2):
        get_cache_manager()
    [line] = [record.getMessage() for record in caplog.records]
    assert "MemoryBackend" in line


def test_a_dotenv_file_counts_less_than_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file may hold variables of others as well."""
    (tmp_path / ".env").write_text("CACHE_DEFAULT_TTL=7\nREDIS_PORT=1\nOTHERS=1\n")
    monkeypatch.setenv("CACHE_BACKEND", "redis")
    monkeypatch.setenv("REDIS_PORT", "2")
    settings = CacheSettings.load()
    assert (settings.cache_default_ttl, settings.redis_port) == (7, 2)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """As compose files and shells leave them."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    assert CacheSettings.load() == CacheSettings.model_construct()


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("CACHE_BACKEND", "memcached", "redis, memory or none"),
        ("REDIS_PORT", "0", "1 to 65535"),
        ("REDIS_PORT", "65536", "1 to 65535"),
        ("REDIS_PORT", "redis", "1 to 65535"),
        ("REDIS_DB", "-1", "0 or more"),
        ("REDIS_MAX_CONNECTIONS", "0", "1 to 10000"),
        ("REDIS_MAX_CONNECTIONS", "10001", "1 to 10000"),
        ("REDIS_TIMEOUT", "0", "more than 0"),
        ("REDIS_TIMEOUT", "nan", "more than 0"),
        ("REDIS_TIMEOUT", "inf", "at most 3600"),
        ("CACHE_DEFAULT_TTL", "0", "1 or more"),
        ("CACHE_DEFAULT_TTL", "1.5", "whole seconds"),
        ("CACHE_DEFAULT_TTL", str(2**31), "whole seconds"),
        ("CACHE_KEY_PREFIX", "two words", "no spaces"),
        ("CACHE_MAX_ENTRY_BYTES", "0", "1 or more"),
        ("CACHE_COMPRESS_OVER", "-1", "0 for no compression"),
        ("CACHE_TTL_JITTER", "0.6", "0 to 0.5"),
        ("CACHE_LOCK_TIMEOUT", "0", "more than 0"),
        ("CACHE_CONTROL", "public", "max-age, no-cache, immutable, none"),
        ("CACHE_KEY_PREFIX", "x" * 101, "1 to 100"),
    ],
)
def test_a_wrong_value_is_an_error_that_says_all(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    """It names the variable, its value and what is allowed, and shows no password."""
    monkeypatch.setenv("CACHE_BACKEND", "redis")
    monkeypatch.setenv("REDIS_PASSWORD", "hush")
    monkeypatch.setenv(variable, value)
    with pytest.raises(CacheConfigError) as caught:
        get_cache_manager()
    message = str(caught.value)
    assert f"{variable}={value!r}" in message
    assert allowed in message
    assert "hush" not in message
    assert caught.value.__context__ is None


def test_all_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody mends one to be told of the next."""
    monkeypatch.setenv("CACHE_BACKEND", "redis")
    monkeypatch.setenv("REDIS_PORT", "x")
    monkeypatch.setenv("REDIS_DB", "y")
    with pytest.raises(CacheConfigError, match=r"REDIS_PORT='x'.*REDIS_DB='y'"):
        CacheSettings.load()


@pytest.mark.parametrize("host", ["redis", "localhost"])
def test_a_redis_host_means_redis(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Who names a Redis wants it, the default included, and who says memory gets memory."""
    monkeypatch.setenv("REDIS_HOST", host)
    assert isinstance(CacheFactory.create_cache_manager().backend, RedisBackend)
    monkeypatch.setenv("CACHE_BACKEND", "memory")
    assert isinstance(CacheFactory.create_cache_manager().backend, MemoryBackend)


def test_the_shared_manager_is_one() -> None:
    """`get` makes it once; `create` makes another each time."""
    assert get_cache_manager() is CacheFactory.get_cache_manager() is get_cache_manager()
    assert CacheFactory.create_cache_manager() is not get_cache_manager()
    assert isinstance(get_cache_manager(), CacheManager)


def test_threads_share_one_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever asks first makes it, and the others wait for that one."""
    create, two_inside = CacheFactory.create_cache_manager, threading.Barrier(2)
    made: list[CacheManager] = []

    def slow() -> CacheManager:
        made.append(create())
        with contextlib.suppress(threading.BrokenBarrierError):
            two_inside.wait(0.2)  # until another thread is here, too, which none must be
        return made[-1]

    monkeypatch.setattr(CacheFactory, "create_cache_manager", slow)
    with ThreadPoolExecutor(4) as pool:
        managers = {asked.result() for asked in [pool.submit(get_cache_manager) for _ in range(4)]}
    assert managers == set(made)
    assert len(made) == 1


async def test_the_factory_tells_a_sick_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is that of the shared manager's backend."""
    with socket.socket() as taken:  # a port that refuses connections
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("REDIS_HOST", "127.0.0.1")
        monkeypatch.setenv("REDIS_PORT", str(taken.getsockname()[1]))
        assert await CacheFactory.health_check_cache() is False
        await CacheFactory.close_cache_manager()


async def test_the_factory_checks_and_closes_the_shared_manager() -> None:
    """Closing before there is one does nothing; a closed one works again."""
    await CacheFactory.close_cache_manager()
    assert await CacheFactory.health_check_cache() is True
    await get_cache_manager().set("key", 1)
    await CacheFactory.close_cache_manager()
    assert await get_cache_manager().set("key", 2) is True
    assert await CacheFactory.health_check_cache() is True


def test_the_settings_hide_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """In repr and in text."""
    monkeypatch.setenv("CACHE_BACKEND", "redis")
    monkeypatch.setenv("REDIS_PASSWORD", "hush")
    settings = CacheSettings.load()
    assert settings.redis_password == SecretStr("hush")
    assert "hush" not in repr(settings) + str(settings) + str(settings.model_dump())


def test_settings_stay_as_they_were_read() -> None:
    """Nobody changes them behind the manager's back."""
    settings = CacheSettings.load()
    with pytest.raises(ValidationError, match="frozen"):
        settings.redis_port = 1
