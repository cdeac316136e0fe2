"""Clients of applications in tests, and what the cache says that it did for them."""

import asyncio
from typing import Any

import httpx2
from fastapi import FastAPI

from ..faults import WITHIN

ALICE, BOB = {"authorization": "alice"}, {"authorization": "bob"}


HIT, STORED, NOT_STORED, BYPASS = (
    "app; hit",
    "app; fwd=miss; stored",
    "app; fwd=miss",
    "app; fwd=bypass",
)


async def ask(app: FastAPI, *requests: dict[str, Any], at_once: bool = False) -> list[Any]:
    """Send requests, one after the other or all at once."""
    transport = httpx2.ASGITransport(app)
    async with (
        asyncio.timeout(WITHIN),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        sending = [client.request(**{"method": "GET", "url": "/", **each}) for each in requests]
        if at_once:
            return list(await asyncio.gather(*sending))
        return [await each for each in sending]


async def bodies(app: FastAPI, *requests: dict[str, Any]) -> list[Any]:
    """Return the bodies of the answers."""
    return [response.json() for response in await ask(app, *requests)]


async def statuses(app: FastAPI, *requests: dict[str, Any]) -> list[str]:
    """Return what the cache did for each request."""
    return [response.headers["cache-status"] for response in await ask(app, *requests)]
