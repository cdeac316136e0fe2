"""Which prefix of keys the commands use (promise P7): that of the settings, or of the application."""

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ...ops.cli import application
from ..internals import without_shared_manager
from ..package import FOLDER, program
from .command_line import CommandLine
from .test_cli import COMMANDS, entries, every_command, in_both_forms, ran

SERVICE = """
from fastapi import FastAPI

from {package} import CacheManager, MemoryBackend, cache_response

app = FastAPI()
for prefix in PREFIXES:

    @app.get(f"/{prefix}")
    @cache_response(CacheManager(MemoryBackend(), key_prefix=prefix), "it")
    async def read() -> int:
        return 1
"""
NAME = "service_that_tells_a_prefix"
Serve = Callable[..., None]


@pytest.fixture
def serve(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Lend what writes an application to where the commands look, with caches of these prefixes."""
    monkeypatch.syspath_prepend(command.folder)
    monkeypatch.setattr(application, "default_name", lambda: f"{NAME}:app")
    without_shared_manager(monkeypatch)  # which an application may have made
    command.unset("CACHE_KEY_PREFIX")

    def write(*prefixes: str, text: str = program(SERVICE)) -> None:
        code = text.replace("PREFIXES", repr(prefixes))
        (command.folder / f"{NAME}.py").write_text(code, encoding="utf-8")

    yield write
    sys.modules.pop(NAME, None)


@pytest.fixture
def limited(command: CommandLine, redis_client: Any) -> Iterator[None]:
    """Let Redis know a user with the permissions of the page on Redis, below the prefix only."""
    page = (FOLDER / "docs" / "redis.md").read_text()
    allowed = re.findall(r"^ACL SETUSER app on (.*)$", page, re.MULTILINE)[0]
    rules = allowed.replace(">password", ">word").replace("~app:", f"~{command.prefix}:")
    redis_client.execute_command("ACL", "SETUSER", command.prefix, "on", *rules.split())
    command.set(REDIS_USERNAME=command.prefix, REDIS_PASSWORD="word")
    yield
    command.set(REDIS_USERNAME="", REDIS_PASSWORD=command.server.password or "")
    redis_client.execute_command("ACL", "DELUSER", command.prefix)


@every_command
@pytest.mark.usefixtures("limited")
def test_p7_a_user_of_redis_with_few_permissions_is_enough(command: CommandLine, name: str) -> None:
    """Those that the cache needs, by its page on Redis."""
    command.fill(entries)
    assert ran(command, name).code == 0


@every_command
@in_both_forms
@pytest.mark.usefixtures("limited")
def test_p7_each_command_uses_the_prefix_of_the_application(
    command: CommandLine, serve: Serve, name: str, form: tuple[str, ...]
) -> None:
    """If no setting says one. The user of Redis may use no other."""
    serve(command.prefix)
    command.fill(entries)
    found = ran(command, name, *form)
    assert (found.code, "CACHE_KEY_PREFIX" in found.err) == (0, False)
    if name in ("ping", "stats"):
        assert command.prefix in found.out


@every_command
@pytest.mark.parametrize(
    "how",
    [
        lambda _: None,
        lambda serve: serve(text="import nothing.at.all"),
        lambda serve: serve(text="raise SystemExit('REDIS_PASSWORD=a-long-word')"),
        lambda serve: serve("one", "two"),
    ],
    ids=["none", "import", "exit", "two"],
)
def test_p7_nobody_says_the_prefix(
    command: CommandLine, serve: Serve, name: str, how: Callable[[Serve], None]
) -> None:
    """Then `ping` and `config` go on with the default and say why; who would use keys does not."""
    command.set(SOME_PASSWORD="a-long-word")
    how(serve)
    found = ran(command, name)
    if name == "version":
        assert (found.code, found.err) == (0, "")
        return
    goes_on = name in ("ping", "config")
    assert (found.code, found.out == "") == ((0, False) if goes_on else (2, True))
    assert found.err.count("set CACHE_KEY_PREFIX to the prefix of the keys of the service") == 1
    assert found.err.startswith("error: ") is not goes_on
    assert "a-long-word" not in found.all


def test_bench_in_memory_asks_no_application(command: CommandLine, serve: Serve) -> None:
    """The cache is its own."""
    serve(text="import nothing.at.all")
    command.set(CACHE_BACKEND="memory")
    assert (command("bench", *COMMANDS["bench"]).code, sys.modules.get(NAME)) == (0, None)


def test_config_tells_where_the_prefix_is_from(command: CommandLine, serve: Serve) -> None:
    """The environment comes before the application, and the application before the default."""

    def told() -> list[Any]:
        settings = {each["name"]: each for each in command("config", "--json").json["settings"]}
        return [settings["CACHE_KEY_PREFIX"][what] for what in ("value", "source", "variable")]

    assert told() == ["app", "default", None]
    serve(command.prefix)
    assert told() == [command.prefix, "application", f"{NAME}:app"]
    assert re.search(
        rf"^CACHE_KEY_PREFIX +{command.prefix} +application, {NAME}:app$",
        command("config").out,
        re.MULTILINE,
    )
    command.set(CACHE_KEY_PREFIX="mine")
    assert told() == ["mine", "environment", "CACHE_KEY_PREFIX"]


def test_config_tells_all_before_settings_that_contradict_each_other(
    command: CommandLine, serve: Serve
) -> None:
    """Also if they keep the application from making its cache."""
    serve(text=program("from fastapi import FastAPI\nfrom {package} import *\napp = FastAPI()"))
    command.set(REDIS_HOST="a:1", REDIS_PORT="2")
    found = command("config")
    assert (found.code, "CACHE_KEY_PREFIX          app" in found.out) == (2, True)
    assert "name two ports" in found.err
