"""A connection whose replies have gone astray gives nobody a wrong value (promise P9)."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.core.cache import CacheManager, RedisBackend, cache_response
from tests.cache.conftest import redis_backend
from tests.redis_server import RedisServer


class Doubling:
    """A proxy in front of Redis that answers one GET twice, the second time to the next question.

    From then on every reply on that connection is the answer to the question before.
    """

    def __init__(self, server: RedisServer) -> None:
        self.connections = 0
        self.doubled = 0
        self.armed = False
        self._server = server

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listen on a port of loopback, and return it."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as proxy:
            yield proxy.sockets[0].getsockname()[1]

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        self.connections += 1
        replies, questions = await asyncio.open_connection(self._server.host, self._server.port)
        late: deque[bytes] = deque()
        try:
            while question := await client.read(65536):
                questions.write(question)
                late.append(await replies.read(65536))
                if self.armed and b"GET" in question:
                    self.armed = False
                    self.doubled += 1
                    late.append(late[-1])
                answers.write(late.popleft())
        finally:
            for writer in (answers, questions):
                writer.close()


@pytest.fixture
async def doubling(redis_server: RedisServer) -> AsyncIterator[tuple[Doubling, CacheManager]]:
    """Lend the proxy and a manager that goes through it, over one connection."""
    proxy = Doubling(redis_server)
    async with proxy.listening() as port:
        direct = redis_backend(redis_server)
        manager = CacheManager(
            RedisBackend(
                host="127.0.0.1",
                port=port,
                db=redis_server.db,
                password=redis_server.password,
                max_connections=1,
                timeout=2,
                key_prefix=direct.key_prefix,
            )
        )
        yield proxy, manager
        await manager.close()
        await direct.clear()
        await direct.close()


async def test_p9_a_doubled_reply_gives_nobody_a_wrong_value(
    doubling: tuple[Doubling, CacheManager],
) -> None:
    """The first answer to another question is noticed, its connection dropped, and asked again."""
    proxy, manager = doubling
    runs: list[int] = []

    @cache_response(manager, "data")
    async def function(number: int) -> dict[str, Any]:
        runs.append(number)
        return {"number": number}

    numbers = list(range(10))
    for number in numbers:
        await function(number)
    proxy.armed = True
    before = proxy.connections
    for number in numbers * 5:
        assert await function(number) == {"number": number}
    assert proxy.doubled == 1
    assert proxy.connections == before + 1
    assert len(runs) == 10
