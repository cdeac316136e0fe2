"""Own keys only (promise P7): what the module asks of Redis, as the server itself sees it."""

import ast
import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Protocol, cast

import pytest
from redis import Redis

from ... import (
    CacheFactory,
    CacheManager,
    CacheSettings,
    RedisBackend,
    UnavailableError,
    cache_response,
    invalidate_cache,
)
from ...coherence import leases
from ...testing.redis_server import RedisServer
from ..conftest import redis_backend
from ..internals import always_due
from ..package import FOLDER

PAGE: Final = FOLDER / "docs" / "redis.md"

OF_STRINGS: Final = ("get", "set", "unlink", "exists", "eval", "evalsha", "getrange")
ON_KEYS: Final = (*OF_STRINGS, "incrby", "pexpire", "pttl")
NEEDED: Final = (*ON_KEYS, "scan", "ping")
"""What a user of Redis has to be allowed, for one server, on database 0."""
ON_CONNECTING: Final = ("hello", "auth", "select")
"""What a connection begins with. Only SELECT, for another database, has to be allowed."""
OF_MESSAGES: Final = ("client|tracking", "client|caching")
"""What asks to be told of changes. Who may not do that looks from time to time instead."""

TEXTS: Final = (
    *("*", "?", "[a-z]", "[^a]", "\\", "\\*", ":", "%2A", " \"'{}", "\r\n\t\x00"),
    *("Grüße 漢字 😀", "~tags", "~tag:1", "user:*", "x" * 300),
)
"""What users may type."""
HALF_A_CHARACTER: Final = "\ud800"
"""What only a key can have in it: a value or a tag that has it is not stored."""

Steps = AsyncIterator[tuple[str, bool]]
"""What was done, and whether it worked."""


async def plain_values(manager: CacheManager, text: str) -> Steps:
    """Use what stores, reads and removes values."""
    text = f"typed:{text}"  # no name begins with a tilde
    second = f"{text}2"
    yield "set", await manager.set(text, 1)
    yield "get", await manager.get(text) == 1
    yield "exists", await manager.exists(text)
    yield "backend.exists", await manager.backend.exists(f"{manager.key_prefix}:{text}")
    yield "delete", await manager.delete(text)
    yield "set for no time", not await manager.set(text, 1, expire=0)
    yield "set_many", await manager.set_many({text: 1, second: 2})
    yield "get_many", await manager.get_many([text, second]) == {text: 1, second: 2}
    yield "delete_many", await manager.delete_many([text, second]) == 2
    yield "set with tags", await manager.set(text, 1, tags=[text])
    yield "add", await manager.add(second, 1) and not await manager.add(text, 2)
    yield "touch", await manager.touch(text, 60)
    yield "ttl", 50 < (await manager.ttl(text) or 0) <= 60
    yield "keys", await listed(manager) >= {text, second}
    yield "delete all", await manager.delete_many([text, second]) == 2
    yield "incr", (await manager.incr(text), await manager.incr(text, 2)) == (1, 3)
    yield "delete the counter", await manager.delete(text)
    yield "health_check", await manager.health_check()


async def listed(manager: CacheManager) -> set[str]:
    """Return all keys; none if they cannot be listed."""
    try:
        return {key async for key in manager.keys("*")}
    except UnavailableError:
        return set()


async def computed_values(manager: CacheManager, text: str) -> Steps:
    """Use what computes values, and what invalidates them."""
    text = f"typed:{text}"
    runs: list[object] = []

    async def runs_once() -> bool:
        before = len(runs)
        for _ in range(2):
            await manager.get_or_set(text, lambda: runs.append(text), tags=[text])
        return len(runs) == before + 1

    yield "get_or_set", await runs_once()
    yield "invalidate", bool(await manager.invalidate(text)) and await runs_once()
    yield "invalidate_tags", await manager.invalidate_tags(text) and await runs_once()
    yield "set below", await manager.set(f"{text}:below", 1)
    yield "invalidate a pattern", bool(await manager.invalidate(f"{text}*")) and await runs_once()
    yield "it is gone", not await manager.exists(f"{text}:below")

    def load(keys: list[str]) -> dict[str, str]:
        runs.append(keys)
        return {key: key for key in keys}

    before, keys = len(runs), [f"many:{text}", "many"]
    loaded = [await manager.get_or_set_many(keys, load) for _ in range(2)]
    yield "get_or_set_many", loaded == [{key: key for key in keys}] * 2
    yield "it loads once", len(runs) == before + 1


async def decorated_functions(manager: CacheManager, text: str) -> Steps:
    """Use the decorators, and every way to invalidate what they stored."""
    runs: list[str] = []

    @cache_response(
        manager, "family", key="user:{name}", tags=["user:{name}", lambda name: [f"is:{name}"]]
    )
    async def read(name: str) -> str:
        runs.append(name)
        return name

    @cache_response(manager, "own", key=lambda name: name)
    async def read_own(name: str) -> str:
        return name

    def write(**options: Any) -> Callable[[], Awaitable[bool]]:
        @invalidate_cache(manager, **options)
        async def write(name: str) -> bool:
            return True

        return lambda: write(text)

    async def runs_once() -> bool:
        before = len(runs)
        results = [await read(text) for _ in range(2)]
        return len(runs) == before + 1 and results == [text, text]

    yield "cache_response", await runs_once()
    yield "a key as it is", await read_own(text) == await read_own(text) == text
    invalidations: dict[str, Callable[[], Awaitable[object]]] = {
        "f.invalidate": lambda: read.invalidate(text),
        "f.invalidate_all": read.invalidate_all,
        "a derived tag": lambda: manager.invalidate_tags(f"is:{text}"),
        "invalidate_cache by key": write(keys="family:user:{name}"),
        "invalidate_cache by pattern": write(keys=["family:user:{name}*", "{name}:*"]),
        "invalidate_cache by tag": write(tags=["user:{name}"]),
        "clear": manager.clear,
    }
    for what, invalidate in invalidations.items():
        yield what, bool(await invalidate()) and await runs_once()
    before = len(runs)
    yield "f.refresh", await read.refresh(text) == text and len(runs) == before + 1


async def ageing_entries(manager: CacheManager, text: str) -> Steps:
    """Use what serves old entries and computes them anew, also if that fails."""
    stale: dict[str, Any] = {"expire": timedelta(milliseconds=1), "stale": 60}
    yield "stale", await is_renewed(manager, text, "stale", **stale)
    yield "background", await is_renewed(manager, text, "rear", **stale, refresh="background")
    yield "early_refresh", await is_renewed(manager, text, "early", early_refresh=1.0)
    yield "stale if error", await is_renewed(manager, text, "error", fails=True, **stale)


async def is_renewed(
    manager: CacheManager, text: str, family: str, *, fails: bool = False, **options: Any
) -> bool:
    """Whether a function runs again while its entry is there, and is served if that fails."""
    runs: list[str] = []

    @cache_response(manager, family, **options)
    async def read(name: str) -> str:
        runs.append(name)
        if fails and len(runs) > 1:
            raise OSError("the source is away")
        return name

    if "early_refresh" in options:
        always_due(read)
    deadline = time.monotonic() + 10
    try:
        while len(runs) < 2 and time.monotonic() < deadline:
            assert await read(text) == text
            await asyncio.sleep(0)
    except OSError:
        return False
    return len(runs) == 2


async def failures(manager: CacheManager, text: str) -> list[str]:
    """Use all that the module can do, with `text` in the keys; return what did not work."""
    uses = (plain_values, computed_values, decorated_functions, ageing_entries)
    failed = [what for use in uses async for what, worked in use(manager, text) if not worked]
    if not await manager.clear():
        failed.append("clear at the end")
    await manager.close()
    return failed


class Watch:
    """What a Redis is asked, in its own words: those of MONITOR.

    See https://redis.io/docs/latest/commands/monitor/. It shows the commands of scripts as well.
    """

    def __init__(self, server: RedisServer) -> None:
        self._watching = Redis.from_url(server.url, socket_timeout=30)
        self._asking = Redis.from_url(server.url)
        self._asking.ping()
        self._connection = cast("Any", self._watching.connection_pool.get_connection())
        self._connection.send_command("MONITOR")
        assert self._connection.read_response() == b"OK"

    def close(self) -> None:
        """Watch no more."""
        self._connection.disconnect()
        self._watching.close()
        self._asking.close()

    def commands(self) -> list[list[bytes]]:
        """Return the commands up to now, each with its arguments."""
        mark = uuid.uuid4().hex
        self._asking.echo(mark)
        seen: list[list[bytes]] = []
        while [b"ECHO", mark.encode()] not in seen[-1:]:
            # The arguments are quoted and escaped as Python's bytes are.
            quoted = re.findall(rb'"(?:[^"\\]|\\.)*"', self._connection.read_response())
            seen.append([ast.literal_eval(f"b{each.decode('ascii')}") for each in quoted])
        return seen[:-1]

    def keys(self, command: list[bytes]) -> list[str]:
        """Return the keys of a command that has any, as the server finds them in it."""
        return [str(key) for key in self._asking.command_getkeys(*command)]


@pytest.fixture
def watch(redis_server: RedisServer) -> Iterator[Watch]:
    """Watch the Redis of the tests."""
    watch = Watch(redis_server)
    yield watch
    watch.close()


def literally(text: str) -> str:
    """Return a pattern of Redis that covers this text only."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)


def objection(watch: Watch, prefix: str, command: list[bytes]) -> str | None:
    """Return what is wrong with a command of a cache with this prefix, or `None`."""
    name = command[0].decode().lower()
    if name in ON_KEYS:
        foreign = [key for key in watch.keys(command) if not key.startswith(f"{prefix}:")]
        return f"{name} of {foreign}" if foreign else None
    if name == "scan":
        glob = command[command.index(b"MATCH") + 1].decode("utf-8", "surrogatepass")
        return None if glob.startswith(literally(f"{prefix}:")) else f"{name} {glob}"
    if name == "client":
        name = f"client|{command[1].decode().lower()}"
    allowed = (*NEEDED, *ON_CONNECTING, *OF_MESSAGES)
    return None if name in allowed else f"{name} is not on the list"


@pytest.mark.parametrize(
    ("prefix", "siblings"),
    [
        ("{0}", ["{0}2:key", "{0}", "{0}-:key", "x{0}:key", "{0};key"]),
        ("{0}*[a]?\\", ["{0}*[a]?:key", "{0}Xab:key", "{0}*[a]b\\:key", "{0}:key", "{0}Xaab:key"]),
        ("{0}:a", ["{0}:a2:key", "{0}:b:key", "{0}:key", "{0}:*:key", "{0}:a"]),
        ("{0}%41#", ["{0}A#:key", "{0}%41:key", "{0}%41#"]),
    ],
)
async def test_p7_only_keys_below_the_prefix_are_touched(
    redis_server: RedisServer,
    redis_client: Redis,
    watch: Watch,
    prefix: str,
    siblings: list[str],
) -> None:
    """Whatever the prefix is made of, and whatever users type into keys, patterns and tags."""
    own = f"test-{uuid.uuid4().hex}"
    prefix = prefix.format(own)
    kept = {sibling.format(own): b"theirs %d" % number for number, sibling in enumerate(siblings)}
    redis_client.mset(kept)
    redis_client.script_flush()
    watch.commands()

    def manager() -> CacheManager:
        backend = redis_backend(redis_server, key_prefix=prefix, operation_timeout=2.0)
        return CacheManager(backend)

    try:
        for text in TEXTS:
            assert await failures(manager(), text) == []
        assert await failures(manager(), HALF_A_CHARACTER) != []
        seen = watch.commands()
        assert redis_client.mget(kept) == [*kept.values()]
        assert {redis_client.pttl(sibling) for sibling in kept} == {-1}
    finally:
        redis_client.unlink(*kept)
    objections = {objection(watch, prefix, command) for command in seen}
    assert objections == {None}
    names = {command[0].decode().lower() for command in seen}
    assert names - {*ON_CONNECTING, "client"} == set(NEEDED)


@pytest.mark.parametrize("text", [*TEXTS, HALF_A_CHARACTER])
async def test_p7_what_a_user_types_reaches_nobody_else(
    our_manager: CacheManager, text: str
) -> None:
    """It stands for itself in keys, patterns and tags that are made of it."""
    runs: list[str] = []

    @cache_response(our_manager, "user", key="{name}", tags=["user:{name}"])
    async def read(name: str) -> int:
        runs.append(name)
        return len(name)

    @invalidate_cache(our_manager, ["user:{name}", "user:{name}:*"], tags=["user:{name}"])
    async def write(name: str) -> None:
        runs.clear()

    others = ["alice", "user", "a", "", "%", "2", *TEXTS]
    for name in (text, *others):
        await read(name)
    await write(text)
    for name in (text, *others):
        await read(name)
    assert runs == [text]


def printed() -> list[str]:
    """Return the words of the line in the documentation that makes a user."""
    [line] = re.findall(r"^ACL SETUSER .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return str(line).split()


class MakeUser(Protocol):
    """Makes a user of Redis who may use these commands, and a manager for that user."""

    def __call__(self, *commands: str, db: int | None = None) -> CacheManager: ...


@pytest.fixture
def make_user(redis_server: RedisServer, redis_client: Redis) -> Iterator[MakeUser]:
    """Lend what makes a user as the documentation has it, but for the names and the commands."""
    name, password, prefix = f"{uuid.uuid4()}", f"{uuid.uuid4()}", f"test-{uuid.uuid4()}*[a]?\\"
    pattern = literally(f"{prefix}:")

    def make(*commands: str, db: int | None = None) -> CacheManager:
        execute: Callable[..., object] = redis_client.execute_command
        own = {"app": name, ">password": f">{password}", "~app:*": f"~{pattern}*"}
        assert own.keys() <= set(printed())
        words = [own.get(word, word) for word in printed() if not word.startswith("+")]
        if redis_server.db and db is None:
            words.append("+select")
        execute(*words, *[f"+{command}" for command in commands])
        redis_client.script_flush()
        options = {"username": name, "password": password, "key_prefix": prefix}
        server = redis_server if db is None else replace(redis_server, db=db)
        return CacheManager(redis_backend(server, **options, operation_timeout=2.0))

    yield make
    redis_client.acl_deluser(name)
    for key in redis_client.scan_iter(f"{pattern}*"):
        redis_client.unlink(key)


def test_p7_the_documentation_allows_what_is_needed() -> None:
    """No command less, and none more."""
    assert [word for word in printed() if word.startswith("+")] == [f"+{each}" for each in NEEDED]


async def test_p7_a_user_with_these_permissions_can_do_everything(
    make_user: MakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing fails, and nothing is refused that would not show."""
    assert await failures(make_user(*NEEDED), "key") == []
    assert caplog.records == []


@pytest.mark.parametrize("command", NEEDED)
async def test_p7_every_permission_is_needed(
    make_user: MakeUser,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """Without it something does not work, or is refused with a line of log."""
    monkeypatch.setattr(leases, "LEASE_MS", 50)  # nobody may be able to take a lease away
    failed = await failures(make_user(*({*NEEDED} - {command})), "key")
    assert failed or "refuses a command" in caplog.text


@pytest.mark.parametrize(("more", "works"), [((), False), (("select",), True)])
async def test_p7_another_database_needs_one_permission_more(
    make_user: MakeUser, more: tuple[str, ...], works: bool
) -> None:
    """Without SELECT there is no connection to it."""
    manager = make_user(*NEEDED, *more, db=1)
    assert await manager.health_check() is works
    await manager.close()


async def test_p7_a_user_of_one_prefix_cannot_use_another(
    redis_server: RedisServer, make_user: MakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis refuses that, the caller has no error, and the log says so once."""
    manager = make_user(*NEEDED)
    other = CacheManager(manager.backend, key_prefix=f"{manager.key_prefix}2")
    assert await manager.set("key", 1) is True
    assert [await other.set("key", 1) for _ in range(3)] == [False] * 3
    assert await other.get("key") is None
    assert await manager.get("key") == 1
    lines = [record.getMessage() for record in caplog.records if "refuses" in record.getMessage()]
    assert len(lines) == 1
    await manager.close()


@pytest.mark.parametrize("prefix", ["", " ", "Ü", "a\nb"])
def test_p7_a_prefix_has_to_be_one(prefix: str) -> None:
    """An empty one would have everybody's keys below it: a cache does not begin without one."""
    with pytest.raises(ValueError, match="cache_key_prefix"):
        CacheSettings(cache_key_prefix=prefix)


def test_p7_an_empty_variable_is_no_empty_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as unset, here as everywhere; and no manager takes an empty prefix."""
    monkeypatch.setenv("CACHE_KEY_PREFIX", "")
    manager = CacheFactory.create_cache_manager()
    assert manager.key_prefix == "app"
    with pytest.raises(ValueError, match="key_prefix=''"):
        CacheManager(RedisBackend(key_prefix=""))
