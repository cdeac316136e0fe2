"""What is read of the environment: what the backend uses, by the cache's own names first."""

import logging
from pathlib import Path

import pytest

from ... import (
    CacheConfigError,
    CacheFactory,
    CacheSettings,
    MemoryBackend,
    RedisBackend,
)
from ..package import NAME

OF_REDIS = [name for name in CacheSettings.model_fields if name.startswith("redis_")]

VALUES: dict[str, tuple[str, str]] = {
    "redis_url": ("redis://cache", "redis://application"),
    "redis_host": ("cache", "application"),
    "redis_port": ("1", "2"),
    "redis_db": ("1", "2"),
    "redis_username": ("cache", "application"),
    "redis_password": ("cache", "application"),
    "redis_max_connections": ("1", "2"),
    "redis_timeout": ("1", "2"),
    "redis_tls": ("true", "false"),
    "redis_tls_ca_file": (__file__, "/nowhere"),
    "redis_tls_cert_file": (__file__, "/nowhere"),
    "redis_tls_key_file": (__file__, "/nowhere"),
    "redis_tls_check_hostname": ("false", "true"),
    "redis_sentinels": ("cache:1", "application:1"),
    "redis_sentinel_master": ("cache", "application"),
    "redis_sentinel_username": ("cache", "application"),
    "redis_sentinel_password": ("cache", "application"),
    "redis_cluster": ("true", "false"),
}


@pytest.mark.parametrize("theirs_in_file", [True, False])
@pytest.mark.parametrize("ours_in_file", [True, False])
@pytest.mark.parametrize("field", OF_REDIS)
def test_the_caches_own_name_comes_first(
    field: str, ours_in_file: bool, theirs_in_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each setting of Redis, wherever either stands; the other one is not even looked at."""
    ours, theirs = VALUES[field]
    expected = CacheSettings(cache_backend="redis", **{field: ours})
    lines = ["CACHE_BACKEND=redis"]
    for name, value, in_file in (
        (f"CACHE_{field.upper()}", ours, ours_in_file),
        (field.upper(), theirs, theirs_in_file),
    ):
        if in_file:
            lines.append(f"{name}={value}")
        else:
            monkeypatch.setenv(name, value)
    Path(".env").write_text("\n".join(lines))
    assert CacheSettings.load() == expected


def test_an_address_of_the_caches_own_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application's URL is not taken because the cache's is called a host."""
    monkeypatch.setenv("REDIS_URL", "redis://application/7")
    monkeypatch.setenv("CACHE_REDIS_HOST", "cache")
    backend = CacheFactory.create_cache_manager().backend
    assert repr(backend) == "RedisBackend(host='cache', port=6379, db=0)"


def test_an_error_names_the_variable_that_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the other one, which is right."""
    monkeypatch.setenv("CACHE_BACKEND", "redis")
    monkeypatch.setenv("REDIS_DB", "1")
    monkeypatch.setenv("CACHE_REDIS_DB", "x")
    with pytest.raises(CacheConfigError, match=r"^CACHE_REDIS_DB='x'"):
        CacheSettings.load()


NO_GOOD = dict.fromkeys((name.upper() for name in OF_REDIS), "\x00 no good")


@pytest.mark.parametrize("prefix", ["", "CACHE_"])
def test_memory_reads_nothing_that_is_for_redis(
    prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is: it is another's."""
    for name in NO_GOOD:
        monkeypatch.setenv(prefix + name, "no good")
    for name in ("REDIS_SSL", "REDIS_USER", "CACHE_NEAR_SIZE", "CACHE_OPERATION_TIMEOUT"):
        monkeypatch.setenv(name, "no good")
    monkeypatch.setenv("CACHE_BACKEND", "memory")
    assert isinstance(CacheFactory.create_cache_manager().backend, MemoryBackend)
    assert CacheSettings.load() == CacheSettings(cache_backend="memory")
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_without_an_address_nothing_is_read_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port alone, as Kubernetes sets it, is no wish for Redis."""
    monkeypatch.setenv("REDIS_PORT", "tcp://10.96.0.1:6379")
    monkeypatch.setenv("REDIS_TIMEOUT", "no good")
    assert isinstance(CacheFactory.create_cache_manager().backend, MemoryBackend)


def test_a_url_makes_host_port_and_number_of_no_use(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are not read, which is told."""
    caplog.set_level(logging.INFO, NAME)
    monkeypatch.setenv("REDIS_URL", "redis://redis/1")
    for name in ("REDIS_HOST", "REDIS_PORT", "REDIS_DB"):
        monkeypatch.setenv(name, "no good")
    backend = CacheFactory.create_cache_manager().backend
    assert repr(backend) == "RedisBackend(host='redis', port=6379, db=1)"
    assert "REDIS_URL is set: REDIS_HOST, REDIS_PORT, REDIS_DB not read" in caplog.text


def test_sentinels_make_host_and_port_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """They know the master's."""
    monkeypatch.setenv("REDIS_SENTINELS", "one,two")
    monkeypatch.setenv("REDIS_SENTINEL_MASTER", "main")
    monkeypatch.setenv("REDIS_PORT", "no good")
    monkeypatch.setenv("REDIS_HOST", "no good")
    assert "main" in repr(CacheFactory.create_cache_manager().backend)


@pytest.mark.parametrize("host", ["", "redis", "managed.example.com"])
@pytest.mark.parametrize("variable", ["REDIS_PORT", "CACHE_REDIS_PORT"])
def test_a_port_that_kubernetes_sets_is_named(
    variable: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be that of any service that somebody called redis."""
    monkeypatch.setenv("CACHE_BACKEND", "redis")
    monkeypatch.setenv("REDIS_HOST", host)
    monkeypatch.setenv(variable, "tcp://10.96.0.1:6379")
    told = rf"{variable}='tcp://10\.96\.0\.1:6379'.*Kubernetes.*CACHE_REDIS_PORT"
    with pytest.raises(CacheConfigError, match=told):
        CacheFactory.create_cache_manager()


def test_a_port_of_the_caches_own_comes_before_that_of_kubernetes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the message says."""
    monkeypatch.setenv("REDIS_HOST", "redis")
    monkeypatch.setenv("REDIS_PORT", "tcp://10.96.0.1:6380")
    monkeypatch.setenv("CACHE_REDIS_PORT", "6380")
    backend = CacheFactory.create_cache_manager().backend
    assert repr(backend) == "RedisBackend(host='redis', port=6380, db=0)"


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("redis:6380", "", "host='redis', port=6380"),
        ("redis:6380", "6380", "host='redis', port=6380"),
        ("[::1]:6380", "", "host='::1', port=6380"),
        ("[::1]", "6380", "host='::1', port=6380"),
        ("::1", "", "host='::1', port=6379"),
        (" redis ", "", "host='redis', port=6379"),
    ],
)
def test_a_host_may_have_its_port(
    host: str, port: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a colon, as others write it."""
    monkeypatch.setenv("REDIS_HOST", host)
    monkeypatch.setenv("REDIS_PORT", port)
    backend = CacheFactory.create_cache_manager().backend
    assert repr(backend) == f"RedisBackend({expected}, db=0)"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"REDIS_HOST": "redis:1", "REDIS_PORT": "2"}, "REDIS_HOST='redis:1' and REDIS_PORT=2"),
        ({"REDIS_HOST": "one,two"}, "REDIS_URL names several servers: set REDIS_CLUSTER=true"),
        ({"REDIS_HOST": "redis://redis"}, "REDIS_HOST is a URL: set REDIS_URL"),
        ({"REDIS_SSL": "true"}, "REDIS_TLS=true"),
        ({"REDIS_SSL": "1", "REDIS_URL": "redis://redis"}, "REDIS_TLS=true"),
        ({"CACHE_REDIS_SSL": "on"}, "CACHE_REDIS_SSL is set"),
    ],
)
def test_what_cannot_be_meant_is_named(
    variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do."""
    monkeypatch.setenv("REDIS_HOST", "redis")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CacheConfigError) as caught:
        CacheFactory.create_cache_manager()
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "variables",
    [
        {"REDIS_SSL": "false"},
        {"REDIS_SSL": "true", "REDIS_TLS": "true"},
        {"REDIS_SSL": "true", "REDIS_TLS": "false"},
        {"REDIS_SSL": "true", "REDIS_URL": "rediss://redis"},
    ],
)
def test_a_variable_of_another_may_stay(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the cache's own says what is meant."""
    monkeypatch.setenv("REDIS_HOST", "redis")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert isinstance(CacheFactory.create_cache_manager().backend, RedisBackend)


def test_settings_made_by_hand_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor a file; a manager can be made of them."""
    for name in NO_GOOD:
        monkeypatch.setenv(name, "no good")
    monkeypatch.setenv("CACHE_KEY_PREFIX", "no good")
    Path(".env").write_text("CACHE_DEFAULT_TTL=no good")
    settings = CacheSettings(cache_key_prefix="shop", redis_host="cache", redis_port=6380)
    manager = CacheFactory.create_cache_manager(settings)
    assert repr(manager.backend) == "RedisBackend(host='cache', port=6380, db=0)"
    assert (manager.key_prefix, manager.default_ttl) == ("shop", 300)
    memory = CacheFactory.create_cache_manager(CacheSettings(cache_key_prefix="shop"))
    assert isinstance(memory.backend, MemoryBackend)


def test_settings_made_by_hand_are_checked() -> None:
    """By the same rules, and a name that there is none of is told."""
    with pytest.raises(CacheConfigError, match="redis_port=0 is not allowed; it must be a port"):
        CacheSettings(redis_port=0)
    with pytest.raises(CacheConfigError, match="redis_hots is no setting"):
        CacheSettings(redis_hots="redis")


def test_the_password_of_another_redis_is_not_sent_to_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the cache has an address of its own, nothing of the application's Redis is read."""
    for name, value in {
        "CACHE_REDIS_HOST": "cache",
        "REDIS_HOST": "the-applications",
        "REDIS_USERNAME": "application",
        "REDIS_PASSWORD": "secret",
        "REDIS_DB": "7",
    }.items():
        monkeypatch.setenv(name, value)
    settings = CacheSettings.load()
    assert (settings.redis_host, settings.redis_db) == ("cache", 0)
    assert (settings.redis_username, settings.redis_password) == (None, None)
