"""The finder of a Redis takes what it is told, controls what it started, refuses in words."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis_server as finder
from redis import Redis
from redis.exceptions import RedisError
from redis_server import NoRedisError, RedisServer

from tests.baked import eventually

HAS_EXECUTABLE = bool(shutil.which("redis-server") or shutil.which("valkey-server"))
NO_ENGINE = "unix:///nowhere/docker.sock"


@pytest.fixture(params=["the one of this run", *(["process"] if HAS_EXECUTABLE else [])])
def server(
    request: pytest.FixtureRequest, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RedisServer]:
    """Lend the Redis of this run, and one that is a process where this machine has the program."""
    if request.param == "process":
        monkeypatch.setenv("TEST_REDIS", "process")
        with finder.redis_server() as process:
            yield process
    else:
        yield redis_server


def ping(server: RedisServer) -> bool:
    """Tell whether the server answers within a second."""
    with Redis.from_url(server.url, socket_timeout=1, retry=None) as client:
        try:
            return bool(client.ping())
        except RedisError:
            return False


def test_it_comes_back_empty_on_the_same_port(server: RedisServer) -> None:
    """A server that was stopped answers nobody, and one that was started again is empty."""
    with Redis.from_url(server.url) as client:
        client.set("finder:key", "value")
    server.stop()
    assert not ping(server)
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.get("finder:key") is None


def test_a_pause_keeps_the_data(server: RedisServer) -> None:
    """A paused server answers nothing, and knows everything when it is resumed."""
    with Redis.from_url(server.url) as client:
        client.set("finder:key", "value")
    server.pause()
    assert not ping(server)
    server.resume()
    with Redis.from_url(server.url) as client:
        assert client.getdel("finder:key") == b"value"


def test_it_can_be_stopped_while_it_is_paused(server: RedisServer) -> None:
    """A test that fails between pause and resume leaves a server that can be started again."""
    server.pause()
    server.stop()
    server.start()
    assert ping(server)


def test_it_ends_with_its_context() -> None:
    """What was started is gone after the context, even if it was paused."""
    with finder.redis_server() as server:
        assert ping(server)
        server.pause()
    eventually(lambda: not ping(server), "the server to be gone")


def test_a_url_is_taken_and_reported(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of TEST_REDIS_URL goes before all others, in one line, and is not ours to stop."""
    monkeypatch.delenv("TEST_REDIS", raising=False)
    monkeypatch.setenv("TEST_REDIS_URL", f"redis://{redis_server.host}:{redis_server.port}/3")
    lines: list[str] = []
    with finder.redis_server(lines.append) as server:
        assert (server.port, server.db, server.controllable) == (redis_server.port, 3, False)
        for control in (server.stop, server.start, server.pause, server.resume):
            with pytest.raises(RuntimeError, match="unset TEST_REDIS_URL"):
                control()
    where = f"{redis_server.host}:{redis_server.port}"
    assert lines == [f"Redis for the tests: the one of TEST_REDIS_URL, on {where}"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://127.0.0.1:1", "does not answer on 127.0.0.1:1"),
        ("rediss://127.0.0.1", "another form than redis://"),
        ("redis://user:secret@127.0.0.1", "another form than redis://"),
        ("redis://:secret@127.0.0.1:99999", "a wrong port or database"),
        ("redis://:secret@127.0.0.1/first", "a wrong port or database"),
    ],
)
def test_a_wrong_url_is_refused(url: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that leads nowhere is never passed over, and its password is not repeated."""
    monkeypatch.delenv("TEST_REDIS", raising=False)
    monkeypatch.setenv("TEST_REDIS_URL", url)
    with pytest.raises(NoRedisError, match=why) as refused, finder.redis_server():
        pass
    assert "secret" not in str(refused.value)


def test_a_password_stays_out_of_the_repr() -> None:
    """A server's repr, which a failing test prints, does not have its password."""
    server = RedisServer("127.0.0.1", 6379, password="p@ss/word")
    assert "p@ss" not in repr(server)
    assert server.url == "redis://:p%40ss%2Fword@127.0.0.1:6379/0"


def test_an_unknown_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt TEST_REDIS is an error that names what is allowed."""
    monkeypatch.setenv("TEST_REDIS", "docker")
    refusal = "'docker'; allowed are url, container, process"
    with pytest.raises(NoRedisError, match=refusal), finder.redis_server():
        pass


def test_a_container_can_be_insisted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With TEST_REDIS=container and no engine there is no Redis, whatever else there is."""
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)
    monkeypatch.setenv("TEST_REDIS", "container")
    with pytest.raises(NoRedisError, match="container: Docker cannot run"), finder.redis_server():
        pass


def test_without_any_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no engine and no program, the error tells both and the three ways out."""
    monkeypatch.delenv("TEST_REDIS", raising=False)
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    monkeypatch.setenv("DOCKER_HOST", NO_ENGINE)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoRedisError) as refused, finder.redis_server():
        pass
    for part in (
        "container: Docker cannot run",
        "process: neither redis-server nor valkey-server is on the PATH",
        "Start Docker, install redis-server, or set TEST_REDIS_URL",
    ):
        assert part in str(refused.value)
