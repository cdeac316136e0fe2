"""Many ask at once, and the function runs once."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from threading import Barrier
from typing import Any, Final

from .asking import Status, asked, insist, shown, status_of

CALLERS: Final = 8
HELD_SECONDS: Final = 1.0
"""How long a run is held at most, until all other callers wait for it."""


def assert_one_computation(
    client: Any, path: str, *, callers: int = CALLERS, **options: Any
) -> None:
    """Assert that an endpoint's function runs once for `callers` who ask at the same moment.

    Who made it run is told by `Cache-Status`, so the service may also run elsewhere, in several
    processes. There must be no entry before: use the fixture `cache`. `options` are what
    `client.request` gets besides, such as `headers`.
    """
    __tracebackhide__ = True
    request = f"{options.get('method', 'GET')} {path}"
    barrier = Barrier(callers)

    def ask(_: int) -> Any:
        barrier.wait(30)
        return asked(client, path, options)

    with ThreadPoolExecutor(callers) as threads:
        answers = [*threads.map(ask, range(callers))]
    said = [status_of(answer, request) for answer in answers]
    _insist_on_one(sum(each.ran for each in said), callers, request, _summary(said))
    different = [answer for answer in answers if answer.text != answers[0].text]
    insist(
        not different,
        f"{callers} callers of {request} got different answers: {shown(answers[0])} and "
        f"{[*map(shown, different[:1])]}",
    )


async def assert_one_computation_of(
    function: Callable[..., Awaitable[Any]], *args: Any, callers: int = CALLERS, **kwargs: Any
) -> Any:
    """Assert that a cached function runs once for `callers` who call it at once; return the result.

    The run is held until all other callers wait for it, for a second at most. There must be no entry
    before: use the fixture `cache`.
    """
    __tracebackhide__ = True
    name = getattr(function, "__qualname__", repr(function))
    calls = getattr(function, "calls", None)
    if calls is None:
        raise TypeError(f"{name} is not cached: give a function that cache_response has decorated")
    runs = 0
    run: Callable[..., Awaitable[Any]] = calls.run

    @wraps(run)
    async def held(*some: Any, **more: Any) -> Any:
        nonlocal runs
        runs += 1
        until = time.monotonic() + HELD_SECONDS
        waiting = calls.store.fence.flights.followers
        # Nobody tells that a caller begins to wait.
        while runs == 1 and waiting() < callers - 1 and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return await run(*some, **more)

    calls.run = held
    try:
        ended = await asyncio.gather(
            *(function(*args, **kwargs) for _ in range(callers)), return_exceptions=True
        )
    finally:
        calls.run = run
    _insist_on_one(runs, callers, name, "")
    for each in ended:
        if isinstance(each, BaseException):
            raise each
    return ended[0]


def _insist_on_one(runs: int, callers: int, what: str, details: str) -> None:
    __tracebackhide__ = True
    insist(
        runs != 0,
        f"{what} did not run at all for {callers} callers at once{details}: there was an entry "
        f"before; ask with an empty cache, as that of the fixture `cache`",
    )
    insist(
        runs == 1,
        f"{what} ran {runs} times for {callers} callers at once{details}: see the warning in the "
        f"log, which says why its result is for one caller only, or why the call has no key",
    )


def _summary(said: list[Status]) -> str:
    texts = [each.text for each in said]
    return f" ({', '.join(f'{texts.count(each)} × {each!r}' for each in dict.fromkeys(texts))})"
