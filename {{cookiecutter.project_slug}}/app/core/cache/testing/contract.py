"""The contract of a backend, as tests to inherit."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from ..base import CacheBackend
from ..decorators import cache_response
from ..keys import KeyPattern
from ..loops import to_its_end
from ..manager import CacheManager
from .asking import insist
from .steps import LONG_MS, StepsContract
from .trying import is_gone, on_a_backend, own, same, until

VALUES: Final[tuple[Any, ...]] = (
    *(None, False, 0, 1.5, "", "ü", "~raw x", "null", [], [1, {"a": [None]}], {}),
)
KEYS: Final = ("user:1", "user:2", "user:*", "user:?", "user:[12]", "user:\\", "user:ü")


class CacheBackendContract(StepsContract):
    """What the manager relies on, of six methods and of those that a backend overrides.

        class TestMine(CacheBackendContract):
            def make_backend(self) -> CacheBackend:
                return MyBackend()

    `make_backend` returns a new backend. What lies below its `key_prefix` has to be the test's: it
    is cleared. The tests need no plugin for async tests; they run in event loops of their own.
    """

    @on_a_backend
    async def test_a_value_comes_back_equal(self, backend: CacheBackend) -> None:
        """Every JSON value does, with its type; `set` says that it is stored."""
        for value in VALUES:
            what = f"of the value {value!r}"
            same(await backend.set(own(backend), value), True, f"set {what}", "it is stored")
            same(await backend.get(own(backend)), value, f"get {what}", "return what was set")
            same(await backend.exists(own(backend)), True, f"exists {what}", "the key is there")

    @on_a_backend
    async def test_a_value_is_returned_as_a_copy(self, backend: CacheBackend) -> None:
        """Whoever changes what he got changes nothing in the backend."""
        await backend.set(own(backend), {"list": [1]})
        got: Any = await backend.get(own(backend))
        got["list"].append(2)
        got = await backend.get(own(backend))
        same(got, {"list": [1]}, "get after what was got before was changed", "return a copy")

    @on_a_backend
    async def test_a_missing_key_is_none(self, backend: CacheBackend) -> None:
        """It does not exist, has no bytes, and cannot be deleted."""
        key = own(backend)
        same(await backend.get(key), None, "get of a missing key", "return None")
        same(await backend.exists(key), False, "exists of a missing key", "return False")
        same(await backend.delete(key), False, "delete of a missing key", "return False")
        same(await backend.get_bytes(key), None, "get_bytes of a missing key", "return None")
        same(await backend.ttl_ms(key), None, "ttl_ms of a missing key", "return None")

    @on_a_backend
    async def test_keys_are_apart(self, backend: CacheBackend) -> None:
        """Every character of a key stands for itself; `delete` removes one key."""
        for key in KEYS:
            await backend.set(own(backend, key), key)
        for key in KEYS:
            same(await backend.get(own(backend, key)), key, f"get of {key!r}", "keys are literal")
        for place, key in enumerate(KEYS):
            full = own(backend, key)
            same(await backend.delete(full), True, f"delete of {key!r}", "say that it was there")
            left = [each for each in KEYS if await backend.exists(own(backend, each))]
            same(left, [*KEYS[place + 1 :]], f"keys left after delete of {key!r}", "remove one key")

    @on_a_backend
    async def test_set_replaces(self, backend: CacheBackend) -> None:
        """Whatever is at the key: a value, or bytes."""
        for new in (1, "two"):
            await backend.set_bytes(own(backend), b"lease/1 x", 60)
            await backend.set(own(backend), new)
            same(await backend.get(own(backend)), new, "get after a second set", "keep the last")

    @on_a_backend
    async def test_zero_or_less_is_not_stored(self, backend: CacheBackend) -> None:
        """With such an `expire` the old value goes, too."""
        for expire in (0, -1, timedelta(0), timedelta(seconds=-5)):
            await backend.set(own(backend), "old", 60)
            stored, what = await backend.set(own(backend), "new", expire), f"with expire={expire!r}"
            same(stored, False, f"set {what}", "say that nothing is stored")
            same(await backend.get(own(backend)), None, f"get after set {what}", "remove the key")

    @on_a_backend
    async def test_an_entry_expires(self, backend: CacheBackend) -> None:
        """After so many seconds, or a part of one as a `timedelta`; not before, and not the others."""
        await backend.set(own(backend, "stays"), 1)
        await backend.set(own(backend, "long"), 1, 60)
        await backend.set(own(backend), 1, timedelta(milliseconds=50))
        await until(lambda: is_gone(backend, own(backend)), "an entry of 50 ms is still there")
        for key in ("stays", "long"):
            there = await backend.exists(own(backend, key))
            same(there, True, f"exists of {key!r}, which has not expired", "expire is in seconds")
        ms = await backend.ttl_ms(own(backend, "long"))
        insist(
            ms is None or 0 < ms <= LONG_MS,
            f"ttl_ms of an entry of 60 seconds returned {ms!r}: return milliseconds, or None",
        )

    @on_a_backend
    async def test_clear_keeps_to_the_prefix(self, backend: CacheBackend) -> None:
        """What begins with something else than `key_prefix` and a colon is somebody else's."""
        key, other = own(backend), f"{backend.key_prefix}2:key"
        await backend.set(key, 1)
        await backend.set(other, 2)
        same(await backend.clear(), True, "clear", "say that it was done")
        same(await backend.get(key), None, "get after clear", "remove all below the key_prefix")
        same(await backend.get(other), 2, f"get of {other!r} after clear", "leave other prefixes")
        same(await backend.delete(other), True, f"delete of {other!r}", "say that it was there")

    @on_a_backend
    async def test_it_opens_again_after_close(self, backend: CacheBackend) -> None:
        """`close` may come twice, and it is healthy after that."""
        await backend.close()
        await backend.close()
        same(await backend.set(own(backend), 1), True, "set after close", "open again when used")
        same(await backend.get(own(backend)), 1, "get after close", "open again when used")
        same(await backend.health_check(), True, "health_check", "it answers")

    def test_it_works_in_several_event_loops(self) -> None:
        """One after the other, as in tests; no connection is used in another loop than its own."""
        backend = self.make_backend()
        for number in range(2):
            stored = to_its_end(lambda: backend.set(own(backend), 1))
            same(stored, True, f"set in event loop {number + 1}", "keep connections for each loop")
        to_its_end(backend.clear)
        to_its_end(backend.close)

    @on_a_backend
    async def test_many_callers_at_once(self, backend: CacheBackend) -> None:
        """Each gets a value of its own."""

        async def round_trip(number: int) -> Any:
            await backend.set(own(backend, str(number)), number)
            return await backend.get(own(backend, str(number)))

        got = await asyncio.gather(*map(round_trip, range(100)))
        same(got, [*range(100)], "get by 100 callers at once", "do not mix up calls")

    @on_a_backend
    async def test_a_pattern_removes_what_it_matches(self, backend: CacheBackend) -> None:
        """One exact key, or all that a wildcard matches; a backend that overrides it, no others."""
        for key in KEYS:
            await backend.set(own(backend, key), key)
        overrides = type(backend).delete_matching is not CacheBackend.delete_matching
        for pattern, gone in {"user:*": [*KEYS], "user:1": ["user:1"]}.items():
            for key in ("other", *KEYS):
                await backend.set(own(backend, key), key)
            literals = (own(backend, "user:"), "") if "*" in pattern else (own(backend, pattern),)
            done = await backend.delete_matching(KeyPattern(literals))
            same(done is False, False, f"delete_matching of {pattern!r}", "say that it was done")
            left = [each for each in gone if await backend.exists(own(backend, each))]
            same(left, [], f"keys left by delete_matching of {pattern!r}", "remove all it matches")
            there = await backend.exists(own(backend, "other"))
            insist(
                there or not overrides,
                f"delete_matching of {pattern!r} removed 'other': leave that",
            )

    @on_a_backend
    async def test_a_function_is_cached(self, backend: CacheBackend) -> None:
        """It runs once for all who call it at once, until a key, a tag, a pattern or all go."""
        manager, runs = CacheManager(backend), 0

        @cache_response(manager, "contract", tags=["tag"], ignore=("_",))
        async def function(_: object = None) -> int:
            nonlocal runs
            runs += 1
            await asyncio.sleep(0)
            return 1

        ways: dict[str, Callable[[], Awaitable[object]]] = {
            "invalidate()": function.invalidate,
            "a tag": lambda: manager.invalidate_tags("tag"),
            "a pattern": lambda: manager.invalidate("contract*"),
            "clear()": manager.clear,
        }
        remedy = "store the result, and remove it in each of these ways: see the other tests"
        for number, (name, invalidate) in enumerate(ways.items(), start=1):
            got = await asyncio.gather(*[function() for _ in range(10)], function())
            same(got, [1] * 11, "a cached function", "return what it returned")
            same(runs, number, f"the runs of a function before {name}", remedy)
            await invalidate()
