"""The steps of the fence at a backend, as tests to inherit: bytes, leases and tags."""

import asyncio
from typing import Final

from ..base import CacheBackend, is_nonce
from .asking import insist
from .trying import WITHIN, Contract, on_a_backend, own, same

LONG_MS: Final = 60_000
BYTES: Final = (b"", b"null", b"lease/1 x", bytes(range(256)))


class StepsContract(Contract):
    """What the fence relies on. The defaults of `CacheBackend` keep it on top of the six methods."""

    @on_a_backend
    async def test_bytes_come_back(self, backend: CacheBackend) -> None:
        """All of them, one key or several, in order; the defaults keep them in `set` and `get`."""
        for data in BYTES:
            same(await backend.set_bytes(own(backend), data), True, "set_bytes", "it is stored")
            got = await backend.get_bytes(own(backend))
            same(got, data, f"get_bytes of {data!r}", "return the bytes of set_bytes; get the text")
        keys = [own(backend, "none"), own(backend)]
        got_all = await backend.get_many_bytes(keys)
        same(got_all, (None, BYTES[-1]), "get_many_bytes", "return one for each key, in order")
        await backend.set_json(own(backend), b'{"a":[1]}')
        same(await backend.get(own(backend)), {"a": [1]}, "get after set_json", "it is a value")
        removed = await backend.delete_many(keys)
        same(removed, 1, "delete_many of a key and of a missing one", "count what was there")

    @on_a_backend
    async def test_a_look_finds_bytes_and_nonces(self, backend: CacheBackend) -> None:
        """Those of the key, then one for each tag; `read_now` finds the same, or `None`."""
        key, tags = own(backend), [own(backend, "~tag:1"), own(backend, "~tag:2")]
        same(await backend.look(key, tags), (None, (None, None)), "look at nothing", "find None")
        await backend.set_bytes(key, b"data", 60)
        [nonce, other] = await backend.nonces(tags, LONG_MS)
        await backend.delete(tags[1])
        found = (b"data", (nonce, None))
        same(await backend.look(key, tags), found, "look", "return the key's bytes and the nonces")
        now = backend.read_now(key, tags)
        insist(now in (None, found), f"read_now returned {now!r}: return {found!r}, or None")
        same(await backend.nonces_now(tags), found[1], "nonces_now", "return one for each tag")
        insist(nonce != other, f"nonces of two tags are equal, {nonce!r}: make each at random")

    @on_a_backend
    async def test_tags_get_new_nonces(self, backend: CacheBackend) -> None:
        """Where there is one, it stays until it is invalidated."""
        tags = [own(backend, "~tag:1"), own(backend, "~tag:2")]
        first = await backend.nonces(tags, LONG_MS)
        insist(all(map(is_nonce, first)), f"nonces returned {first!r}: make them by new_nonce()")
        same(await backend.nonces(tags, LONG_MS), first, "nonces, asked again", "keep them")
        done = await backend.invalidate_tag_keys(tags[:1], LONG_MS)
        same(done, True, "invalidate_tag_keys", "say that it was done")
        second = await backend.nonces_now(tags)
        insist(
            second[0] != first[0], f"an invalidated tag kept its nonce {first[0]!r}: set another"
        )
        same(second[1], first[1], "nonces_now of another tag", "leave other tags")

    @on_a_backend
    async def test_a_lease_is_acquired_once(self, backend: CacheBackend) -> None:
        """A free key is taken; a key that is not free stays, and its bytes are returned."""
        key = own(backend)
        same(await backend.acquire(key, b"mine", LONG_MS), None, "acquire", "None: it was free")
        standing = await backend.acquire(key, b"other", LONG_MS)
        same(standing, b"mine", "acquire of a key that is not free", "return its bytes")
        same(await backend.get_bytes(key), b"mine", "get_bytes after that", "leave them there")
        await backend.delete(key)
        if backend.atomic:
            many = [backend.acquire(key, b"%d" % number, LONG_MS) for number in range(20)]
            free = (await asyncio.gather(*many)).count(None)
            same(free, 1, "the number of 20 callers who acquired one key", "make it one step")

    @on_a_backend
    async def test_bytes_are_replaced_by_their_beginning(self, backend: CacheBackend) -> None:
        """`replace`, `renew` and `release` act if the key's bytes begin so; else nothing happens."""
        key = own(backend)
        replace = backend.replace(key, b"mine", b"new", LONG_MS)
        same(await replace, False, "replace of a missing key", "store nothing")
        await backend.acquire(key, b"mine 1", LONG_MS)
        for wrong in (b"other", b"mine 12"):
            replace = backend.replace(key, wrong, b"new", LONG_MS)
            same(await replace, False, f"replace over {wrong!r}", "store nothing")
            same(
                await backend.renew(key, wrong, LONG_MS), False, f"renew of {wrong!r}", "do nothing"
            )
            same(await backend.release(key, wrong), False, f"release of {wrong!r}", "do nothing")
            same(await backend.get_bytes(key), b"mine 1", "get_bytes after that", "change nothing")
        same(await backend.renew(key, b"mine 1", LONG_MS), True, "renew", "say that it was done")
        replace = backend.replace(key, b"mine", b"new", LONG_MS)
        same(await replace, True, "replace over the beginning", "say that it is stored")
        same(await backend.get_bytes(key), b"new", "get_bytes after replace", "store the new bytes")
        same(await backend.release(key, b"new"), True, "release", "say that it was removed")
        same(await backend.get_bytes(key), None, "get_bytes after release", "remove the key")

    @on_a_backend
    async def test_a_lease_that_changes_is_seen(self, backend: CacheBackend) -> None:
        """`wait_for_change` ends, and returns the bytes that are there then."""
        key = own(backend)
        await backend.acquire(key, b"mine", LONG_MS)
        waiting = asyncio.ensure_future(backend.wait_for_change(key, b"mine"))
        await asyncio.sleep(0)
        await backend.release(key, b"mine")
        seen = await asyncio.wait_for(waiting, WITHIN)
        insist(
            seen in (None, b"mine"),
            f"wait_for_change returned {seen!r}: return the bytes at the key, or None",
        )
