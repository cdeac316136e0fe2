"""What the tests of the fence and of tags share: a source that can be held up."""

import asyncio
from typing import Any

from ... import CacheManager, cache_response


class Source:
    """A source that can be held up while it is read, and counts its reads."""

    def __init__(self) -> None:
        self.value = "old"
        self.reads = 0
        self.reading = asyncio.Event()
        self.go_on = asyncio.Event()

    def cached(self, manager: CacheManager, *, tags: bool = True) -> Any:
        """Return a cached function that reads it."""
        names = ["value:{number}", "all"] if tags else []

        @cache_response(manager, "source", key="value:{number}", ignore=("source",), tags=names)
        async def read(number: int, source: object = None) -> str:
            value = self.value
            self.reads += 1
            self.reading.set()
            await self.go_on.wait()
            return value

        return read
