"""Connections to one server: how they are opened and dropped.

redis-py's `Connection` connects, speaks TLS, authenticates, selects the database and reads replies.
A cache needs one thing more: when a connection is dropped, nothing that it has not sent yet may
reach the server later.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    RedisSSLContext,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.credentials import UsernamePasswordCredentialProvider

from ...floors import insist_on_redis_py

_AT_ONCE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Tls:
    """How connections are secured; the paths are those of PEM files.

    Without `ca_file`, the certificate authorities of the system are trusted. `cert_file` and
    `key_file` are the client's certificate, for servers that ask for one.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    check_hostname: bool = True

    def context(self) -> RedisSSLContext:
        """Read the files; raises `OSError` or `ssl.SSLError` for a file that cannot be used."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.check_hostname = self.check_hostname
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file, _refuse_encrypted)
        ready = RedisSSLContext()
        ready.context = context
        return ready


def _refuse_encrypted() -> str:
    """Refuse a key file with a password; without this, OpenSSL would ask for it on the terminal."""
    raise OSError("the key file is encrypted: it has to be one without a password")


class _Dropping(AbstractConnection):
    """A connection that discards its unsent bytes when it is closed before a reply has come.

    Otherwise the system would go on sending for minutes, and an old value might arrive after a
    newer one. See `SO_LINGER` in socket(7).
    """

    unanswered = False

    def drop(self) -> None:
        """Close the connection at once; never raises."""
        writer = self._writer
        if writer is None:
            return
        if self.unanswered:
            plain = writer.transport.get_extra_info("socket")
            with contextlib.suppress(Exception):
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            writer.transport.abort()
        with contextlib.suppress(Exception):
            self._close()  # type: ignore[no-untyped-call]
            self._parser.on_disconnect()  # type: ignore[no-untyped-call]

    def abandon(self) -> None:
        """Close the socket after the event loop of the connection was closed; never raises."""
        writer = self._writer
        self._reader = self._writer = None
        if writer is not None:
            _abandon(writer.transport)

    async def disconnect(self, *_: Any, **__: Any) -> None:
        self.drop()

    def take_over(self, protocol: asyncio.BaseProtocol) -> asyncio.WriteTransport:
        """Hand all that arrives from now on to `protocol`; `ConnectionError` if it is closed."""
        if self._writer is None:
            raise ConnectionError("the connection was closed at once")
        transport = self._writer.transport
        transport.set_protocol(protocol)
        return transport


def _abandon(transport: Any) -> None:
    """Close the socket of a transport whose event loop is closed.

    A transport of asyncio needs its loop to close the socket, and warns if it is collected before
    that. Sockets of other kinds of transport are left alone.
    """
    with contextlib.suppress(Exception):
        transport.abort()  # this marks it as closing, and fails when it calls the closed loop
    with contextlib.suppress(Exception):
        secured = getattr(transport, "_ssl_protocol", None)
        plain = transport if secured is None else secured._transport
        with contextlib.suppress(Exception):
            plain.abort()
        if plain._sock is not None:
            plain._sock.close()
            plain._sock = None


class _Tcp(_Dropping, Connection):
    pass


class _Secure(_Dropping, SSLConnection):
    pass


class _Unix(_Dropping, UnixDomainSocketConnection):
    pass


AnyConnection = _Tcp | _Secure | _Unix


class Connector:
    """Opens connections that are ready for commands: secured, authenticated, on their database.

    Connecting takes `timeout` seconds at most.
    """

    def __init__(
        self,
        username: str | None = None,
        password: SecretStr | str | None = None,
        *,
        db: int = 0,
        tls: Tls | None = None,
        timeout: float,
    ) -> None:
        insist_on_redis_py()
        self._options: dict[str, Any] = {
            "db": db,
            "socket_connect_timeout": timeout,
            "socket_timeout": None,  # each exchange has its own
            "driver_info": None,  # two commands less
        }
        if password is not None:
            # Not in a variable, which a traceback may show; the provider's repr shows nothing.
            self._options["credential_provider"] = UsernamePasswordCredentialProvider(
                username,
                password.get_secret_value() if isinstance(password, SecretStr) else password,
            )
        self._tls = None if tls is None else tls.context()

    async def connect(self, host: str, port: int) -> AnyConnection:
        """Open a connection to `host`."""
        if self._tls is None:
            return await _opened(_Tcp(host=host, port=port, **self._options))
        secure = _Secure(host=host, port=port, **self._options)
        secure.ssl_context = self._tls  # read once, not for each connection
        return await _opened(secure)

    async def connect_unix(self, path: str) -> AnyConnection:
        """Open a connection to the Unix socket at `path`."""
        return await _opened(_Unix(path=path, **self._options))


async def _opened(connection: AnyConnection) -> AnyConnection:
    connection.unanswered = True
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
    except BaseException:
        connection.drop()
        raise
    connection.unanswered = False
    return connection
