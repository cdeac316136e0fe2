"""A real Redis for one test: all keys lie below a prefix of the test's own."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final, NoReturn

import pytest

from ..base import BytesBackend, CacheBackend, Nonces
from ..errors import CacheConfigError
from ..keys import KeyPattern

PATIENT: Final = 5.0
"""Seconds that an operation may take: a busy machine is no reason for a test to fail."""

_WHAT_TO_DO: Final = (
    "set TEST_REDIS_URL=redis://[:password@]host[:port][/db], or override the fixture "
    "cache_redis_url in conftest.py with one that returns such a URL"
)


def no_url() -> NoReturn:
    """Fail: nobody has said where Redis is."""
    pytest.fail(
        f"redis_cache needs a Redis, and TEST_REDIS_URL is not set: {_WHAT_TO_DO}", pytrace=False
    )


class RealRedis:
    """The Redis at a URL, and a prefix there that nobody else has."""

    def __init__(self, url: str) -> None:
        from ..settings import CacheSettings, backend_of  # noqa: PLC0415 - memory needs no settings

        self.prefix = f"test-{secrets.token_hex(8)}"
        options: Any = {"cache_key_prefix": self.prefix, "cache_operation_timeout": PATIENT}
        try:
            settings = CacheSettings(cache_backend="redis", redis_url=url, **options)
            self._backend = backend_of(settings)
        except CacheConfigError as error:
            why = str(error)  # which shows no password, as the traceback would
        else:
            return
        pytest.fail(f"cache_redis_url is no URL of a Redis: {why}; {_WHAT_TO_DO}", pytrace=False)

    async def insist(self) -> None:
        """Fail if no Redis answers."""
        if not await self._ended(self._backend.health_check()):
            pytest.fail(
                f"redis_cache: no Redis answers at {self._backend!r}: start it, or {_WHAT_TO_DO}",
                pytrace=False,
            )

    async def remove(self) -> None:
        """Remove all keys below the prefix."""
        await self._ended(self._backend.clear())

    async def _ended(self, work: Awaitable[bool]) -> bool:
        try:
            return await work
        finally:
            await self._backend.close()

    def backend_for(self, key_prefix: str) -> CacheBackend:
        """Return a backend for a manager whose keys begin with `key_prefix`."""
        return Below(self._backend, self.prefix, key_prefix)


class Below(BytesBackend):
    """A backend whose keys lie below one more prefix in another backend.

    Reads go by `look`: that does not compare the key that a record names with the one it lies at.
    """

    def __init__(self, inner: CacheBackend, prefix: str, key_prefix: str) -> None:
        self._inner, self.prefix, self.key_prefix = inner, prefix, key_prefix
        self.atomic, self.connects = inner.atomic, inner.connects

    def __repr__(self) -> str:
        return f"{self._inner!r} below {self.prefix!r}"

    def _at(self, key: str) -> str:
        return f"{self.prefix}:{key}"

    def _all(self, keys: Sequence[str]) -> list[str]:
        return [*map(self._at, keys)]

    async def get_bytes(self, key: str) -> bytes | None:
        return (await self.look(key))[0]

    async def get_many_bytes(self, keys: Sequence[str]) -> Nonces:
        return tuple(await asyncio.gather(*map(self.get_bytes, keys)))

    async def set_bytes(self, key: str, data: bytes, expire: int | timedelta | None = None) -> bool:
        return await self._inner.set_bytes(self._at(key), data, expire)

    async def exists(self, key: str) -> bool:
        return await self._inner.exists(self._at(key))

    async def delete(self, key: str) -> bool:
        return await self._inner.delete(self._at(key))

    async def delete_many(self, keys: Sequence[str]) -> int:
        return await self._inner.delete_many(self._all(keys))

    async def delete_matching(self, pattern: KeyPattern) -> int:
        first, *rest = pattern.literals
        return await self._inner.delete_matching(KeyPattern((self._at(first), *rest)))

    async def clear(self) -> bool:
        return await self.delete_matching(KeyPattern((f"{self.key_prefix}:", ""))) is not False

    async def close(self) -> None:
        await self._inner.close()

    async def health_check(self) -> bool:
        return await self._inner.health_check()

    def on_recovery(self, step: Callable[[], Awaitable[None]], /) -> bool:
        return self._inner.on_recovery(step)

    def on_takeover(self, step: Callable[[], None], /) -> bool:
        return self._inner.on_takeover(step)

    async def look(
        self, key: str, tags: Sequence[str] = (), deadline: float | None = None
    ) -> tuple[bytes | None, Nonces]:
        return await self._inner.look(self._at(key), self._all(tags), deadline)

    async def ttl_ms(self, key: str, /) -> int | None:
        return await self._inner.ttl_ms(self._at(key))

    async def increment(self, key: str, by: int, ms: int) -> int | None:
        return await self._inner.increment(self._at(key), by, ms)

    async def scan(self, pattern: KeyPattern, /) -> AsyncIterator[Sequence[str]]:
        first, *rest = pattern.literals
        async for keys in self._inner.scan(KeyPattern((self._at(first), *rest))):
            yield [key.removeprefix(f"{self.prefix}:") for key in keys]

    async def wait_for_change(self, key: str, standing: bytes, /) -> bytes | None:
        return await self._inner.wait_for_change(self._at(key), standing)

    async def acquire(self, key: str, data: bytes, ms: int) -> bytes | None:
        return await self._inner.acquire(self._at(key), data, ms)

    async def replace(self, key: str, over: bytes, data: bytes, ms: int) -> bool:
        return await self._inner.replace(self._at(key), over, data, ms)

    async def renew(self, key: str, over: bytes, ms: int) -> bool:
        return await self._inner.renew(self._at(key), over, ms)

    async def release(self, key: str, over: bytes) -> bool:
        return await self._inner.release(self._at(key), over)

    async def nonces_now(self, tags: Sequence[str]) -> Nonces:
        return await self._inner.nonces_now(self._all(tags))

    async def nonces(self, tags: Sequence[str], ms: int) -> Nonces:
        return await self._inner.nonces(self._all(tags), ms)

    async def invalidate_tag_keys(self, tags: Sequence[str], ms: int) -> bool:
        return await self._inner.invalidate_tag_keys(self._all(tags), ms)
