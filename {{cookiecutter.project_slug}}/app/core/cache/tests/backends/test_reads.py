"""GETs over the connection that all reads of an event loop share: to each his own reply."""

import asyncio
import uuid
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from ...backends.wire.pipeline import LARGE_BYTES
from ...backends.wire.requests import BrokenConnectionError
from ...errors import UnansweredError
from ...stored.record import Record, is_record_of
from ...testing.redis_server import RedisServer
from ..proxy.fault_proxy import Fault, FaultProxy
from .callers import (
    FOREVER,
    LOOPS,
    SOON,
    Caller,
    Noting,
    all_of,
    get_of,
    line_to,
)


@pytest.fixture(scope="module", params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run these tests on the loop that the tests have, and on the one that the service has."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture
def keys(redis_client: Redis, prefix: str) -> list[str]:
    """Lend keys, of which every third has a record and the next one something else."""
    keys = [f"{prefix}:{number}" for number in range(30)]
    for key in keys[::3]:
        redis_client.set(key, record(key))
    for key in keys[1::3]:
        redis_client.set(key, f"by hand {key}")
    return keys


@pytest.fixture
def prefix(redis_client: Redis) -> Iterator[str]:
    """Lend a prefix, and remove what is below it."""
    prefix = f"test-{uuid.uuid4().hex}"
    yield prefix
    for key in redis_client.scan_iter(f"{prefix}:*"):
        redis_client.unlink(key)


def record(key: str) -> bytes:
    """Return a record of this key."""
    return Record(b"value", key.encode()).to_bytes(key)


async def test_a_look_gets_what_stands_there(
    caller: Caller, redis_client: Redis, keys: list[str]
) -> None:
    """Among questions, each its own; there is none before the connection is open, and after its end."""
    assert caller.multiplexed.read_nowait(get_of("key"), None) is None
    await caller.ask(("PING",))
    looks = [caller.look(key) for key in keys]
    question = asyncio.create_task(caller.ask(("ECHO", "between")))
    looks += [caller.look(key) for key in keys]
    assert await all_of(*looks) == [redis_client.get(key) for key in keys] * 2
    assert await question == [b"between"]
    assert caller.worked
    await caller.multiplexed.close()
    assert caller.multiplexed.read_nowait(get_of("key"), None) is None


async def test_looks_of_one_turn_leave_together(caller: Caller, prefix: str) -> None:
    """Like questions."""
    await caller.ask(("PING",))
    transport = caller.multiplexed._transport
    assert transport is not None
    caller.multiplexed._transport = noting = Noting(transport)  # type: ignore[assignment]
    await all_of(*(caller.look(f"{prefix}:{n}") for n in range(30)))
    assert noting.writes <= 2
    await all_of(*(caller.look(f"{prefix}:{n}") for n in range(1000)))
    assert noting.writes <= 2 + 2 + 1000 / 32


async def test_an_error_is_what_a_look_gets(
    caller: Caller, redis_client: Redis, prefix: str
) -> None:
    """Whoever gets it asks once more; it does not say that anything works."""
    await caller.ask(("PING",))
    redis_client.rpush(f"{prefix}:list", "item")
    assert isinstance(await caller.look(f"{prefix}:list"), ResponseError)
    assert caller.worked == []
    assert await caller.look(f"{prefix}:none") is None
    assert caller.worked == ["at once"]


async def test_a_large_answer_is_noted(caller: Caller, redis_client: Redis, prefix: str) -> None:
    """Its key goes another way next time."""
    await caller.ask(("PING",))
    for size in (LARGE_BYTES, LARGE_BYTES + 1):
        redis_client.set(f"{prefix}:{size}", "x" * size)
        assert len(await caller.look(f"{prefix}:{size}")) == size
    assert caller.large == [f"{prefix}:{LARGE_BYTES + 1}".encode()]


async def test_p5_a_cancelled_look_disturbs_nobody(caller: Caller, keys: list[str]) -> None:
    """The reply is dropped when it comes."""
    await caller.ask(("PING",))
    looks = [caller.look(key) for key in keys]
    for look in looks[1::3]:
        look.cancel()
    found = await all_of(*looks[::3])
    for key, data in zip(keys[::3], found, strict=True):
        assert is_record_of(key, data)
    assert await all_of(*looks[2::3]) == [None] * 10
    assert not caller.multiplexed.is_over


async def test_p9_a_record_of_another_key_is_no_answer(
    caller: Caller, redis_client: Redis, prefix: str
) -> None:
    """Whoever gets it may ask again, in the time that he has left; it disturbs nobody else."""
    await caller.ask(("PING",))
    redis_client.set(f"{prefix}:moved", record(f"{prefix}:other"))
    looks = [caller.look(f"{prefix}:{name}") for name in ("none", "moved", "more")]
    question = asyncio.create_task(caller.ask(("ECHO", "after it")))
    none, moved, more = await all_of(*looks)
    assert (none, more) == (None, None)
    assert isinstance(moved, UnansweredError)
    assert 0 < moved.deadline - asyncio.get_running_loop().time() <= FOREVER
    assert await question == [b"after it"]
    assert caller.failures == []
    assert not caller.multiplexed.is_over


async def test_p9_a_connection_that_is_out_of_step_is_found_by_who_asks_again(
    caller: Caller, redis_client: Redis, prefix: str, proxy: FaultProxy
) -> None:
    """A GET that gets another key's record is asked again by a request, which sees it."""
    keys = [f"{prefix}:{name}" for name in ("one", "other")]
    for key in keys:
        redis_client.set(key, record(key))
    await caller.ask(("PING",))
    proxy.inject(Fault("shift", command=b"GET", times=1))
    assert await caller.look(keys[0], None) == record_at(redis_client, keys[0])
    with pytest.raises(UnansweredError):
        await caller.look(keys[1], None)
    with pytest.raises(BrokenConnectionError):
        await caller.ask(("GET", keys[1]))
    assert len(caller.failures) == 1
    assert caller.multiplexed.is_over


def record_at(client: Redis, key: str) -> object:
    """Return what stands at a key."""
    return client.get(key)


async def test_p5_a_late_reply_fails_all_looks(
    proxy: FaultProxy, redis_server: RedisServer
) -> None:
    """At the end of the budget; there is no time to ask again."""
    async with line_to(redis_server, proxy.host, proxy.port, budget=SOON) as caller:
        await caller.ask(("PING",))
        proxy.silence()
        looks = await all_of(*(caller.look(str(number)) for number in range(10)))
        assert [type(look) for look in looks] == [TimeoutError] * 10
        assert [type(failure) for failure in caller.failures] == [TimeoutError]
        proxy.heal()


@pytest.mark.parametrize("when", ["after an invalidation", "a second later"])
async def test_p3_a_look_proves_that_replies_are_in_step(
    caller: Caller, redis_client: Redis, proxy: FaultProxy, prefix: str, when: str
) -> None:
    """Else it could get what was read before an invalidation, and that for long."""
    key = f"{prefix}:key"
    redis_client.set(key, record(key))
    await caller.ask(("PING",))
    proxy.inject(Fault("shift", command=b"GET", times=1))
    assert await caller.look(key) == await caller.look(key)
    if "second" in when:
        caller.multiplexed._proven_until -= 1.1
    with pytest.raises(UnansweredError):
        await caller.look(key, since=object() if "invalidation" in when else None)
    assert len(caller.failures) == 1
