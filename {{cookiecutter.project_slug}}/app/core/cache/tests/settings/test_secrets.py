"""No message repeats a value that may hold a password (promise P8)."""

import itertools
import logging
import traceback
from pathlib import Path
from typing import Any

import pytest

from ... import CacheConfigError, CacheFactory, CacheSettings
from ...errors import shown
from ..package import NAME

SECRET = "hush"
VARIABLES = [name.upper() for name in CacheSettings.model_fields]

SHAPES = [
    "redis://:hush@redis:6379/0",
    "redis://app:hush@redis:6379/0",
    "rediss://app:hu#hush@redis",
    "redis://app:hu/hush@redis",
    "redis://app:hu?hush@redis",
    "redis://app:hu@hush@redis",
    "redis://app:[hush@redis",
    "redis://app:hush",
    "redis://app:hu hush@redis",
    "redis://app:%FFhush@redis",
    "redis://app:\u2100hush@redis",  # which no host may have
    "redis://redis/hush",
    "redis://redis?password=hush&x=1",
    "redis://redis?hush",
    "redis://redis?socket_timeout=hush",
    "postgresql://app:hush@db/x",
    "app:hush@redis:6379",
    ":hush@redis",
    "app:hush",
    "redis:6379,password=hush,ssl=True",
    "--pass hush",
    "-----BEGIN PRIVATE KEY-----hush-----END PRIVATE KEY-----",
    "redis\nhush",
]


def all_that_is_told(caplog: pytest.LogCaptureFixture) -> str:
    """Make a manager, and return all that anybody is told of it, the whole traceback included."""
    try:
        told = repr(CacheFactory.get_cache_manager())
    except CacheConfigError as error:
        told = of_error(error)
    return told + caplog.text


def of_error(error: BaseException) -> str:
    """Return all that an error says, and that there is no other one behind it."""
    behind = f"{error.__context__!r}{error.__cause__!r}".replace("None", "")
    return "".join(traceback.format_exception(error)) + repr(error) + (behind and SECRET)


# The prefix stands before every key, and in the log: it is no place for a password.
@pytest.mark.parametrize("source", ["environment", "file"])
@pytest.mark.parametrize("variable", [each for each in VARIABLES if each != "CACHE_KEY_PREFIX"])
def test_p8_no_setting_shows_a_password_that_stands_in_it(
    variable: str, source: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever it is, and in whatever form, in messages, tracebacks, the log and `repr`."""
    caplog.set_level(logging.DEBUG, NAME)
    for shape in SHAPES:
        monkeypatch.setattr(CacheFactory, "_manager", None)
        values = {"CACHE_BACKEND": "redis", variable: shape}
        if variable == "REDIS_SENTINELS":
            values["REDIS_SENTINEL_MASTER"] = "main"
        if source == "environment":
            for name, value in values.items():
                monkeypatch.setenv(name, value)
        else:
            lines = [f"{name}='{value}'" for name, value in values.items()]
            Path(".env").write_text("\n".join(lines))
        assert SECRET not in all_that_is_told(caplog), shape


@pytest.mark.parametrize("field", ["redis_url", "redis_password", "redis_host", "redis_sentinels"])
def test_p8_settings_made_by_hand_show_none(field: str) -> None:
    """Nor do they in their own `repr` and text, if they are right."""
    for shape in SHAPES:
        try:
            settings = CacheSettings(cache_backend="redis", **{field: shape})
            told = repr(settings) + str(settings) + str(settings.model_dump())
        except CacheConfigError as error:
            told = of_error(error)
        assert SECRET not in told, shape


def test_p8_contradictions_show_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Settings that are right one by one, and of no use together: every pair of some."""
    pieces = {
        "REDIS_URL": "redis://app:hush@redis:6379/3?ssl_ca_certs=/nowhere&client_name=x",
        "REDIS_PASSWORD": SECRET,
        "REDIS_TLS": "true",
        "REDIS_TLS_CA_FILE": __file__,
        "REDIS_TLS_KEY_FILE": __file__,
        "REDIS_SENTINELS": "one,two",
        "REDIS_SENTINEL_PASSWORD": SECRET,
        "REDIS_CLUSTER": "true",
        "REDIS_SSL": "true",
        "REDIS_USER": SECRET,
        "REDIS_PASS": SECRET,
        "REDIS_PORT": "tcp://10.96.0.1:6379",
        "REDIS_HOST": "one,two",
    }
    monkeypatch.setenv("CACHE_BACKEND", "redis")
    for pair in itertools.combinations(pieces, 2):
        with monkeypatch.context() as patch:
            patch.setattr(CacheFactory, "_manager", None)
            for name in pair:
                patch.setenv(name, pieces[name])
            assert SECRET not in all_that_is_told(caplog), pair


def test_p8_a_file_that_is_no_text_shows_nothing_of_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may be of another encoding, with a password in it."""
    Path(".env").write_bytes(b"REDIS_PASSWORD=\xffhush\n")
    told = all_that_is_told(caplog)
    assert ".env cannot be read" in told
    assert SECRET not in told


def test_what_holds_no_password_is_shown() -> None:
    """Otherwise nobody would find a typo."""
    for value in ["0", "-1", "1.5", "redis", "two words", "redis:6379", "a:1,b:2", "/run/ca.pem"]:
        assert shown(value) == repr(value)
    assert shown("tcp://10.96.0.1:6379") == "'tcp://10.96.0.1:6379'"


@pytest.mark.parametrize("given", [{"redis_password": SECRET}, SECRET], ids=["dict", "text"])
def test_p8_what_are_no_settings_is_told_without_what_is_in_it(given: Any) -> None:
    """A dictionary of settings may hold a password."""
    with pytest.raises(TypeError, match=r"^settings is a \w+; give CacheSettings") as caught:
        CacheFactory.create_cache_manager(given)
    assert SECRET not in str(caught.value)
