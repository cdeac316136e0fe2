"""Walks of one pattern that are wanted at once: one is under way, and one waits for all others."""

import asyncio
from collections.abc import Callable

import pytest

from ... import (
    CacheManager,
    MemoryBackend,
    Removal,
    cache_response,
    invalidate_cache,
)
from ...keys.patterns import KeyPattern


class Gated(MemoryBackend):
    """Counts walks, and holds each until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.walks: list[str] = []
        self.gates: list[asyncio.Event] = []
        self.fails = False

    async def delete_matching(self, pattern: KeyPattern) -> int:
        self.walks.append(str(pattern))
        done = await super().delete_matching(pattern)  # what is there now; what comes later is not
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        if self.fails:
            raise ConnectionError("the server is away")
        return done


async def until(condition: Callable[[], bool]) -> None:
    """Let all tasks go on until a condition holds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came to hold")


@pytest.fixture
def gated() -> tuple[CacheManager, Gated]:
    """Lend a manager and its backend."""
    backend = Gated()
    return CacheManager(backend), backend


async def settled() -> None:
    """Let all tasks go as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_equal_walks_that_run_at_once_are_one(gated: tuple[CacheManager, Gated]) -> None:
    """Ten writes need two walks: the one that is under way, and one that begins after them all."""
    manager, backend = gated

    @invalidate_cache(manager, "users:*")
    async def write() -> None: ...

    writes = [asyncio.ensure_future(write()) for _ in range(10)]
    await until(lambda: len(backend.gates) == 1)
    await settled()
    assert backend.walks == ["app:users:*"]
    backend.gates[0].set()
    await until(lambda: len(backend.gates) == 2)
    await settled()
    assert [task.done() for task in writes].count(True) == 1
    backend.gates[1].set()
    await asyncio.gather(*writes)
    assert backend.walks == ["app:users:*"] * 2


async def test_p3_a_walk_that_began_before_is_no_good(gated: tuple[CacheManager, Gated]) -> None:
    """Who comes while it is under way waits for the next: what he has written is gone then."""
    manager, backend = gated
    first = asyncio.ensure_future(manager.invalidate("users:*"))
    await until(lambda: len(backend.gates) == 1)
    await manager.set("users:1", "written behind the back of the walk")
    second = asyncio.ensure_future(manager.invalidate("users:*"))
    await settled()
    backend.gates[0].set()
    assert await first
    assert not second.done()
    await until(lambda: len(backend.gates) == 2)
    third = asyncio.ensure_future(manager.invalidate("users:*"))
    backend.gates[1].set()
    assert await second
    assert await manager.exists("users:1") is False
    await until(lambda: len(backend.gates) == 3)
    backend.gates[2].set()
    assert await third


async def test_other_patterns_and_keys_do_not_wait(gated: tuple[CacheManager, Gated]) -> None:
    """Nor do they share."""
    manager, backend = gated
    tasks = [
        asyncio.ensure_future(manager.invalidate(pattern))
        for pattern in ("users:*", "rows:*", "users:1", "users:1")
    ]
    await until(lambda: len(backend.gates) == 4)
    for gate in backend.gates:
        gate.set()
    assert all(await asyncio.gather(*tasks))


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_p6_who_is_cancelled_leaves_the_others_their_walk(
    gated: tuple[CacheManager, Gated], cancelled: int
) -> None:
    """Whether he leads the walk under way, leads the next, or waits for it."""
    manager, backend = gated
    tasks = [asyncio.ensure_future(manager.invalidate("users:*")) for _ in range(3)]
    await until(lambda: len(backend.gates) == 1)
    await settled()
    tasks.pop(cancelled).cancel()
    await settled()
    for number in range(2):
        await until(lambda number=number: len(backend.gates) > number)  # type: ignore[misc]
        backend.gates[number].set()
    assert all(await asyncio.gather(*tasks))
    assert len(backend.walks) == 2


async def test_a_walk_whose_callers_all_left_leaves_no_trace(
    gated: tuple[CacheManager, Gated], caplog: pytest.LogCaptureFixture
) -> None:
    """It fails unheard, and the next begins at once."""
    manager, backend = gated
    tasks = [asyncio.ensure_future(manager.invalidate("users:*")) for _ in range(2)]
    await until(lambda: len(backend.gates) == 1)
    await settled()
    tasks[1].cancel()
    backend.fails = True
    backend.gates[0].set()
    assert not await tasks[0]
    await until(lambda: len(backend.gates) == 2)
    backend.gates[1].set()
    await settled()
    assert "never retrieved" not in caplog.text
    backend.fails = False
    again = asyncio.ensure_future(manager.invalidate("users:*"))
    await until(lambda: len(backend.gates) == 3)
    backend.gates[2].set()
    assert await again


async def test_p6_all_who_shared_a_walk_that_failed_know_it(
    gated: tuple[CacheManager, Gated],
) -> None:
    """Each is told that his invalidation was not done, and it is kept."""
    manager, backend = gated
    backend.fails = True
    tasks = [asyncio.ensure_future(manager.invalidate("users:*")) for _ in range(3)]
    for number in range(2):
        await until(lambda number=number: len(backend.gates) > number)  # type: ignore[misc]
        backend.gates[number].set()
    assert not any(await asyncio.gather(*tasks))
    assert manager.invalidations.pending.is_open


def test_a_walk_that_ended_with_its_loop_is_in_nobodys_way() -> None:
    """Each event loop has walks of its own."""
    backend = Gated()
    manager = CacheManager(backend)

    async def abandoned() -> None:
        tasks = [asyncio.ensure_future(manager.invalidate("users:*")) for _ in range(3)]
        await until(lambda: len(backend.gates) == 1)
        del tasks

    async def whole() -> Removal:
        task = asyncio.ensure_future(manager.invalidate("users:*"))
        await until(lambda: len(backend.gates) == 2)
        backend.gates[1].set()
        return await task

    asyncio.run(abandoned())
    assert asyncio.run(whole())


async def test_p3_a_cached_function_reads_anew_after_a_shared_walk(
    our_manager: CacheManager,
) -> None:
    """Over each backend: after any of the writes that ran at once has returned."""
    state = {"value": 0}

    @cache_response(our_manager, "users")
    async def read() -> int:
        return state["value"]

    @invalidate_cache(our_manager, "users:*")
    async def write() -> None:
        await asyncio.sleep(0)
        state["value"] += 1

    async def write_and_read() -> bool:
        await write()
        before = state["value"]
        return await read() >= before

    await read()
    assert all(await asyncio.gather(*(write_and_read() for _ in range(50))))
