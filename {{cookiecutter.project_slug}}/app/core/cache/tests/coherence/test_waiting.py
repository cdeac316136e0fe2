"""Nobody waits for long for what others compute (promises P3, P4 and P5)."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from redis import Redis

from ... import (
    CacheManager,
    CacheSettings,
    MemoryBackend,
    cache_response,
)
from ...coherence.leases import LEASE_MS, is_lease
from ...resilience import retry
from ...testing.redis_server import RedisServer
from ..conftest import OURS, SIX_METHODS, lent, new_backend, redis_backend
from ..faults import eventually, soon
from ..internals import joined
from .test_freshness import elapse

PATIENCE: Final = 0.3
"""The lock timeout of these tests, in seconds."""
LOOSE: Final = 4
"""A busy machine may make a wait so many times as long."""


class Slow:
    """A function whose first run does not end until it is told to, whose others do at once."""

    def __init__(self) -> None:
        self.runs = 0
        self.value = "old"
        self.running, self.go_on = asyncio.Event(), asyncio.Event()
        self.held, self.meanwhile = 1, asyncio.Event()
        self.meanwhile.set()

    def cached(
        self, manager: CacheManager, make: Callable[[str], Any] = str, **options: Any
    ) -> Any:
        """Return it as a cached function."""

        @cache_response(manager, "slow", key="it", ignore=("_who",), **options)
        async def read(_who: object = None) -> Any:
            self.runs += 1
            value = self.value
            self.running.set()
            await (self.go_on if self.runs <= self.held else self.meanwhile).wait()
            return make(value)

        return read


@pytest.fixture(params=[*OURS, SIX_METHODS])
async def manager(request: pytest.FixtureRequest) -> AsyncIterator[CacheManager]:
    """Lend a manager with little patience over each kind of backend in turn."""
    async with lent(CacheManager(new_backend(request), lock_timeout=PATIENCE)) as manager:
        yield manager


@pytest.fixture
async def two(redis_server: RedisServer) -> AsyncIterator[tuple[CacheManager, CacheManager]]:
    """Lend the managers of two processes, as it were: they know of each other by Redis only."""
    one = CacheManager(redis_backend(redis_server), lock_timeout=PATIENCE)
    backend = redis_backend(redis_server, key_prefix=one.key_prefix)
    other = CacheManager(backend, lock_timeout=PATIENCE)
    yield one, other
    await one.clear()
    await one.close()
    await other.close()


async def taken(*calls: Any) -> tuple[list[Any], float]:
    """Return what calls returned, and how long all took."""
    began = time.monotonic()
    values = await soon(asyncio.gather(*calls))
    return values, time.monotonic() - began


async def test_p5_a_stuck_leader_holds_up_his_followers_for_a_while_only(
    manager: CacheManager,
) -> None:
    """Each of them computes for himself then, and the leader gets his own value at last."""
    slow = Slow()
    read = slow.cached(manager)
    leader = asyncio.create_task(read())
    await slow.running.wait()
    values, seconds = await taken(*(read() for _ in range(10)))
    assert values == ["old"] * 10
    assert PATIENCE <= seconds < LOOSE * PATIENCE
    slow.go_on.set()
    assert await leader == "old"


async def test_p5_a_stuck_leader_elsewhere_holds_up_nobody_for_longer(
    two: tuple[CacheManager, CacheManager],
) -> None:
    """Although it renews its lease all the time."""
    slow = Slow()
    leader = asyncio.create_task(slow.cached(two[0])())
    await slow.running.wait()
    values, seconds = await taken(*(slow.cached(two[1])() for _ in range(10)))
    assert values == ["old"] * 10
    assert PATIENCE <= seconds < LOOSE * PATIENCE
    leader.cancel()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
async def test_p5_what_was_computed_instead_is_there_for_all_who_come_later(
    two: tuple[CacheManager, CacheManager], elsewhere: bool
) -> None:
    """They do not wait, and what the leader stores at last does not come after it."""
    slow = Slow()
    reads = [slow.cached(manager) for manager in two]
    leader = asyncio.create_task(reads[0]())
    await slow.running.wait()
    slow.value = "new"
    read = reads[elsewhere]
    assert await read() == "new"
    values, seconds = await taken(*(read() for _ in range(10)), reads[0]())
    assert values == ["new"] * 11
    assert seconds < PATIENCE
    slow.go_on.set()
    assert await leader == "old"
    assert [await read() for read in reads] == ["new", "new"]
    assert slow.runs == 2


async def test_p5_those_who_wait_still_get_what_was_computed_instead(
    two: tuple[CacheManager, CacheManager],
) -> None:
    """The first one's patience is over, and all who came later have his result."""
    slow = Slow()
    read = slow.cached(two[0])
    leader = asyncio.create_task(read())
    await slow.running.wait()
    first = asyncio.create_task(read())
    await joined(two[0], 1)
    two[0].fence.lock_timeout = 60.0
    later = [asyncio.create_task(read()) for _ in range(5)]
    await joined(two[0], 6)
    elsewhere = asyncio.create_task(slow.cached(two[1])())
    assert await soon(asyncio.gather(first, *later, elsewhere)) == ["old"] * 7
    assert slow.runs <= 3  # that of another process may have lost patience as well
    leader.cancel()


async def test_p5_a_result_that_is_nobody_elses_sends_them_away_too(
    our_manager: CacheManager,
) -> None:
    """Who waits for a stuck leader need not wait for what will not be shared."""
    our_manager.fence.lock_timeout = PATIENCE
    slow = Slow()
    read = slow.cached(our_manager, make=lambda _: object())
    leader = asyncio.create_task(read())
    await slow.running.wait()
    first = asyncio.create_task(read())
    await joined(our_manager, 1)
    our_manager.fence.lock_timeout = 60.0
    later = [asyncio.create_task(read()) for _ in range(5)]
    await joined(our_manager, 6)
    await soon(asyncio.gather(first, *later))
    assert slow.runs == 7
    leader.cancel()


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "nobody else's"])
async def test_p4_a_lease_without_an_end_is_replaced_or_gets_one(
    two: tuple[CacheManager, CacheManager], redis_client: Redis, stored: bool
) -> None:
    """As one that somebody put there by hand, or made persist."""
    slow = Slow()
    leader = asyncio.create_task(slow.cached(two[0])())
    await slow.running.wait()
    key = f"{two[0].key_prefix}:slow:it"
    standing = redis_client.get(key)
    assert isinstance(standing, bytes)
    _, token, digest = standing.split()
    leader.cancel()
    await eventually(lambda: not redis_client.exists(key))
    redis_client.set(key, b"lease/1 %b %b" % (b"f" * len(token), digest))
    read = slow.cached(two[1], make=str if stored else lambda _: object())
    _, seconds = await taken(read())
    assert PATIENCE <= seconds < LOOSE * PATIENCE
    await eventually(lambda: redis_client.pttl(key) != -1)
    standing, left = redis_client.get(key), redis_client.pttl(key)
    assert isinstance(standing, bytes)
    assert is_lease(standing) is not stored
    assert 0 < left <= (300_000 if stored else LEASE_MS)


async def test_p5_the_wait_is_that_of_a_call_and_not_of_each_leader(
    our_manager: CacheManager,
) -> None:
    """Who goes from one leader to the next does not begin to wait anew."""
    our_manager.fence.lock_timeout = 1.0
    slow = Slow()
    slow.held = 2
    read = slow.cached(our_manager)
    leaders = [asyncio.create_task(read())]
    await slow.running.wait()
    slow.running.clear()
    began = time.monotonic()
    followers = [asyncio.create_task(read()) for _ in range(3)]
    await joined(our_manager, 3)
    await elapse(0.6)
    leaders[0].cancel()  # one of them leads now, and is stuck
    await slow.running.wait()
    done, _ = await asyncio.wait(followers, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert 0.9 < time.monotonic() - began < 1.5
    assert {task.result() for task in done} == {"old"}
    for task in followers:
        task.cancel()


async def test_p4_who_is_cancelled_while_he_waits_is_cancelled(manager: CacheManager) -> None:
    """And computes nothing."""
    slow = Slow()
    read = slow.cached(manager)
    leader = asyncio.create_task(read())
    await slow.running.wait()
    waiting = asyncio.create_task(read())
    await joined(manager, 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert slow.runs == 1
    slow.go_on.set()
    assert await leader == "old"


@pytest.mark.parametrize("how", ["delete", "pattern", "tag", "clear"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
async def test_p3_an_invalidation_overtakes_who_computes_for_himself(
    two: tuple[CacheManager, CacheManager], how: str, elsewhere: bool
) -> None:
    """His result, which began before it, does not take the place of the lease."""
    slow = Slow()
    reads = [slow.cached(manager, tags=["tag"]) for manager in two]
    leader = asyncio.create_task(reads[0]())
    await slow.running.wait()
    slow.running.clear()
    slow.meanwhile.clear()
    impatient = asyncio.create_task(reads[elsewhere]())
    await soon(slow.running.wait())
    slow.value = "new"
    if how == "delete":
        await two[0].delete("slow:it")
    elif how == "pattern":
        await two[0].invalidate("slow*")
    elif how == "tag":
        await two[0].invalidate_tags("tag")
    else:
        await two[0].clear()
    slow.meanwhile.set()
    assert await impatient == "old"
    assert [await read() for read in reads] == ["new", "new"]
    slow.go_on.set()
    assert await leader == "old"
    assert [await read() for read in reads] == ["new", "new"]


async def test_p5_without_a_backend_a_stuck_leader_holds_up_nobody_for_longer(
    redis_server: RedisServer,
) -> None:
    """Flights are waited for as long, whatever there is besides."""
    manager = CacheManager(redis_backend(redis_server, port=1), lock_timeout=PATIENCE)
    slow = Slow()
    read = slow.cached(manager)
    leader = asyncio.create_task(read())
    await slow.running.wait()
    values, seconds = await taken(*(read() for _ in range(5)))
    assert (values, slow.runs) == (["old"] * 5, 6)
    assert seconds < LOOSE * PATIENCE
    leader.cancel()
    await manager.close()


async def test_p5_get_or_set_waits_no_longer_either(manager: CacheManager) -> None:
    """Nor does that for many keys."""
    slow = Slow()

    async def factory() -> str:
        slow.runs += 1
        slow.running.set()
        await (slow.go_on if slow.runs == 1 else slow.meanwhile).wait()
        return "value"

    async def load(keys: list[str]) -> dict[str, str]:
        return dict.fromkeys(keys, "value")

    leader = asyncio.create_task(manager.get_or_set("key", factory))
    await slow.running.wait()
    values, seconds = await taken(
        manager.get_or_set("key", factory), manager.get_or_set_many(["key"], load)
    )
    assert values == ["value", {"key": "value"}]
    assert seconds < LOOSE * PATIENCE
    leader.cancel()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True])
def test_the_lock_timeout_is_a_number_of_seconds(seconds: Any) -> None:
    """More than none, and not for ever."""
    with pytest.raises(ValueError, match="lock_timeout"):
        CacheManager(MemoryBackend(), lock_timeout=seconds)


def test_the_lock_timeout_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five seconds, as that of nginx, or what the environment says."""
    assert CacheSettings.load().cache_lock_timeout == 5.0
    monkeypatch.setenv("CACHE_LOCK_TIMEOUT", "0.5")
    assert CacheSettings.load().cache_lock_timeout == 0.5


async def test_p5_close_does_not_wait_for_a_function_that_never_ends(
    our_manager: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that computes a stale entry anew in the background is cancelled after a while."""
    monkeypatch.setattr(retry, "SETTLE_SECONDS", PATIENCE)
    ended: list[BaseException] = []
    runs: list[int] = []

    @cache_response(
        our_manager, "slow", timedelta(milliseconds=100), stale=60, refresh="background"
    )
    async def read() -> str:
        runs.append(1)
        try:
            if len(runs) > 1:
                await asyncio.Event().wait()
        except BaseException as error:
            ended.append(error)
            raise
        return "value"

    await read()
    await elapse(0.1)
    await read()
    await eventually(lambda: len(runs) == 2)
    await soon(our_manager.close())
    assert [type(error) for error in ended] == [asyncio.CancelledError]
