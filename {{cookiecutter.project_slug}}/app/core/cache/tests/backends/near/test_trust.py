"""Nothing is served for longer than its connection is trusted (promise P3)."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import pytest
from redis import Redis

from .... import (
    CacheManager,
)
from ....backends.wire.tracking import TRUST_SECONDS
from ....errors import UnavailableError
from ....testing.redis_server import RedisServer
from ...faults import WITHIN, at_once, eventually, moments
from ...proxy.fault_proxy import Fault
from .scene import (
    KEY,
    Own,
    Source,
    Wire,
    backend_of,
    brought_near,
    connection_of,
    is_of,
    near_of,
)

FAULTS: Final = ("delayed", "slow", "silenced", "reset", "killed", "stopped", "held up")


@asynccontextmanager
async def harmed(
    fault: str, manager: CacheManager, wire: Wire, server: RedisServer, client: Redis
) -> AsyncIterator[None]:
    """Keep messages from a manager, in one of these ways."""
    match fault:
        case "delayed":
            wire.inject(Fault("delay", seconds=5))
        case "slow":
            wire.inject(Fault("delay", seconds=2))
        case "silenced":
            wire.silence()
        case "reset":
            wire.drop()
        case "killed":
            for each in trackers(client):
                client.client_kill_filter(_id=each)
        case "stopped":
            server.pause()
        case "held up":
            until = connection_of(manager).trusted_until + 0.01
            while time.monotonic() < until:  # as a function does that computes for long
                pass
    try:
        yield
    finally:
        if fault == "stopped":
            server.resume()
        wire.heal()


def trackers(client: Redis) -> list[str]:
    """Return the connections that are told of changes."""
    found: list[dict[str, str]] = client.client_list()
    return [each["id"] for each in found if "t" in each["flags"]]


@pytest.mark.parametrize("fault", FAULTS)
async def test_p3_nothing_is_served_for_longer_than_it_is_trusted(
    hasty: CacheManager,
    manager: CacheManager,
    other: CacheManager,
    wire: Wire,
    source: Source,
    redis_server: RedisServer,
    redis_client: Redis,
    fault: str,
) -> None:
    """Whatever keeps messages away, a second after another process's write nobody has the old one."""
    if fault == "slow":  # and not given up
        hasty = manager
    own = Own(hasty, source)
    assert await brought_near(own.version, wire) == 1
    if fault == "held up":
        source.version = 2
        redis_client.unlink(f"{hasty.key_prefix}:{KEY}")
    began = time.monotonic()
    last_old = began
    async with harmed(fault, hasty, wire, redis_server, redis_client):
        if fault not in {"stopped", "held up"}:
            source.version = 2
            await other.delete(KEY)
            began = time.monotonic()
        source.version = 2
        async for asked in moments(began + 1.2 * TRUST_SECONDS):
            if await own.version() == 1:
                last_old = asked
    assert last_old < began + TRUST_SECONDS
    if fault == "held up":
        assert last_old == began
    await eventually(lambda: is_of(partial(own.read, 1), source))


async def test_p3_a_silent_death_is_found_by_those_who_read(
    hasty: CacheManager, wire: Wire, source: Source
) -> None:
    """Near hits ask for a proof in the background: nobody waits for it, and it does not come."""
    own = Own(hasty, source)
    assert await brought_near(own.version, wire) == 1
    line, asked = connection_of(hasty), wire.asked.total()
    wire.silence()
    async for now in moments(time.monotonic() + WITHIN):
        if line.is_over:
            break
        if len(near_of(hasty)) and now < line.trusted_until - 0.01:
            assert at_once(own.version()) == 1
    assert line.is_over
    assert len(near_of(hasty)) == 0
    assert wire.asked.total() - asked <= 4
    wire.heal()
    assert await brought_near(own.version, wire) == 1


async def test_p3_who_reads_keeps_it_near(
    manager: CacheManager, wire: Wire, source: Source
) -> None:
    """For three times as long as it is trusted without a proof, at the cost of a few commands."""
    own = Own(manager, source)
    assert await brought_near(own.version, wire) == 1
    asked = wire.asked.copy()
    async for _ in moments(time.monotonic() + 3 * TRUST_SECONDS):
        assert at_once(own.version()) == 1
    more = wire.asked - asked
    assert more[b"GET"] == 0
    assert 2 <= more[b"PING"] <= 7
    assert source.runs == 1


async def test_p3_what_nobody_read_for_long_is_trusted_again(
    manager: CacheManager, wire: Wire, source: Source
) -> None:
    """After a pause the first reader asks Redis, and the next ones need not."""
    own = Own(manager, source)
    assert await brought_near(own.version, wire) == 1
    line = connection_of(manager)
    await eventually(lambda: time.monotonic() > line.trusted_until)
    before = wire.asked[b"GET"]
    assert await own.version() == 1
    assert wire.asked[b"GET"] > before
    assert await brought_near(own.version, wire) == 1
    assert source.runs == 1


@pytest.mark.parametrize("then", ["it hears", "it is silenced"])
async def test_p3_an_open_breaker_does_not_make_it_serve_what_it_cannot_prove(
    hasty: CacheManager, other: CacheManager, wire: Wire, source: Source, then: str
) -> None:
    """Where only the other connections fail, and where then the one that reads does."""
    own = Own(hasty, source)
    assert await brought_near(own.version, wire) == 1
    wire.inject(Fault("reset", command=b"SET"))
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await hasty.backend.acquire(f"{hasty.key_prefix}:another", b"lease", 1000)
    assert not len(hasty.invalidations.pending)
    topology: Any = backend_of(hasty)._topology
    assert topology._server.breaker.is_open
    if then == "it is silenced":
        wire.silence()
    source.version = 2
    await other.delete(KEY)
    began = last_old = time.monotonic()
    async for asked in moments(began + 1.2 * TRUST_SECONDS):
        if await own.version() == 1:
            last_old = asked
    assert last_old < began + TRUST_SECONDS
