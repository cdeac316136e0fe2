"""A process of its own for the tests of the near cache. It runs in an installed project.

It begins with a cache and a board, and then reads or writes what all processes of a test share. The
source is on the board, so that it costs nothing to ask, and so are the moments at which
invalidations returned: the monotonic clock is one for all processes of a machine.
"""

import asyncio
import mmap
import os
import struct
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from app.core.cache import (  # type: ignore[import-not-found] # of the project that it runs in
    CacheManager,
    RedisBackend,
    cache_response,
)
from jobs import say, serve  # type: ignore[import-not-found] # of this folder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LONGEST_JOB: Final = 45.0  # seconds


class Board:
    """A file that processes share, of numbers and of moments.

    `source` is the newest version, and `returned` the newest whose invalidation has returned; each
    of these has a moment. When it is `over`, nobody writes any more.
    """

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            shared = memoryview(mmap.mmap(file.fileno(), 0))
        # What is put there is there at once; `struct.pack_into` puts zeros there first.
        self._numbers, self._moments = shared.cast("q"), shared.cast("d")

    @property
    def source(self) -> int:
        return self._numbers[0]

    @property
    def returned(self) -> int:
        return self._numbers[1]

    @property
    def over(self) -> bool:
        return bool(self._numbers[2])

    def end(self) -> None:
        self._numbers[2] = 1

    def write(self) -> int:
        """Make a new version, and return it."""
        version = self.source + 1
        self._numbers[0] = version
        return version

    def note(self, version: int) -> None:
        """Note that the invalidation of what was before this version has returned."""
        self._moments[3 + version] = time.monotonic()
        self._numbers[1] = version

    def moment(self, version: int) -> float:
        """Return when that was."""
        return self._moments[3 + version]


@dataclass(slots=True)
class Seen:
    """What a reader has seen."""

    reads: int = 0
    asked: int = 0
    """How many of its reads were not served from here."""
    late: dict[int, float] = field(default_factory=dict)
    """For how long after a version's invalidation an older one was served, at most."""

    def note(self, board: Board, value: int, returned: int, began: float) -> None:
        """Note a read."""
        self.reads += 1
        for version in range(value + 1, returned + 1):
            if board.moment(version):  # else its invalidation was put off
                self.late[version] = began - board.moment(version)


class Process:
    """What one process has: a cache, and a function that it caches."""

    def __init__(
        self, *, cache: dict[str, Any], prefix: str, board: str, item: str, tags: list[str]
    ) -> None:
        self.manager = CacheManager(RedisBackend(**cache, key_prefix=prefix))
        self.board, self.seen = Board(board), Seen()
        self.key = f"family:{item}"
        look = self.manager.backend.look

        @cache_response(  # type: ignore[untyped-decorator]
            self.manager, "family", key="{item}", tags=tags, shared=True
        )
        async def read(item: str) -> int:
            del item
            return self.board.source

        async def asked(*arguments: Any) -> Any:  # noqa: ANN401 - whatever it is asked
            self.seen.asked += 1
            return await look(*arguments)

        self.manager.backend.look = asked
        self.read: Callable[[], Awaitable[int]] = partial(read, item)
        self.ways: dict[str, Callable[[], Awaitable[object]]] = {
            "delete": lambda: self.manager.invalidate(self.key),
            "tag": lambda: self.manager.invalidate_tags(*tags),
            "pattern": lambda: self.manager.invalidate("family:*"),
        }

    async def is_near(self) -> bool:
        """Read, and return whether that asked nobody."""
        before = self.seen.asked
        await self.read()
        return before == self.seen.asked

    async def bring_near(self) -> None:
        """Read until that asks nobody. There is nothing to wait for, but the reads themselves."""
        for _ in range(1000):
            if await self.is_near():
                return
        raise AssertionError("it is not near after 1,000 reads")

    async def reads(self) -> dict[str, Any]:
        """Read without a pause until nobody writes any more, and the newest version is here."""
        await self.bring_near()
        self.seen = Seen()
        say(event="reading")
        while True:
            is_over, returned, began = self.board.over, self.board.returned, time.monotonic()
            value = await self.read()
            self.seen.note(self.board, value, returned, began)
            if is_over and value == self.board.source:
                break
            await asyncio.sleep(0)
        return {"reads": self.seen.reads, "asked": self.seen.asked, "late": self.seen.late}

    async def writes(self, *, times: int, pause: float, ways: list[str], seed: str) -> int:
        """Write, and read after each write; return how many of these reads were stale."""
        random, stale = Random(seed), 0  # noqa: S311 - no secret
        for number in range(times):
            version = self.board.write()
            if await self.ways[ways[number % len(ways)]]():
                self.board.note(version)
            stale += await self.read() < version
            await asyncio.sleep(random.uniform(0, pause))
            stale += await self.read() < version
        return stale

    async def stays(self, *, seconds: float) -> bool:
        """Read for a while what is near, ask for something else, and return whether it is still."""
        await self.bring_near()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await self.read()
            await asyncio.sleep(0.01)
        await self.manager.get("something else")
        return await self.is_near()

    async def forks(self) -> dict[str, Any]:
        """Fork with entries near, and write on both sides; return what either side saw."""
        await self.bring_near()
        told, tell = os.pipe()
        child = os.fork()  # with entries, a connection and a running loop that are its parent's
        if child == 0:
            status = 1
            try:
                lateness, own = asyncio.run(self._in_a_fork(tell))
                os.write(tell, struct.pack("dd", lateness, own))
                status = 0
            finally:
                os._exit(status)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, os.read, told, 1)
        version = self.board.write()
        done = bool(await self.ways["delete"]())
        self.board.note(version)
        answer = await loop.run_in_executor(None, os.read, told, 16)
        lateness, own = struct.unpack("dd", answer)
        _, status = await loop.run_in_executor(None, os.waitpid, child, 0)
        here = await self.read()
        return {
            "done": done,
            "late": lateness,
            "own": own,
            "status": status,
            "here": [here, self.board.source],
        }

    async def _in_a_fork(self, tell: int) -> tuple[float, float]:
        """Return how late the parent's write was seen, and how many own ones were not at once."""
        os.write(tell, b".")
        lateness = 0.0
        while True:
            returned, began = self.board.returned, time.monotonic()
            value = await self.read()
            if value < returned:
                lateness = began - self.board.moment(returned)
            elif returned > 0:
                break
            await asyncio.sleep(0)
        stale = 0
        for way in self.ways.values():
            version = self.board.write()
            await way()
            self.board.note(version)
            stale += await self.read() != version
        await self.manager.close()
        return lateness, float(stale)


class Jobs:
    """The jobs of one process."""

    def __init__(self) -> None:
        self._process: Process | None = None

    async def do(self, *, job: str, **details: Any) -> object:  # noqa: ANN401 - of the job
        """Do one."""
        if job == "begin":
            self._process = Process(**details)
            return None
        assert self._process is not None
        if job == "end":
            await self._process.manager.clear()
            await self._process.manager.close()
            return None
        async with asyncio.timeout(LONGEST_JOB):
            jobs: dict[str, Callable[..., Awaitable[object]]] = {
                "reads": self._process.reads,
                "writes": self._process.writes,
                "forks": self._process.forks,
                "stays": self._process.stays,
                "over": self._over,
            }
            return await jobs[job](**details)

    async def _over(self) -> None:
        assert self._process is not None
        self._process.board.end()


if __name__ == "__main__":
    asyncio.run(serve(Jobs().do))
