"""What somebody else has put in the place of a tag's nonce counts as none (promise P9)."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis import Redis

from ... import CacheManager, cache_response
from ..conftest import lent, new_backend
from ..forging import no_outage

NONCE = b"0123456789abcdef"
FORGED: dict[str, bytes | None] = {
    "20 MB": b"a" * 20_000_000,
    "nothing": b"",
    "a digit less": NONCE[:-1],
    "a digit more": NONCE + b"0",
    "a line": NONCE[:-1] + b"\n",
    "other letters": NONCE.upper(),
    "other bytes": b"\xff" * 16,
    "a list": None,
}


@pytest.fixture(params=["redis", "near"])
async def own(request: pytest.FixtureRequest) -> AsyncIterator[CacheManager]:
    """Lend a manager over Redis, without and with a near cache."""
    async with lent(CacheManager(new_backend(request))) as manager:
        yield manager


class Counted:
    """Ways to a value that has the tag `t`, and how often it was computed."""

    def __init__(self, manager: CacheManager) -> None:
        self.manager, self.runs = manager, 0

    def compute(self) -> int:
        """Compute it."""
        self.runs += 1
        return self.runs

    def named(self) -> Callable[[], Awaitable[int]]:
        """Return a function that names the tag."""

        @cache_response(self.manager, "it", key="one", tags=["t"])
        async def it() -> int:
            return self.compute()

        return it

    def derived(self) -> Callable[[], Awaitable[int]]:
        """Return one that derives it."""

        @cache_response(self.manager, "it", key="one", tags=[lambda _: ["t"]])
        async def it() -> int:
            return self.compute()

        return it

    def made(self) -> Callable[[], Awaitable[int]]:
        """Return what asks `get_or_set`."""
        return lambda: self.manager.get_or_set("it:one", self.compute, tags=["t"])


@pytest.mark.parametrize("place", ["~tag:t", "~tags"])
@pytest.mark.parametrize("forged", FORGED.values(), ids=list(FORGED))
@pytest.mark.parametrize("make", [Counted.named, Counted.derived, Counted.made])
async def test_p9_what_is_no_nonce_is_replaced(
    own: CacheManager,
    redis_client: Redis,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[Counted], Callable[[], Awaitable[int]]],
    forged: bytes | None,
    place: str,
) -> None:
    """At once, without being read; what has the tag is cached again, and can be invalidated."""
    counted = Counted(own)
    ask = make(counted)
    assert [await ask(), await ask()] == [1, 1]
    caplog.clear()  # it captures what counts
    key = f"{own.key_prefix}:{place}"
    redis_client.delete(key)
    if forged is None:
        redis_client.lpush(key, "a")
    else:
        redis_client.set(key, forged)
    before = sent_by(redis_client)
    if own.backend.near is not None:
        own.backend.near.changed([key])
    asked = [await ask() for _ in range(5)]
    assert asked == [asked[0]] * 5
    assert asked[0] <= 2
    assert await own.get("it:one") in (asked[0], None)
    assert sent_by(redis_client) - before < 100_000
    assert await own.invalidate_tags("t")
    assert [await ask(), await ask()] == [asked[0] + 1] * 2
    assert caplog.records == []
    assert no_outage(caplog)


def sent_by(client: Redis) -> int:
    """Return how many bytes a server has sent so far."""
    return int(client.info("stats")["total_net_output_bytes"])
