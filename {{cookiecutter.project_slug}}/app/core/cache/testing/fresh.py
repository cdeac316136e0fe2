"""A read after a write is new, and so is one at the very moment of the invalidation."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pytest

from ..coherence import Invalidations
from ..switch import Steered, Switch
from .asking import asked, insist, shown, status_of, told

WITHIN: Final = 10.0
"""Seconds that a read may take at the moment of an invalidation."""

_COMMIT: Final = "let the write commit first, then invalidate, then respond"


def assert_fresh_after(
    client: Any,
    write: Mapping[str, Any] | Callable[[], Any],
    read: str | Mapping[str, Any],
) -> Any:
    """Assert that a read is cached, and new after a write; return the new answer.

    `read` is a path, or what `client.request` is given. `write` is what `client.request` is given, or
    a function that writes in another way:

        write = {"method": "PUT", "url": "/users/1", "json": {"name": "Ada"}}

    The write has to change what the read shows. If the application runs in this process, it is also
    read at the moment of the invalidation, before the write has responded. What this read finds is
    stored. So it must be new, too: that shows whether the write commits before it invalidates. In the
    end the cached answer must be the one without a cache. An invalidation that comes only after the
    response, in a background task, is not found: the test client waits for it.
    """
    __tracebackhide__ = True
    reading = {"url": read} if isinstance(read, str) else dict(read)
    path = str(reading.pop("url"))
    request = f"{reading.get('method', 'GET')} {path}"
    before = asked(client, path, reading)
    said = status_of(asked(client, path, reading), request)
    insist(
        said.is_hit,
        f"{request} is no hit when it is asked again ({said.text!r}, first answer {shown(before)}), "
        f"so nothing could be old after a write: read what is cached",
    )
    with _at_each_invalidation(lambda: _tried(client, path, reading)) as meanwhile:
        _write(client, write)
    failed = [each for each in meanwhile if isinstance(each, Exception)]
    insist(
        not failed,
        f"{request} failed at the moment of the invalidation, while the write had not yet responded: "
        f"{failed[:1]}. If the write held a lock or the only connection, {_COMMIT}",
    )
    fresh = asked(client, path, reading)
    if told(fresh) == told(before):
        ran = [each for each in meanwhile if status_of(each, request).ran]
        raise AssertionError(_why_old(fresh, request, ran=bool(ran)))
    last = asked(client, path, reading)
    insist(
        told(last) == told(fresh),
        f"{request} said {shown(fresh)} after the write, and then {shown(last)}: read what changes "
        f"only with the write",
    )
    _insist_on_the_truth(client, path, reading, last)
    return fresh


def _insist_on_the_truth(client: Any, path: str, reading: Mapping[str, Any], last: Any) -> None:
    __tracebackhide__ = True
    with _switched_off():
        plain = asked(client, path, reading)
    insist(
        told(plain) == told(last),
        f"{path} says {shown(last)} after the write, and without the cache {shown(plain)}: {_COMMIT}, "
        f"once and for all that it changes; or read what changes only with the write",
    )


@contextmanager
def _switched_off() -> Iterator[None]:
    """Switch all caches of this process off, for all threads and requests."""
    with pytest.MonkeyPatch.context() as patches:
        always = property(lambda _: True, lambda _, __: None)
        patches.setattr(Switch, "is_off", always)
        patches.setattr(Steered, "is_special", always, raising=False)
        yield


def _write(client: Any, write: Mapping[str, Any] | Callable[[], Any]) -> None:
    __tracebackhide__ = True
    done = write() if callable(write) else asked(client, "", write)
    insist(
        not getattr(done, "is_error", False),
        f"the write itself failed, with {shown(done)}: give one that works"
        if hasattr(done, "status_code")
        else "the write itself failed: give one that works",
    )


def _why_old(fresh: Any, request: str, *, ran: bool) -> str:
    """Return why a read is old; `ran`: the function ran at the moment of the invalidation."""
    said = status_of(fresh, request)
    start = f"{request} still says {shown(fresh)} after the write ({said.text!r})"
    if said.ran or ran:
        when = "" if said.ran else " at the moment of the invalidation"
        return (
            f"{start}. The function ran{when} and found the old data: {_COMMIT}; or give a write that "
            f"changes what this read shows"
        )
    return (
        f"{start}. Let the write invalidate it: give invalidate_cache a tag, or a pattern, of the "
        f"cache_response of the read, or use the manager's invalidate or invalidate_tags"
    )


def _tried(client: Any, path: str, reading: Mapping[str, Any]) -> Any:
    """Return the answer, or what was raised in place of one."""
    try:
        return asked(client, path, reading)
    except Exception as error:
        return error


@contextmanager
def _at_each_invalidation(do: Callable[[], Any]) -> Iterator[list[Any]]:
    """Call `do`, in a thread, after each invalidation by this process; lend what it returned."""
    carry_out: Any = Invalidations.carry_out
    results: list[Any] = []

    async def then_do(*args: Any) -> Any:
        invalidated = await carry_out(*args)
        doing = asyncio.get_running_loop().run_in_executor(None, do)
        done, _ = await asyncio.wait([doing], timeout=WITHIN)
        results.append(doing.result() if done else TimeoutError(f"no answer in {WITHIN:g} seconds"))
        return invalidated

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(Invalidations, "carry_out", then_do)
        yield results
