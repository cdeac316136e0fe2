"""What the contract of backends is made of: a test on a new backend, and what it says if it fails."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from ..base import CacheBackend
from ..loops import to_its_end
from .asking import insist

WITHIN: Final = 10.0
"""Seconds within which something has to happen."""


class Contract:
    """Tests of one backend."""

    def make_backend(self) -> CacheBackend:
        """Return a new backend."""
        raise NotImplementedError(f"{type(self).__name__} needs a method make_backend(self)")


Self = TypeVar("Self", bound=Contract)


def on_a_backend(
    test: Callable[[Self, CacheBackend], Coroutine[Any, Any, None]],
) -> Callable[[Self], None]:
    """Run a test with a new backend, in an event loop of its own; nothing is left afterwards."""

    def run(self: Self) -> None:
        __tracebackhide__ = True

        async def whole() -> None:
            backend = self.make_backend()
            try:
                await test(self, backend)
            finally:  # what is wrong with these, tests of their own say
                for end in (backend.clear, backend.close):
                    with suppress(Exception):
                        await end()

        to_its_end(whole)

    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    return run


def same(got: object, wanted: object, what: str, remedy: str) -> None:
    """Fail if a method returned something else, or an equal value of another type."""
    __tracebackhide__ = True
    is_same = got == wanted and type(got) is type(wanted)
    insist(is_same, f"{what} returned {got!r} instead of {wanted!r}: {remedy}")


def own(backend: CacheBackend, key: str = "key") -> str:
    """Return a key below the prefix of a backend."""
    return f"{backend.key_prefix}:{key}"


async def is_gone(backend: CacheBackend, key: str) -> bool:
    """Whether there is no entry."""
    return await backend.get(key) is None and not await backend.exists(key)


async def until(holds: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + WITHIN
    while not await holds():
        insist(time.monotonic() < deadline, f"{otherwise} after {WITHIN:g} seconds: let it expire")
        await asyncio.sleep(0.005)
