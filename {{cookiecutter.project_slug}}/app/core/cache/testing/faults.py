"""A backend that fails on demand."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from ..base import CacheBackend

READS: Final = (
    *("get", "exists", "get_bytes", "get_many_bytes", "look", "nonces_now", "ttl_ms"),
    *("wait_for_change", "health_check"),
)
STORES: Final = (
    *("set", "set_bytes", "set_json", "acquire", "replace", "renew", "release", "nonces"),
    "increment",
)
REMOVALS: Final = ("delete", "delete_many", "delete_matching", "clear", "invalidate_tag_keys")
_METHODS: Final = (*READS, *STORES, *REMOVALS)
_FAST: Final = ("read_now", "read_nowait")
"""Ways to look without `look`; a backend need not have them."""

_NONE: Final = {"get", "get_bytes", "ttl_ms", "wait_for_change", "acquire", "increment"}
_MANY: Final = {"get_many_bytes", "nonces_now", "nonces"}


class BackendFaultError(ConnectionError):
    """What a backend raises that was told to fail."""


class Faults:
    """Lets the methods of a backend fail: raise, hang, or return nothing.

    `Faults.READS`, `STORES` and `REMOVALS` are the methods of one purpose. Without a name, all
    methods fail. A method that calls another one of its backend fails with that.

        faults.raises(*faults.READS)
        faults.hangs("replace")
        faults.heal()
    """

    READS, STORES, REMOVALS = READS, STORES, REMOVALS

    def __init__(self, backend: CacheBackend) -> None:
        self._backend: Any = backend
        self._lock = threading.Lock()
        self._hanging: list[asyncio.Future[None]] = []
        self.calls: Counter[str] = Counter()
        """How often each method was called while it failed."""

    @property
    def hanging(self) -> int:
        """How many calls hang now."""
        return len(self._hanging)

    def raises(self, *methods: str) -> None:
        """Let methods raise `BackendFaultError`, a `ConnectionError`."""
        self._replace(methods, self._raise)

    def hangs(self, *methods: str) -> None:
        """Let methods wait until `heal`, and then do their work."""
        self._replace(methods, self._hang)

    def returns_nothing(self, *methods: str) -> None:
        """Let methods find nothing, and say that nothing was done."""
        self._replace(methods, self._nothing)

    def heal(self) -> None:
        """Let all methods work again; calls that hang go on."""
        for name in (*_METHODS, *_FAST):
            vars(self._backend).pop(name, None)
        with self._lock:
            hanging, self._hanging = self._hanging, []
        for future in hanging:
            with suppress(RuntimeError):  # its event loop is closed
                future.get_loop().call_soon_threadsafe(_end, future)

    def _replace(self, methods: tuple[str, ...], fault: Callable[..., Awaitable[Any]]) -> None:
        unknown = [name for name in methods if name not in _METHODS]
        if unknown:
            raise ValueError(
                f"a backend has no method {', '.join(map(repr, unknown))} that can fail; give some "
                f"of {', '.join(_METHODS)}"
            )
        for name in methods or _METHODS:
            setattr(self._backend, name, partial(self._counted, fault, name))
            for fast in _FAST if name == "look" else ():
                setattr(self._backend, fast, _no_fast_way)

    async def _counted(self, fault: Callable[..., Any], name: str, *args: Any, **more: Any) -> Any:
        self.calls[name] += 1
        return await fault(name, *args, **more)

    async def _raise(self, name: str, *_args: Any, **_more: Any) -> Any:
        raise BackendFaultError(f"{name} fails, because this test wants it to")

    async def _hang(self, name: str, *args: Any, **more: Any) -> Any:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._hanging.append(future)
        try:
            await future
        finally:
            with self._lock, suppress(ValueError):
                self._hanging.remove(future)
        return await getattr(type(self._backend), name)(self._backend, *args, **more)

    async def _nothing(self, name: str, *args: Any, **_more: Any) -> Any:
        if name == "look":
            return None, tuple([None for _ in args[1:2] for _ in args[1]])
        if name in _MANY:
            return tuple([None for _ in args[0]])
        if name in _NONE:
            return None
        return 0 if name == "delete_many" else False


def _no_fast_way(*_args: Any, **_more: Any) -> None:
    """Return that there is none."""


def _end(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
