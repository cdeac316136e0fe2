"""No command ever prints a password, whatever goes wrong."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ...ops.cli.session import masked
from .command_line import CommandLine
from .test_cli import every_command, in_both_forms, ran

CANARY = "canary#pass/word"
ESCAPED = quote(CANARY, safe="")


@pytest.fixture
def user(command: CommandLine, redis_client: Any) -> Iterator[CommandLine]:
    """Lend a command line whose user of Redis has the canary as its password."""
    rules = f"on >{CANARY} ~{command.prefix}:* +@all".split()
    redis_client.execute_command("ACL", "SETUSER", command.prefix, *rules)
    command.set(REDIS_USERNAME=command.prefix, REDIS_PASSWORD=CANARY)
    yield command
    command.set(REDIS_USERNAME="", REDIS_PASSWORD=command.server.password or "")
    redis_client.execute_command("ACL", "DELUSER", command.prefix)


def by_variables(_: CommandLine) -> int | None:
    """It works."""
    return 0


def by_url(command: CommandLine) -> int | None:
    """It works, by a URL."""
    server = command.server
    url = f"redis://{command.prefix}:{ESCAPED}@{server.host}:{server.port}/{server.db}"
    command.set(REDIS_URL=url)
    return 0


def wrong_password(command: CommandLine) -> int | None:
    """The server refuses it."""
    command.set(REDIS_PASSWORD=f"{CANARY}2")
    return 2


def away(command: CommandLine) -> int | None:
    """There is no server."""
    command.set(REDIS_URL=f"redis://{command.prefix}:{ESCAPED}@127.0.0.1:1/0")
    return 3


def wrong_url(command: CommandLine) -> int | None:
    """Its password is not escaped."""
    command.set(REDIS_URL=f"redis://{command.prefix}:{CANARY}@localhost/0")
    return 2


def wrong_port(command: CommandLine) -> int | None:
    """The password is in the place of the port."""
    command.set(REDIS_URL=f"redis://localhost:{ESCAPED}/0")
    return 2


def name_only(command: CommandLine) -> int | None:
    """Somebody took the name for the password."""
    command.set(REDIS_URL=f"redis://{ESCAPED}@127.0.0.1:1/0", REDIS_PASSWORD="", REDIS_USERNAME="")
    return 3


def wrong_file(_: CommandLine) -> int | None:
    """The file with the settings is no text."""
    Path(".env").write_bytes(f"REDIS_PASSWORD={CANARY}\xff\n".encode("latin-1"))
    return 2


def in_a_number(command: CommandLine) -> int | None:
    """It was put into another variable."""
    command.set(REDIS_PORT=CANARY)
    return 2


SITUATIONS = [
    *(by_variables, by_url, wrong_password, away, wrong_url, wrong_port),
    *(name_only, wrong_file, in_a_number),
]


@every_command
@in_both_forms
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.__name__)
def test_no_password_is_printed(
    user: CommandLine, name: str, form: tuple[str, ...], situation: Any
) -> None:
    """By any command, in any situation."""
    code = situation(user)
    found = ran(user, name, *form)
    for secret in (CANARY, ESCAPED, "pass/word", "canary"):
        assert secret not in found.all
    if name not in ("config", "version", "keys", "show", "explain"):
        assert found.code == code


@pytest.mark.parametrize(
    "raised",
    [
        "raise RuntimeError(os.environ['REDIS_PASSWORD'])",
        "raise RuntimeError('postgresql://ada:canary@db.example/shop')",
        "sys.exit(f'no connection with {os.environ[\"REDIS_PASSWORD\"]}')",
        "raise KeyError(os.environ['API_TOKEN'])",
    ],
)
def test_an_application_that_raises_one_is_no_leak(
    user: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: str
) -> None:
    """Its import fails, and the message of that holds a password."""
    (tmp_path / "leaking.py").write_text(f"import os, sys\n{raised}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    user.set(API_TOKEN="canary-token")
    found = user("keys", "--app", "leaking:app")
    sys.modules.pop("leaking", None)
    assert (found.code, "canary" in found.all) == (2, False)
    assert "***" in found.err


def test_an_unforeseen_error_shows_neither_locals_nor_passwords(
    user: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one line, with the place in the code."""
    from ...ops.cli import looking  # noqa: PLC0415 - as the command reads it

    async def failing(*_: Any, **__: Any) -> Any:
        secret = os.environ["REDIS_PASSWORD"]
        raise LookupError(f"a mistake with {secret}")

    monkeypatch.setattr(looking, "entry_at", failing)
    found = user("show", "it")
    assert (found.code, found.out) == (1, "")
    assert f"error: LookupError in {__name__}, line" in found.err
    assert found.err.endswith("a mistake with ***\n")


def test_what_is_masked() -> None:
    """Secret settings, variables named so, and what stands before the @ of a URL."""
    environment = {"DB_PASSWORD": "hidden", "HOME": "shown", "my_secret": "whisper", "A_KEY": "abc"}
    text = "hidden shown whisper abc a://b:c@d setting"
    assert masked(text, environment, ["setting"]) == "*** shown *** abc a://***@d ***"
