"""What tests of connections share."""

from collections.abc import AsyncIterator, Callable

import pytest
from redis import Redis

from ...testing.redis_server import RedisServer
from ..proxy.fault_proxy import FaultProxy
from .callers import Caller, line_to


@pytest.fixture
async def caller(proxy: FaultProxy, redis_server: RedisServer) -> AsyncIterator[Caller]:
    """Lend a connection through the proxy."""
    async with line_to(redis_server, proxy.host, proxy.port) as caller:
        yield caller


@pytest.fixture
def ours(redis_client: Redis) -> Callable[[], set[str]]:
    """Return what tells the connections that Redis has now and did not have before."""
    before = {client["id"] for client in redis_client.client_list()}
    return lambda: {client["id"] for client in redis_client.client_list()} - before
