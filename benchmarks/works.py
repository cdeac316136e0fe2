"""What is measured. A work is an entry in `WORKS`; its contenders are named there, baseline first.

A work is opened for one contender: a context manager makes it ready, checks that it returns what
it should, and lends what measures it.
"""

import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from . import imported, keys, payloads, served
from .contenders import (
    OURS,
    PEERS,
    ByHand,
    CannotError,
    CashewsNear,
    Contender,
    Foundation,
    Function,
    KeyByHand,
    Memo,
    OneGet,
    Ours,
    OursNear,
    OursWhole,
    PoolOfTen,
    Prebuilt,
    PrebuiltBehind,
    route,
)
from .measure import Effort, Open, Stage, Work, at_once, per_call, per_second

CALLERS: Final = 64
KEYS: Final = 1000


@asynccontextmanager
async def hit(contender: Contender, effort: Effort) -> AsyncIterator[Stage]:
    """Call a cached function again and again with the same arguments."""
    function = contender.cached(payloads.read_user)
    await _returns(payloads.USER, function)
    yield await per_call(partial(function, 7, "ada"), effort)


@asynccontextmanager
async def crowd(contender: Contender, effort: Effort) -> AsyncIterator[Stage]:
    """Let many callers at once call a cached function, each with all arguments in turn."""
    function = contender.cached(payloads.read_user)
    await _returns(payloads.USER, function)
    for number in range(KEYS):
        await function(number, "ada")

    async def caller(first: int, count: int) -> None:
        for number in range(first, first + count):
            await function(number % KEYS, "ada")

    count = 10

    async def measure() -> float:
        nonlocal count
        began = time.perf_counter()
        firsts = [KEYS // CALLERS * place for place in range(CALLERS)]
        await at_once([partial(caller, first, count) for first in firsts])
        rate = CALLERS * count / (time.perf_counter() - began)
        count = max(1, round(rate * effort.seconds / CALLERS))
        return rate

    yield Stage(measure, partial(function, 7, "ada"))


@asynccontextmanager
async def miss(contender: Contender, effort: Effort) -> AsyncIterator[Stage]:
    """Call a cached function with arguments that it has never been called with."""
    function = contender.cached(payloads.read_user)
    numbers = itertools.count(time.time_ns())
    yield await per_call(lambda: function(next(numbers), "ada"), effort)


def endpoint(function: Function) -> Open:
    """Ask an application for what it has cached, without a network between."""

    @asynccontextmanager
    async def ask(contender: Contender, effort: Effort) -> AsyncIterator[Stage]:
        app, path = contender.app(function), route(function).format(number=7)
        async with app.router.lifespan_context(app):
            for _ in range(3):  # a miss, a hit, and one that may come before routing
                content = await _get(app, path)
                if json.loads(content) != json.loads(payloads.body_of(function)):
                    raise CannotError(f"it answers with {content[:60]!r}")
            yield await per_second(partial(_get, app, path), effort)

    return ask


async def _get(app: Any, path: str) -> bytes:
    start, body = await _asked(app, path)
    if start["status"] != 200:
        raise CannotError(f"it answers with status {start['status']}")
    return body


async def _asked(app: Any, path: str, *lines: tuple[bytes, bytes]) -> tuple[dict[str, Any], bytes]:
    """Return the start and the body of the answer to a request with these header lines."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"accept", b"*/*"), *lines],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    answers = iter(({"type": "http.request", "body": b"", "more_body": False},))
    starts: list[dict[str, Any]] = []
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return next(answers, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
        else:
            starts.append(message)

    await app(scope, receive, send)
    return starts[0], b"".join(parts)


def revalidated(function: Function) -> Open:
    """Ask an application for what it has cached, with its entity tag: the answer is a 304."""

    @asynccontextmanager
    async def ask(contender: Contender, effort: Effort) -> AsyncIterator[Stage]:
        app, path = contender.app(function), route(function).format(number=7)
        async with app.router.lifespan_context(app):
            for _ in range(3):
                start, _ = await _asked(app, path)
            tag = dict(start["headers"]).get(b"etag")
            if tag is None:
                raise CannotError("it sends no entity tag")
            has_tag = isinstance(contender, Ours) and contender.has_tag
            again = partial(_asked, app, path, *[(b"if-none-match", tag)] * has_tag)
            start, body = await again()
            if start["status"] != (304 if has_tag else 200) or bool(body) is has_tag:
                raise CannotError(f"it answers with status {start['status']}")
            yield await per_second(again, effort)

    return ask


async def _returns(expected: object, function: Function) -> None:
    """Check that what a function returns comes back equal."""
    for _ in range(2):
        returned = await function(7, "ada")
        if returned != expected:
            raise CannotError(f"it returns {returned!r}")


_PLAIN = (Effort(51, 0.04), Effort(21, 0.01))
_SHORT = (Effort(51, 0.01), Effort(11, 0.005))
_SERVED = (Effort(9, 1.0), Effort(2, 0.2))
_IMPORTED = (Effort(9, 0.0), Effort(2, 0.0))

_UNTYPED = "The endpoint has no return type, as in the documentation of most contenders."
_TYPED = "The endpoint has a return type, so that FastAPI has Pydantic write what it returns."

WORKS: Final = (
    Work(
        "hit",
        "Hit of a decorated function, 200 bytes, one caller",
        "µs a call",
        hit,
        (ByHand, Ours, *PEERS),
        *_PLAIN,
    ),
    Work(
        "near",
        "Hit of a decorated function, 200 bytes, in the process",
        "µs a call",
        hit,
        (Memo, OursNear, CashewsNear),
        *_SHORT,
        note="Beside a dictionary, which knows of no expiry and of no other process.",
    ),
    Work(
        "crowd",
        f"Hits, 200 bytes, {CALLERS} callers at once, {KEYS:,} keys",
        "calls a second",
        crowd,
        (PoolOfTen, Ours, *PEERS, ByHand),
        *_PLAIN,
        more_is_better=True,
        one_caller=False,
        note="Connections as each has them by default: this module 10, of which reads share one; "
        "cashews 10; the others as many as there are callers.",
    ),
    Work(
        "miss",
        "Miss and fill of a decorated function, 200 bytes",
        "µs a call",
        miss,
        (ByHand, Ours, *PEERS),
        *_PLAIN,
        hits=False,
    ),
    Work(
        "endpoint-2k",
        "Endpoint, 2 KB, called through ASGI",
        "requests a second",
        endpoint(payloads.small),
        (Prebuilt, PrebuiltBehind, OneGet, *OURS, *PEERS),
        *_PLAIN,
        more_is_better=True,
        note=_UNTYPED,
    ),
    Work(
        "endpoint-2k-typed",
        "Endpoint with a return type, 2 KB, called through ASGI",
        "requests a second",
        endpoint(payloads.small_typed),
        (Prebuilt, OneGet, *OURS, *PEERS),
        *_PLAIN,
        more_is_better=True,
        note=_TYPED,
    ),
    Work(
        "endpoint-100k",
        "Endpoint, 100 KB, called through ASGI",
        "requests a second",
        endpoint(payloads.large),
        (OneGet, Ours, *PEERS),
        *_PLAIN,
        more_is_better=True,
        note=_UNTYPED,
    ),
    Work(
        "endpoint-100k-typed",
        "Endpoint with a return type, 100 KB, called through ASGI",
        "requests a second",
        endpoint(payloads.large_typed),
        (OneGet, Ours, *PEERS),
        *_PLAIN,
        more_is_better=True,
        note=_TYPED,
    ),
    Work(
        "uvicorn-2k",
        f"Endpoint, 2 KB, over uvicorn with {served.CONNECTIONS} connections",
        "requests a second",
        served.served(payloads.small),
        (Prebuilt, PrebuiltBehind, OneGet, *OURS, *PEERS),
        *_SERVED,
        more_is_better=True,
        one_caller=False,
        note=_UNTYPED,
    ),
    Work(
        "uvicorn-2k-targets",
        f"Endpoint, 2 KB, over uvicorn with {served.CONNECTIONS} connections, 1,000 targets",
        "requests a second",
        served.served(payloads.small, 1000),
        (Prebuilt, *OURS),
        *_SERVED,
        more_is_better=True,
        one_caller=False,
        note=_UNTYPED,
    ),
    Work(
        "endpoint-2k-304",
        "Endpoint, 2 KB, called through ASGI with the entity tag of what is stored",
        "requests a second",
        revalidated(payloads.small),
        (OursWhole, Ours),
        *_PLAIN,
        more_is_better=True,
        note="The answer is a 304, beside the same request without the tag.",
    ),
    *(
        Work(
            f"key-{function.__name__}",
            f"Key of a call: {arguments}",
            "µs a key",
            keys.key_of(function),
            (KeyByHand, Ours, *PEERS),
            *_SHORT,
        )
        for function, arguments in (
            (keys.of_two, "int, str"),
            (keys.of_three, "int, str, list of 3 str"),
            (keys.of_four, "int, str, list, model"),
            (keys.of_five, "int, str, list, model, request"),
        )
    ),
    Work(
        "key-new-of_two",
        "Key of a call that was not seen before: int, str",
        "µs a key",
        keys.new_key_of(keys.of_two),
        (KeyByHand, Ours, *PEERS),
        *_SHORT,
    ),
    Work(
        "import-time",
        "Import, on top of FastAPI and redis-py",
        "ms",
        imported.imported("ms"),
        (Foundation, Ours, *PEERS),
        *_IMPORTED,
    ),
    Work(
        "import-memory",
        "Memory after the import, on top of FastAPI and redis-py",
        "MB",
        imported.imported("MB"),
        (Foundation, Ours, *PEERS),
        *_IMPORTED,
    ),
)
