"""A client that keeps connections busy, in a process of its own.

    python -m benchmarks.load PORT CONNECTIONS SECONDS ENDPOINT PATHS

Each connection asks for /ENDPOINT/0 to /ENDPOINT/PATHS-1 in turn, one after the other.
It prints how many answers a second there were. Whatever is no answer of status 200 ends it.
"""

import asyncio
import itertools
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

_WARM_SECONDS = 0.2
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One connection, which is kept alive. `failed` is told why it cannot go on."""

    def __init__(self, questions: Iterator[bytes], failed: "asyncio.Future[None]") -> None:
        self.answers = 0
        self._questions, self._failed = questions, failed
        self._received, self._expected = b"", 0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Ask again when the answer is there."""
        self._received += data
        if not self._expected:
            self._expected = self._size()
        if self._expected and len(self._received) >= self._expected:
            self.answers += 1
            self._received, self._expected = b"", 0
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail: the server has closed the connection."""
        self._fail(exc or ConnectionResetError("the server hung up"))

    def _ask(self) -> None:
        self._transport.write(next(self._questions))

    def _size(self) -> int:
        """Return how many bytes the whole answer has, or 0 if its head is not there yet."""
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return 0
        length = _LENGTH.search(self._received, 0, end + 2)
        if not self._received.startswith(b"HTTP/1.1 200 ") or length is None:
            self._fail(RuntimeError(f"the server answers {self._received[:100]!r}"))
            return 0
        return end + 4 + int(length[1])

    def _fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)


async def rate(port: int, connections: int, seconds: float, endpoint: str, paths: int) -> float:
    """Return how many answers a second there were."""
    questions = [
        f"GET /{endpoint}/{number} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode()
        for number in range(paths)
    ]
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()
    busy = [Connection(itertools.cycle(questions), failed) for _ in range(connections)]
    for each in busy:
        # mypy cannot type the default of a lambda's parameter.
        await loop.create_connection(lambda each=each: each, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.wait([failed], timeout=_WARM_SECONDS)
    before, began = sum(each.answers for each in busy), time.perf_counter()
    await asyncio.wait([failed], timeout=seconds)
    after, took = sum(each.answers for each in busy), time.perf_counter() - began
    if failed.done():
        failed.result()
    return (after - before) / took


if __name__ == "__main__":
    import uvloop

    port, connections, seconds, endpoint, paths = sys.argv[1:]
    print(uvloop.run(rate(int(port), int(connections), float(seconds), endpoint, int(paths))))
