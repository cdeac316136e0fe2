"""Servers for the tests: they do what they are told, refuse whom they should, and end."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import ConnectionError as NoConnectionError

from tests.baked import eventually
from tests.certificates import Certificates, make_certificates
from tests.servers import SERVERS, Login, Server, each_server, executables, one_server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make certificates once."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@each_server
def test_a_server_is_what_its_name_says(executable: str, report: Callable[[str], None]) -> None:
    """The name that is reported for a test's server is what the server says of itself."""
    with one_server(executable=executable) as server:
        said = server.ask("INFO", "server")
    name = said.get("server_name", "redis"), said.get("valkey_version", said["redis_version"])
    assert SERVERS["-".join(name)] == executable
    report(f"A server for the tests: {'-'.join(name)}")


@each_server
def test_it_is_paused_resumed_killed_and_started_again(executable: str) -> None:
    """A pause keeps the data, an end does not, and the port stays the same."""
    with one_server(executable=executable) as server:
        server.ask("SET", "key", "value")
        server.pause()
        assert not server.answers()
        server.resume()
        assert server.ask("GET", "key") == "value"
        server.pause()
        server.kill()
        with pytest.raises(NoConnectionError, match="refused"):
            server.ask("PING")
        server.start()
        assert server.ask("GET", "key") is None


@each_server
def test_a_replica_starts_empty_too(executable: str) -> None:
    """What a server got from a master is gone with it, as what it was told itself."""
    with one_server(executable=executable) as master, one_server(executable=executable) as replica:
        master.ask("SET", "key", "value")
        replica.ask("REPLICAOF", *master.address)
        eventually(lambda: replica.ask("GET", "key") == "value", "the replica to have the key")
        replica.kill()
        replica.start()
        assert replica.ask("DBSIZE") == 0


def test_it_ends_with_its_context_whatever_happens() -> None:
    """After a test that fails, with its server paused, neither server nor folder is left."""

    def fail() -> None:
        with one_server() as server:
            found.append(server)
            server.pause()
            raise ZeroDivisionError

    found: list[Server] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(NoConnectionError, match="refused"):
        found[0].ask("PING")
    assert not found[0].socket.parent.exists()


def test_it_tells_why_it_does_not_start() -> None:
    """A server with a wrong setting fails the test with its own words."""
    with pytest.raises(AssertionError, match="Bad directive"), one_server("nonsense 1"):
        pass


def test_it_listens_on_a_unix_socket() -> None:
    """The socket leads to the same data as the port."""
    with one_server() as server, Redis(unix_socket_path=str(server.socket)) as client:
        client.set("key", "value")
        assert server.ask("GET", "key") == "value"


@each_server
@pytest.mark.parametrize(
    "login", [Login("secret"), Login("secret", "cache")], ids=["password", "user"]
)
def test_it_lets_in_who_logs_in(executable: str, login: Login) -> None:
    """With a login, nobody else is let in."""
    with one_server(executable=executable, login=login) as server:
        server.ask("SET", "key", "value")
        for wrong in ({"username": None, "password": None}, {"password": "wrong"}):
            with server.client(**wrong) as client, pytest.raises(AuthenticationError):
                client.get("key")


def test_it_has_the_users_of_its_lines() -> None:
    """Lines of the configuration make a user who may do less than the harness."""
    with one_server("user cache on >secret ~app:* -@all +get +set") as server:
        with server.client(username="cache", password="secret") as client:
            client.set("app:key", "value")
            with pytest.raises(NoPermissionError):
                client.set("other:key", "value")
            with pytest.raises(NoPermissionError):
                client.delete("app:key")
        assert server.ask("GET", "app:key") == "value"


@each_server
def test_tls_is_for_those_with_certificates(executable: str, certificates: Certificates) -> None:
    """A TLS server refuses who has no certificate or another CA's, and is refused likewise."""
    stranger = certificates.stranger
    with one_server(executable=executable, certificates=certificates) as server:
        for host in ("127.0.0.1", "localhost"):
            with server.client(host=host, ssl_check_hostname=True) as client:
                assert client.ping()
        wrongs: tuple[dict[str, object], ...] = (
            {"ssl": False},
            {"ssl_certfile": None, "ssl_keyfile": None},
            {"ssl_certfile": str(stranger.certificate), "ssl_keyfile": str(stranger.key)},
            {"ssl_ca_certs": str(certificates.other_authority)},
        )
        for wrong in wrongs:
            with server.client(**wrong) as client, pytest.raises(NoConnectionError):
                client.ping()


def test_a_certificate_of_another_host_is_known_by_its_name(certificates: Certificates) -> None:
    """A server with another host's certificate is refused by who checks names, and no other."""
    elsewhere = replace(certificates, server=certificates.elsewhere)
    with one_server(certificates=elsewhere) as server:
        assert server.ask("PING")
        with (
            server.client(ssl_check_hostname=True) as client,
            pytest.raises(NoConnectionError, match=r"not valid for '127\.0\.0\.1'"),
        ):
            client.ping()


def test_what_is_insisted_on_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of TEST_REDIS_INSIST that no server has is an error, which tells what there is."""
    monkeypatch.setenv("TEST_REDIS_INSIST", next(iter(SERVERS)))
    assert executables() == SERVERS
    monkeypatch.setenv("TEST_REDIS_INSIST", "redis-6")
    with pytest.raises(LookupError, match=r"redis-6 of TEST_REDIS_INSIST .* there is \['\w+-"):
        executables()


def test_servers_are_given_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TEST_REDIS_SERVERS names executables; without any, the error says what to do."""
    any_server = next(iter(SERVERS.values()))
    monkeypatch.delenv("TEST_REDIS_INSIST", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TEST_REDIS_SERVERS", f"{any_server}:{any_server}")
    assert [*executables().values()] == [any_server]
    monkeypatch.delenv("TEST_REDIS_SERVERS")
    with pytest.raises(LookupError, match="install redis-server or set TEST_REDIS_SERVERS"):
        executables()
