"""`REDIS_URL`: each option of redis-py is used, of no use and told, or refused with what to do."""

import inspect
import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection

from ... import (
    CacheConfigError,
    CacheFactory,
    CacheSettings,
    RedisBackend,
    Tls,
    backends,
)
from ...settings.redis_url import _SETTINGS

PEM = str(Path(__file__))

USED: dict[str, dict[str, Any]] = {
    "db=3": {"db": 3},
    "max_connections=7": {"max_connections": 7},
    "socket_timeout=1.5": {"timeout": 1.5},
    "socket_connect_timeout=2": {"timeout": 2.0},
    "socket_timeout=3&socket_connect_timeout=2": {"timeout": 2.0},
    "username=app": {"username": "app"},
    "password=p%40ss": {"password": SecretStr("p@ss")},
    "protocol=3": {},
    "ssl_cert_reqs=required": {},
    "ssl_cert_reqs=CERT_REQUIRED": {},
}
USED_OF_TLS: dict[str, Tls] = {
    "": Tls(),
    f"ssl_ca_certs={PEM}": Tls(ca_file=PEM),
    f"ssl_certfile={PEM}&ssl_keyfile={PEM}": Tls(cert_file=PEM, key_file=PEM),
    "ssl_check_hostname=false": Tls(check_hostname=False),
    "ssl_check_hostname=True": Tls(),
}
OF_NO_USE = {
    "protocol": "2",
    "health_check_interval": "30",
    "socket_keepalive": "true",
    "decode_responses": "true",
    "client_name": "web",
    "retry_on_timeout": "true",
    "retry_on_error": "x",
    "encoding": "utf-8",
    "encoding_errors": "strict",
    "lib_name": "x",
    "lib_version": "1",
    "driver_info": "x",
    "single_connection_client": "true",
    "socket_read_size": "1024",
    "timeout": "20",
    "unheard_of": "1",
}
REFUSED = {
    "ssl_cert_reqs=none": "REDIS_TLS_CA_FILE",
    "ssl_cert_reqs=optional": "REDIS_TLS_CA_FILE",
    "ssl_min_version=1": "ssl_min_version",
    "ssl_ca_data=x": "ssl_ca_data",
    "ssl_password=x": "ssl_password",
    "max_connections=0": "max_connections",
    "max_connections=many": "max_connections",
    "socket_timeout=0": "the redis_timeout of redis_url",
    "socket_timeout=nan": "redis_timeout",
    "ssl_ca_certs=/nowhere": "redis_tls_ca_file",
    "ssl_check_hostname=maybe": "redis_tls_check_hostname",
    "db=-1": "db",
    "db=x": "db",
    "db": "option=value",
}


@pytest.fixture
def made_with(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what a `RedisBackend` is made with, once that has happened; it reads no files."""
    options: dict[str, Any] = {}

    def make(**given: Any) -> RedisBackend:
        options.clear()
        options.update(given)
        return RedisBackend(**{**given, "tls": None})

    monkeypatch.setitem(vars(backends), "RedisBackend", make)
    return options


def make(url: str, **others: Any) -> None:
    """Make a manager with this URL, as an application does."""
    CacheFactory.create_cache_manager(CacheSettings(redis_url=url, **others))


@pytest.mark.parametrize("option", USED)
def test_an_option_that_has_a_meaning_here_is_used(
    option: str, made_with: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """As the setting of that meaning would be; nothing is logged."""
    make("rediss://redis:6380")
    without = dict(made_with)
    make(f"rediss://redis:6380?{option}")
    assert made_with == {**without, **USED[option]}
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("option", USED_OF_TLS)
def test_an_option_of_tls_is_used(option: str, made_with: dict[str, Any]) -> None:
    """With rediss:// as with REDIS_TLS=true."""
    make(f"rediss://redis?{option}")
    assert made_with["tls"] == USED_OF_TLS[option]
    make(f"redis://redis?{option}", redis_tls=True)
    assert made_with["tls"] == USED_OF_TLS[option]


@pytest.mark.parametrize("url", ["redis://app:pw@redis/2", "rediss://app:pw@redis/2"])
@pytest.mark.parametrize("tls", [True, False])
def test_tls_may_be_wanted_by_url_or_setting(
    url: str, tls: bool, made_with: dict[str, Any]
) -> None:
    """And by both."""
    make(url, redis_tls=tls, redis_tls_ca_file=PEM if tls else None)
    expected = Tls(ca_file=PEM) if tls else Tls() if "rediss" in url else None
    assert made_with.get("tls") == expected
    assert (made_with["host"], made_with["db"]) == ("redis", 2)
    assert (made_with["username"], made_with["password"]) == ("app", SecretStr("pw"))


def test_options_of_no_use_are_told_in_one_line(
    made_with: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """By their names only."""
    options = "&".join(f"{name}={value}" for name, value in OF_NO_USE.items())
    make(f"redis://redis?{options}&db=1")
    assert made_with["db"] == 1
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert all(name in record.getMessage() for name in OF_NO_USE)


@pytest.mark.parametrize("option", REFUSED)
@pytest.mark.usefixtures("made_with")
def test_an_option_that_is_refused_is_named(option: str) -> None:
    """With what to do."""
    with pytest.raises(CacheConfigError, match=REFUSED[option]):
        make(f"rediss://redis?{option}")


@pytest.mark.usefixtures("made_with")
def test_no_option_of_redis_py_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    """Each that its constructors take is used, or told or refused by its name."""
    names: set[str] = set()
    for cls in (Redis, *SSLConnection.__mro__[:-1]):
        names |= inspect.signature(vars(cls)["__init__"]).parameters.keys()
    for name in names - {"self", "args", "kwargs", "host", "port", "connection_pool"}:
        told = ""
        try:
            make(f"rediss://redis?ssl_certfile={PEM}&{name}=1")
        except CacheConfigError as error:
            told = str(error)
        is_used = _SETTINGS.get(name, "") in told if told else name in _SETTINGS
        assert is_used or name in told + caplog.text, name


@pytest.mark.parametrize(
    ("password", "escape"),
    [
        ("p#ss", "%23"),
        ("p/ss", "%2F"),
        ("p?ss", "%3F"),
        ("p@ss", "%40"),
        ("p ss", "%20"),
        ("p[ss", "%5B"),
        ("#", "%23"),
        ("a#b@c", "%23"),
        ("6379/x", "%2F"),
        ("?x=1&y", "%3F"),
    ],
)
@pytest.mark.parametrize("start", ["redis://:{}@redis", "rediss://app:{}@redis:6379/1?db=2"])
def test_what_has_to_be_escaped_in_a_password_is_named(
    password: str, escape: str, start: str
) -> None:
    """With its escape, which makes it right."""
    with pytest.raises(CacheConfigError, match=escape) as caught:
        CacheSettings(redis_url=start.format(password))
    assert "ss" not in str(caught.value).replace("password", "").replace("rediss", "")


@pytest.mark.parametrize("password", ["p#ss", "p/ss", "p?ss", "p@ss", "p ss", "%", "a:b", "ä"])
def test_a_password_that_is_escaped_arrives(password: str, made_with: dict[str, Any]) -> None:
    """As it was before."""
    make(f"redis://:{quote(password, safe='')}@redis")
    assert made_with["password"] == SecretStr(password)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://redis", {"host": "redis", "port": 6379, "db": 0}),
        (" redis://redis:1/5/\n", {"host": "redis", "port": 1, "db": 5}),
        ("REDIS://redis", {"host": "redis"}),
        ("redis://[::1]:7", {"host": "::1", "port": 7}),
        ("redis://[::1]", {"host": "::1", "port": 6379}),
        ("unix:///run/redis.sock?db=2", {"unix_socket": "/run/redis.sock", "db": 2}),
        ("unix://app:pw@/r%40", {"unix_socket": "/r@", "username": "app", "db": 0}),
    ],
)
def test_a_url_says_where(url: str, expected: dict[str, Any], made_with: dict[str, Any]) -> None:
    """In each of its forms."""
    make(url)
    assert {name: made_with[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://redis", "redis://"),
        ("redis:6379", "redis://"),
        ("unix://x", "path"),
        ("redis://redis?x", "option=value"),
    ],
)
def test_what_is_no_url_of_redis_is_told(url: str, told: str) -> None:
    """With what is wrong about it, and what is allowed."""
    with pytest.raises(CacheConfigError, match=told) as caught:
        CacheSettings(redis_url=url)
    assert "it must be redis://[user" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://", "the redis_host of redis_url .* host name"),
        ("redis://:6379", "the redis_host of redis_url .* host name"),
        ("redis://redis:0", "the redis_host of redis_url .* 1 to 65535"),
        ("redis://redis:65536", "the redis_host of redis_url .* 1 to 65535"),
        ("redis://redis:6379x", "the redis_host of redis_url .* 1 to 65535"),
        ("redis://redis/x", "the redis_db of redis_url .* number of a database"),
        ("redis://redis/1/2", "the redis_db of redis_url .* number of a database"),
        ("redis://redis/-1", "the redis_db of redis_url .* number of a database"),
    ],
)
def test_a_part_of_a_url_that_is_wrong_is_named(url: str, told: str) -> None:
    """As the setting that it is, with what is allowed."""
    with pytest.raises(CacheConfigError, match=told):
        CacheSettings(redis_url=url)


def test_a_url_of_several_servers_is_that_of_a_cluster(made_with: dict[str, Any]) -> None:
    """Where there is none, that is told."""
    with pytest.raises(CacheConfigError, match="several servers: set REDIS_CLUSTER"):
        make("redis://a:1,b:2")
    make("redis://a:1,b:2", redis_cluster=True)
    assert (made_with["cluster"], made_with["host"]) == (True, "a:1,b:2")


def test_a_unix_socket_has_no_tls() -> None:
    """Who wants it is told."""
    with pytest.raises(CacheConfigError, match="Unix socket"):
        make("unix:///run/redis.sock", redis_tls=True)


def test_settings_hold_the_url_as_a_secret() -> None:
    """Whoever prints them shows no password."""
    settings = CacheSettings(redis_url="redis://:hush@redis")
    assert settings.redis_url == SecretStr("redis://:hush@redis")
