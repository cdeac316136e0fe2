"""The commands (promise P10): what they tell people and scripts, and with which exit code."""

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from ... import CacheManager
from ...ops.cli.output import size_in_words, span_in_words
from ...ops.counters import publish
from ..faults import WITHIN
from .command_line import CommandLine, Ran

COMMANDS: dict[str, tuple[str, ...]] = {
    "ping": (),
    "stats": (),
    "keys": (),
    "show": ("user:1",),
    "explain": ("user:1",),
    "invalidate": ("user:*", "--yes"),
    "tag": ("team", "--yes"),
    "clear": ("--yes",),
    "watch": ("--every", "0.1", "--count", "1"),
    "bench": ("--number", "20", "--at-once", "3"),
    "config": (),
    "version": (),
}
"""All commands, each with arguments for an entry that is there."""
WITHOUT_A_SERVER = ("config", "version")
HOSTILE = "evil\x1b[2J\x07\u202e[red]\r\nb\x9b31m"

every_command = pytest.mark.parametrize("name", COMMANDS)
in_both_forms = pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])


async def entries(manager: CacheManager) -> None:
    """Store two values by hand, and one with a tag."""
    await manager.set("user:1", {"name": "Ada"})
    await manager.set("user:2", {"name": "Alan"}, expire=3600 * 24 * 30)
    await manager.get_or_set("team", lambda: ["Ada", "Alan"], tags=["team"])


def ran(command: CommandLine, name: str, *more: str) -> Ran:
    """Run a command with its arguments; whatever comes of it, no control character is printed."""
    found = command(name, *COMMANDS[name], *more)
    assert found.all.replace("\n", "").isprintable(), found.all
    assert "Traceback" not in found.all
    return found


# What all commands have in common.


def test_the_help_is_readable(command: CommandLine) -> None:
    """It has each command on a line that is not cut, at 80 columns, and the exit codes."""
    found = command("--help")
    assert found.code == 0
    assert max(map(len, found.out.splitlines())) <= 80
    assert re.findall(r"^  ([a-z]+)  ", found.out, re.MULTILINE) == [*COMMANDS]
    assert "..." not in found.out.partition("Commands:")[2]
    assert "Exit codes" in found.out


@every_command
@in_both_forms
def test_there_is_something(command: CommandLine, name: str, form: tuple[str, ...]) -> None:
    """Each command does its work; JSON is on stdout, and nothing else is."""
    command.fill(entries)
    found = ran(command, name, *form)
    assert (found.code, "error" in found.err) == (0, False)
    assert found.out
    if form:
        assert all(isinstance(line, dict) for line in found.lines)


@every_command
@in_both_forms
def test_there_is_nothing(command: CommandLine, name: str, form: tuple[str, ...]) -> None:
    """What looks for an entry says so by its exit code; an invalidation of nothing is done."""
    found = ran(command, name, *form)
    assert found.code == (1 if name in ("keys", "show", "explain") else 0)


@every_command
@in_both_forms
def test_p5_the_backend_is_away(command: CommandLine, name: str, form: tuple[str, ...]) -> None:
    """One line says so."""
    command.set(REDIS_PORT="1")
    found = ran(command, name, *form)
    if name in WITHOUT_A_SERVER:
        assert found.code == 0
        return
    assert (found.code, found.out) == (3, "")
    assert re.fullmatch(r"(.*\n)?error: the backend is away: .*\n", found.err)


@every_command
@in_both_forms
def test_a_setting_is_wrong(command: CommandLine, name: str, form: tuple[str, ...]) -> None:
    """It is named, with what is allowed."""
    command.set(CACHE_DEFAULT_TTL="soon")
    found = ran(command, name, *form)
    if name == "version":
        assert found.code == 0
        return
    assert (found.code, found.out) == (2, "")
    assert "CACHE_DEFAULT_TTL='soon' is not allowed; it must be whole seconds" in found.err


@every_command
@pytest.mark.parametrize("backend", ["memory", "none"])
def test_another_process_cannot_be_seen(command: CommandLine, name: str, backend: str) -> None:
    """With the memory backend, a command would only see an empty cache of its own."""
    command.set(CACHE_BACKEND=backend)
    found = ran(command, name)
    if name in WITHOUT_A_SERVER or (name, backend) == ("bench", "memory"):
        assert found.code == 0
        return
    assert found.code == 2
    assert f"CACHE_BACKEND={backend}" in found.err


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("nothing",),
        ("show",),
        ("show", ""),
        ("show", "\udcff"),
        ("keys", "--limit", "0"),
        ("keys", "--nothing"),
        ("watch", "--every", "0"),
        ("bench", "--number", "1000000"),
        ("show", "it", "--app", "nothing"),
        ("show", "it", "--app", "nothing.at.all:app"),
        ("show", "it", "--app", "json:nothing"),
        ("show", "it", "--app", "json:dumps"),
    ],
    ids=str,
)
def test_a_wrong_use_is_refused(command: CommandLine, args: tuple[str, ...]) -> None:
    """With exit code 2, and a word about it."""
    found = command(*args)
    assert (found.code, "Traceback" in found.all) == (2, False)
    assert found.all


@pytest.mark.parametrize("name", ["invalidate", "tag", "clear"])
@in_both_forms
def test_what_destroys_asks_first(command: CommandLine, name: str, form: tuple[str, ...]) -> None:
    """Where nobody can be asked it does nothing."""
    command.fill(entries)
    found = command(name, *[each for each in COMMANDS[name] if each != "--yes"], *form)
    assert (found.code, found.out) == (2, "")
    assert "say --yes" in found.err
    assert command("show", "user:1").code == command("explain", "team").code == 0


# What each one tells.


def test_ping_tells_where_it_is(command: CommandLine) -> None:
    """And how long an answer takes."""
    said = command("ping", "--json").json
    assert said["is_healthy"] is True
    assert said["key_prefix"] == command.prefix
    assert 0 < said["answers_in_ms"] < 1000
    assert re.search(r"answers in \d+\.\d+ ms\n$", command("ping").out)


def test_a_server_that_stores_nothing_is_not_healthy(
    command: CommandLine, redis_client: Any
) -> None:
    """Its user may only read."""
    redis_client.execute_command(
        *f"ACL SETUSER {command.prefix} on >word ~{command.prefix}:* -@all +get +ping".split()
    )
    command.set(REDIS_USERNAME=command.prefix, REDIS_PASSWORD="word")
    try:
        found = command("ping", "--json")
        assert (found.code, found.json["is_healthy"]) == (1, False)
        assert "set" in found.json["why_not"].lower()
        assert "but not all is well: " in command("ping").out
    finally:
        command.set(REDIS_USERNAME="", REDIS_PASSWORD=command.server.password or "")
        redis_client.execute_command("ACL", "DELUSER", command.prefix)


def test_keys_are_listed(command: CommandLine) -> None:
    """With type, age, time left, size and tags."""
    command.fill(entries)
    head, *lines = command("keys").out.splitlines()
    assert head.split() == ["TYPE", "AGE", "LEFT", "SIZE", "KEY,", "TAGS"]
    (user,) = [line for line in lines if line.endswith("user:2")]
    assert re.fullmatch(r"by hand +- +30 d +15 B  user:2", user)
    (team,) = [line for line in lines if "team" in line]
    assert re.fullmatch(r"value +0 s +5 min +\d+ B  team  \[team\]", team)
    assert len(lines) == 3

    listed = {each["key"]: each for each in command("keys", "--json").lines}
    assert listed["team"]["tags"] == ["team"]
    assert listed["team"]["is_current"] is True
    assert listed["team"]["written"] == pytest.approx(time.time(), abs=60)
    assert listed["user:2"]["expires_in"] > 3600 * 24 * 29
    assert len(command("keys", "user:*").out.splitlines()) == 1 + 2
    assert len(command("keys", "--json", "--limit", "2").lines) == 2


def test_an_entry_is_shown(command: CommandLine) -> None:
    """By whom, when, and what it holds."""
    command.fill(entries)
    found = command("show", "user:1")
    assert found.out.startswith("user:1\n")
    assert "      by  set\n" in found.out
    assert found.out.endswith('\n{\n  "name": "Ada"\n}\n')
    said = command("show", "team", "--json").json
    assert (said["function"], said["kind"], said["size"] > 100) == ("get_or_set", "value", True)
    assert said["content"] == '[\n  "Ada",\n  "Alan"\n]'


def test_p3_an_invalidation_shows(command: CommandLine) -> None:
    """The entry is listed as invalid, and `explain` says why it is not served."""
    command.fill(entries)
    assert command("explain", "team").code == 0
    assert command("tag", "team", "--yes", "--json").json == {"is_done": True, "removed": None}
    assert "value, invalid" in command("keys").out
    found = command("explain", "team", "--json")
    assert (found.code, found.json["is_served"]) == (1, False)
    assert "tags was invalidated" in found.json["why"]


def test_a_key_that_is_computed_is_explained(command: CommandLine) -> None:
    """A lease stands there."""
    found: list[Ran] = []

    async def compute(manager: CacheManager) -> None:
        async def look() -> int:
            found.append(await asyncio.to_thread(command.process, "explain", "slow"))
            return 1

        await manager.get_or_set("slow", look)

    command.fill(compute)
    assert (found[0].code, found[0].err) == (1, "")
    assert "somebody computes it now" in found[0].out


def test_what_may_be_meant_is_told(command: CommandLine) -> None:
    """A key with the prefix, which stands in front anyway."""
    found = command("show", f"{command.prefix}:user:1")
    assert (found.code, found.out) == (1, "")
    assert found.err.endswith("did you mean user:1?\n")
    assert "did you mean user:1?" in command("explain", f"{command.prefix}:user:1").out


def test_p7_only_what_is_meant_is_removed(command: CommandLine, redis_client: Redis) -> None:
    """By a pattern, and by `clear` all below the prefix."""
    command.fill(entries)
    other = f"other-{command.prefix}"
    redis_client.set(other, 1)
    try:
        assert command("invalidate", "user:*", "--yes", "--json").json["removed"] == 2
        assert [each["key"] for each in command("keys", "--json").lines] == ["team"]
        assert command("invalidate", "u[a-z]er:?", "--yes", "--json").json["removed"] == 0
        assert command("clear", "--yes").out.startswith("removed ")
        assert [*redis_client.scan_iter(f"{command.prefix}:*")] == []
        assert redis_client.get(other) == b"1"
    finally:
        redis_client.delete(other)


def test_stats_tell_what_is_held(command: CommandLine) -> None:
    """By key prefix, with the memory of the server."""
    command.fill(entries)
    said = command("stats", "--json").json
    assert said["entries"] == 3
    assert said["key_prefixes"]["user"] == {"entries": 2, "bytes": 14 + 15}
    assert said["bytes"] == sum(each["bytes"] for each in said["key_prefixes"].values())
    (server,) = said["servers"].values()
    assert server["used_memory"] > 100_000
    text = command("stats").out
    assert "3 entries" in text
    assert re.search(r"^ +2 +29 B  user$", text, re.MULTILINE)
    assert "no process publishes" in text


async def calls(manager: CacheManager, number: int = 3) -> None:
    """Miss once and hit then, and publish that as another process does."""
    from ...ops.counters import counters_of  # noqa: PLC0415 - it attaches a listener

    counters_of(manager)
    for _ in range(number + 1):
        await manager.get_or_set("it", lambda: 1)
    assert await publish(manager)


def test_stats_tell_what_processes_publish(command: CommandLine) -> None:
    """Hits and misses of all of them, by key prefix."""
    command.fill(calls)
    command.fill(calls)
    said = command("stats", "--json").json
    assert said["processes"] == 2
    (counted,) = said["calls"].values()
    assert (counted["calls"], counted["hits"], counted["misses"]) == (8, 7, 1)
    assert counted["hit_ratio"] == 7 / 8
    assert "calls in 2 processes" in command("stats").out
    assert "87.5%" in command("stats").out


@in_both_forms
def test_watch_tells_what_happens_meanwhile(command: CommandLine, form: tuple[str, ...]) -> None:
    """And not what was before."""
    command.fill(calls)
    deadline = time.monotonic() + WITHIN
    with command.start("watch", "--every", "0.2", "--count", "200", *form) as process:
        line = process.stderr.readline()
        assert command.prefix in line
        while time.monotonic() < deadline:
            command.fill(lambda manager: calls(manager, 4))
            said = process.stdout.readline()
            if '"calls": 5' in said or re.search(r"^ +5 +5 +0 +100\.0%", said):
                break
        process.terminate()
        assert time.monotonic() < deadline, said


def test_bench_leaves_nothing(command: CommandLine, redis_client: Redis) -> None:
    """And measures each kind of call."""
    lines = command("bench", "--number", "30", "--json").lines
    assert {each["calls"] for each in lines} == {30}
    assert "get, a hit" in [each["operation"] for each in lines]
    assert all(each["per_second"] > 0 and each["p99_ms"] >= each["median_ms"] for each in lines)
    assert [*redis_client.scan_iter(f"{command.prefix}:*")] == []


# What others may have put there.


@pytest.mark.parametrize("name", ["keys", "show", "explain", "stats", "invalidate", "tag"])
@in_both_forms
def test_p9_nothing_steers_a_terminal(
    command: CommandLine, name: str, form: tuple[str, ...]
) -> None:
    """Keys, tags and contents may hold control characters, half characters and markup."""

    async def hostile(manager: CacheManager) -> None:
        for key in (HOSTILE, f"{HOSTILE}:it", "half \ud800"):
            await manager.get_or_set(key, lambda: HOSTILE, tags=[HOSTILE])

    command.fill(hostile)
    half = b"half \xed\xa0\x80".decode("utf-8", "surrogateescape")  # as a shell hands it over
    args: dict[str, list[list[str]]] = {
        "keys": [[]],
        "stats": [[]],
        "invalidate": [[HOSTILE, "--yes"]],
        "tag": [[HOSTILE, "--yes"]],
    }
    for more in args.get(name, [[HOSTILE], [half]]):
        found = command(name, *more, *form)
        assert found.code == 0, found
        assert found.all.replace("\n", "").isprintable()
        assert "[red]" in found.out or "half" in found.out or form


@pytest.mark.parametrize(
    ("put", "kind"),
    [
        (lambda redis, key: redis.set(key, b"\x1b[2J\xff"), "foreign"),
        (lambda redis, key: redis.set(key, b"cache/2 x"), "unreadable"),
        (lambda redis, key: redis.rpush(key, "a"), "foreign"),
        (lambda redis, key: redis.set(key, b"x" * 9_000_000), "foreign"),
    ],
    ids=["bytes", "record", "list", "huge"],
)
@pytest.mark.parametrize("name", ["keys", "show", "explain", "stats", "invalidate"])
def test_p9_what_others_put_there(
    command: CommandLine, redis_client: Any, name: str, put: Callable[..., Any], kind: str
) -> None:
    """It is told as such, and can be removed."""
    put(redis_client, f"{command.prefix}:user:1")
    found = ran(command, name)
    assert found.code == (1 if name == "explain" else 0)
    if name in ("keys", "show"):
        assert kind in found.out


def test_p9_names_that_are_no_text_are_passed_over(
    command: CommandLine, redis_client: Redis
) -> None:
    """They are no keys of a cache."""
    command.fill(entries)
    redis_client.set(f"{command.prefix}:".encode() + b"\xff\xfe", 1)
    assert len(command("keys", "--json").lines) == 3
    assert command("stats", "--json").json["entries"] == 3


# Settings.


def test_config_tells_where_each_setting_was_read(command: CommandLine) -> None:
    """The environment comes before the file; what is in neither has its default."""
    Path(".env").write_text("CACHE_DEFAULT_TTL=60\ncache_near_size=5\nCACHE_KEY_PREFIX=other\n")
    command.set(CACHE_REDIS_HOST=command.server.host, CACHE_LOCK_TIMEOUT="")
    said = command("config", "--json").json
    settings = {each["name"]: each for each in said["settings"]}
    assert said["env_file"] == str(Path(".env").resolve())

    def told(name: str) -> list[Any]:
        return [settings[name][what] for what in ("value", "source", "variable")]

    assert told("CACHE_DEFAULT_TTL") == [60, ".env", "CACHE_DEFAULT_TTL"]
    assert told("CACHE_NEAR_SIZE") == [5, ".env", "CACHE_NEAR_SIZE"]
    assert told("CACHE_KEY_PREFIX") == [command.prefix, "environment", "CACHE_KEY_PREFIX"]
    assert told("REDIS_HOST") == [command.server.host, "environment", "CACHE_REDIS_HOST"]
    assert told("CACHE_LOCK_TIMEOUT") == [5.0, "default", None]
    assert "CACHE_DEFAULT_TTL         60                       .env\n" in command("config").out


def test_config_tells_what_a_url_says(command: CommandLine) -> None:
    """Host and number are those of the URL."""
    command.set(REDIS_URL="rediss://ada:secret@redis.example:7000/3", REDIS_PASSWORD="other-one")
    found = command("config", "--json")
    settings = {each["name"]: each for each in found.json["settings"]}
    assert settings["REDIS_URL"]["value"] == "rediss://***@redis.example:7000/3"
    assert settings["REDIS_HOST"]["source"] == settings["REDIS_PASSWORD"]["source"] == "REDIS_URL"
    assert (settings["REDIS_DB"]["value"], settings["REDIS_USERNAME"]["value"]) == (3, "ada")
    assert settings["REDIS_PASSWORD"]["value"] == "***"
    assert "secret" not in found.all + command("config").all


def test_settings_that_contradict_each_other_are_told(command: CommandLine) -> None:
    """After what they are."""
    command.set(REDIS_HOST="a:1", REDIS_PORT="2")
    found = command("config")
    assert found.code == 2
    assert "REDIS_HOST                a:1" in found.out
    assert "name two ports" in found.err


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_600, "1.0 MB"), (12_345_678, "12.3 MB")],
)
def test_sizes_have_words(size: float, words: str) -> None:
    """Of few characters."""
    assert size_in_words(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (float("inf"), "no end"),
        (-1, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (7200, "2 h"),
    ],
)
def test_spans_have_words(seconds: float | None, words: str) -> None:
    """Of few characters."""
    assert span_in_words(seconds) == words
