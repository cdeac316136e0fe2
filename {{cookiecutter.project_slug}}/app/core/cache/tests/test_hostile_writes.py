"""What users send never makes a write fail, nor its invalidation come to nothing (promise P3)."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .. import CacheManager, MemoryBackend, cache_response, invalidate_cache

PREFIX = "p" * 90  # nearly as long as one may be


class Mute:
    """An object of which every question raises."""

    def __getattr__(self, name: str) -> Any:
        raise MuteError

    __str__ = __repr__ = __format__ = __hash__ = None  # type: ignore[assignment] # as said


class MuteError(Exception):
    """What it raises."""


class MuteText(str):
    """A text that cannot be told."""

    __slots__ = ()

    def __str__(self) -> str:
        raise MuteError

    def __format__(self, spec: str) -> str:
        raise MuteError


VALUES: dict[str, Any] = {
    "nothing": "",
    "a text": "ada",
    "over 64 characters": "y" * 100,
    "over 300": "y" * 400,
    "over 1024": "y" * 2000,
    "as long as a tag may be": "y" * 1022,
    "a byte more": "y" * 1023,
    "a million": "y" * 1_000_000,
    "unicode": "Grüße 漢字",
    "much unicode": "😀" * 300,
    "half a character": "\ud800",
    "many of them": "\ud800\udfff" * 400,
    "a star": "*",
    "stars": "a*b*" * 100,
    "a question mark": "?",
    "a class": "[a]",
    "a tilde": "~",
    "a tag of the cache": "~tags",
    "a digest": "~" + "0" * 32,
    "lines": "a\r\nb",
    "NUL": "a\x00b",
    "percent": "100%",
    "colons": "a:b:" * 100,
    "braces": "{i}{0}{",
    "no value": None,
    "yes": True,
    "a number": 7,
    "one without a text": 10**5000,
    "bytes": b"ada",
    "a list": ["ada"],
    "an object": object(),
    "a mute object": Mute(),
    "a mute text": MuteText("ada"),
}


def size(text: str) -> int:
    """Return how many bytes a text has."""
    return len(text.encode("utf-8", "surrogatepass"))


Reader = Callable[[Any], Awaitable[str]]


class Source:
    """A value that is read through the cache, and written."""

    def __init__(self, manager: CacheManager) -> None:
        self.manager, self.value = manager, "old"

    def cached(self, **options: Any) -> Any:
        """Return a cached function that reads it."""

        @cache_response(self.manager, PREFIX, **options)
        async def read(i: Any) -> str:
            return self.value

        return read

    def of_a_team(self) -> Reader:
        """Return one whose tag is derived from what it returns."""
        asked: list[Any] = []
        read = self.cached(key="{i}", tags=[lambda _: [f"x:{asked[-1]}"]])

        async def ask(i: Any) -> str:
            asked.append(i)
            answer: str = await read(i)
            return answer

        return ask

    def of_many(self) -> Reader:
        """Return one with many places in its key."""

        @cache_response(self.manager, PREFIX, key="k:{a}:{b}:{c}:{d}:{e}")
        async def read(a: Any, b: Any, c: Any, d: Any, e: Any) -> str:
            return self.value

        return lambda i: read(i, i, i, i, i)

    def of_an_object(self) -> Reader:
        """Return one whose key and tag name an attribute."""

        @cache_response(self.manager, PREFIX, key="k:{i.name}", tags=["x:{i.name}"])
        async def read(i: Any) -> str:
            return self.value

        return lambda i: read(type("Named", (), {"name": i})())

    async def made(self, i: Any) -> str:
        """Read it by `get_or_set`."""
        if not isinstance(i, str) or type(i) is MuteText:
            return self.value
        return str(await self.manager.get_or_set("made", lambda: self.value, tags=[f"x:{i}"]))

    async def by_hand(self, i: Any) -> str:
        """Read what `set` has stored; what has a key that is too long is not there."""
        if not isinstance(i, str) or type(i) is MuteText or size(i) > 1000:
            return self.value
        found = await self.manager.get(f"s:{i}")
        if found is None:
            await self.manager.set(f"s:{i}", self.value)
        return str(found or self.value)

    async def write(self, i: Any, *, many: int = 1, named: bool = False, **covered: Any) -> str:
        """Write it by a function that invalidates what is `covered`."""

        async def one(i: Any) -> str:
            self.value = "new"
            return "written"

        async def five(a: Any, b: Any, c: Any, d: Any, e: Any) -> str:
            return await one(a)

        given = type("Named", (), {"name": i})() if named else i
        function: Any = five if many == 5 else one
        result: str = await invalidate_cache(self.manager, **covered)(function)(*[given] * many)
        return result


READERS: dict[str, Callable[[Source], Reader]] = {
    "tags": lambda source: source.cached(key="{i}", tags=["x:{i}"]),
    "derived tags": Source.of_a_team,
    "get_or_set": lambda source: source.made,
    "a key": lambda source: source.cached(key="k:{i}"),
    "a key of one place": lambda source: source.cached(key="{i}"),
    "a key by a function": lambda source: source.cached(key=lambda i: f"k:{i}"),
    "that text alone": lambda source: source.cached(key=lambda i: f"{i}"),
    "a key of a tuple": lambda source: source.cached(key=lambda i: ("k", i)),
    "many places": Source.of_many,
    "an attribute": Source.of_an_object,
    "set": lambda source: source.by_hand,
}
KEYS = [f"{PREFIX}:k:{{i}}", f"{PREFIX}:{{i}}", "s:{i}"]
MANY = [f"{PREFIX}:k:{{a}}:{{b}}:{{c}}:{{d}}:{{e}}"]
NAMED: dict[str, Any] = {"keys": [f"{PREFIX}:k:{{i.name}}"], "tags": ["x:{i.name}"]}
SEEN = ("old", "old", "written", "new")
BY_TAG = ("tags", "derived tags", "get_or_set")


def writers_of(reader: str) -> list[dict[str, Any]]:
    """Return the ways to write what a reader reads."""
    if reader == "many places":
        return [{"many": 5, "keys": MANY}]
    if reader == "an attribute":
        return [{"named": True, name: value} for name, value in NAMED.items()]
    tagged, keyed = {"tags": ["x:{i}"]}, {"keys": KEYS}
    return [tagged if reader in BY_TAG else keyed, {**tagged, **keyed}]


@pytest.mark.parametrize("reader", READERS)
async def test_p3_a_write_is_done_and_seen_whatever_a_user_sends(
    our_manager: CacheManager, reader: str
) -> None:
    """Its result comes back, and the old value is not served any more."""
    told: dict[str, tuple[object, ...]] = {}
    for what, value in VALUES.items():
        for way in writers_of(reader):
            source = Source(our_manager)
            read = READERS[reader](source)
            before = [await read(value) for _ in range(2)]
            try:
                written = await source.write(value, **way)
            except Exception as error:
                written = repr(error)
            told[f"{what} by {[*way]}"] = (*before, written, await read(value))
            await our_manager.clear()
            our_manager.functions.clear()
    assert {what: each for what, each in told.items() if each != SEEN} == {}


async def test_p3_a_wrapper_may_take_other_arguments_than_it_shows(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """One that hands over a session of its own: what it wrote is not served any more."""

    def with_session(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(i: str) -> Any:
            return await function(object(), i)

        return wrapper

    source = Source(our_manager)
    by_tag = source.cached(key="t:{i}", tags=["x:{i}"])
    by_key = source.cached(key="k:{i}")

    @with_session
    async def write(session: object, i: str) -> str:
        source.value = "new"
        return "written"

    for options in ({"tags": ["x:{i}"]}, {"keys": f"{PREFIX}:k:{{i}}"}):
        function: Any = invalidate_cache(our_manager, **options)(write)
        for reader in (by_tag, by_key):
            source.value = "old"
            await reader.invalidate("ada")
            assert await reader("ada") == "old"
        assert await function("ada") == "written"
        assert await (by_tag if "tags" in options else by_key)("ada") == "new"
    assert "stands for all" in caplog.text


async def test_a_call_that_does_not_fit_removes_nothing(memory: CacheManager) -> None:
    """The function says so, and has not run."""

    @invalidate_cache(memory, ["k:{i}", "k"], tags=["x:{i}"])
    async def write(i: str) -> None: ...

    await memory.set("k:ada", 1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'j'"):
        await write("ada", j=1)  # type: ignore[call-arg] # as said
    assert await memory.get("k:ada") == 1


@pytest.mark.parametrize("step", ["invalidate_tag_keys", "delete_matching"])
async def test_p6_a_backend_that_fails_in_its_own_way_fails_no_write(step: str) -> None:
    """Whatever it raises, or makes of its own methods."""

    class Odd(MemoryBackend):
        def __getattribute__(self, name: str) -> Any:
            if name == step and is_odd:
                raise LookupError(name)
            return super().__getattribute__(name)

    manager = CacheManager(Odd())
    source = Source(manager)
    read = source.cached(key="k:{i}", tags=["x:{i}"])
    is_odd = False
    assert await read("ada") == "old"
    is_odd = True
    covered: dict[str, Any] = {"keys": f"{PREFIX}:k:*", "tags": ["x:{i}"]}
    assert await source.write("ada", **covered) == "written"
    assert await read("ada") == "new"
