"""No password is shown, whatever becomes of a connection (promise P8)."""

import logging
import traceback
from typing import Final

import pytest
from pydantic import SecretStr

from ...backends.wire.connections import Connector, Tls
from ...errors import UnavailableError
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..package import NAME

SECRET: Final = "hush-hush"


def told_by(error: BaseException) -> str:
    """Return a traceback as some tools show it: with the variables of each frame."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(shown.format()) + repr(error)


@pytest.mark.parametrize("kind", [str, SecretStr])
async def test_p8_a_password_that_is_wrong_is_not_shown(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, kind: type
) -> None:
    """Neither in a traceback, nor in the log, nor in what the backend says of itself."""
    caplog.set_level(logging.DEBUG, NAME)
    backend = redis_backend(redis_server, username="nobody", password=kind(SECRET))
    with pytest.raises(UnavailableError) as raised:
        await backend.get_bytes("key")
    await backend.close()
    assert "AuthenticationError" in caplog.text or "WRONGPASS" in caplog.text
    assert SECRET not in caplog.text + told_by(raised.value) + repr(backend) + repr(vars(backend))


def test_p8_a_file_of_no_use_shows_no_password() -> None:
    """It is read when the backend is made, which has the password then."""
    password = SecretStr(SECRET)
    with pytest.raises(OSError, match="No such file") as raised:
        Connector("app", password, tls=Tls(ca_file="/nowhere"), timeout=1.0)
    assert SECRET not in told_by(raised.value)


def test_p8_a_connector_shows_no_password() -> None:
    """Not even to those who look what is in it."""
    connector = Connector("app", SECRET, timeout=1.0)
    assert SECRET not in repr(connector) + repr(vars(connector))
