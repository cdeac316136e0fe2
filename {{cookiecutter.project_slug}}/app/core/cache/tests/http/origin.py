"""What the tests of `CacheMiddleware` share: requests as a server hands them over, and tables of cases."""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from fastapi import Depends, FastAPI, Response
from fastapi.routing import APIRoute

from ... import (
    CachedRoute,
    CacheManager,
    CacheMiddleware,
    MemoryBackend,
    cache_response,
)
from ...http.routed import before_routing
from ..faults import WITHIN
from .internals import Clock, was_early

STATUS = "cache-status"
TIMES = 4
"""How often the request of a case is sent: a miss, a hit, and two hits that may come early."""
RESULT = {"n": 1}
BODY = b'{"n":1}'

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Expected = Mapping[str, str | EllipsisType | None]
"""What header lines say, joined by commas; `None` for no line, `...` for any value."""


def pairs_of(headers: Headers) -> list[tuple[str, str]]:
    return [*(headers.items() if isinstance(headers, Mapping) else headers)]


# --- requests --------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What a client gets, and whether it came before routing."""

    status: int
    lines: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_early: bool = False

    def says(self, name: str) -> str | None:
        """Return the values of a header, joined by commas, or `None` if there is none."""
        values = [value for each, value in self.lines if each.lower() == name.encode()]
        return b", ".join(values).decode("latin-1") if values else None

    @property
    def what(self) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
        """All that a client sees."""
        return self.status, self.lines, self.body


async def ask(
    app: Any,
    target: str = "/it",
    headers: Headers = (),
    method: str = "GET",
    *,
    is_checked: bool = True,
    **changes: Any,
) -> Answer:
    """Send one request; `changes` are those of its scope. Check that the answer is one of HTTP."""
    path, _, query = target.partition("?")
    given = pairs_of(headers)
    lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in given]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [*([] if b"host" in dict(lines) else [(b"host", b"test")]), *lines],
        "client": ("client", 1),
        "server": ("test", 80),
        "state": {},
        **changes,
    }
    received = [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if not received:
            await asyncio.Event().wait()
        return received.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(WITHIN):
        await app(scope, receive, send)
    start, *parts = sent
    body = b"".join(bytes(part.get("body", b"")) for part in parts)
    answer = Answer(start["status"], tuple(start["headers"]), body, was_early(scope))
    if is_checked:
        _check(answer, sent, method)
    return answer


def _check(answer: Answer, sent: list[Any], method: str) -> None:
    """Check that an answer is one of HTTP, and was sent as one of ASGI."""
    parts, body = sent[1:], answer.body
    kinds = [each["type"] for each in sent]
    assert kinds == ["http.response.start", *["http.response.body"] * len(parts)], kinds
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    length = answer.says("content-length")
    if method == "HEAD" or answer.status in (204, 304):
        assert body == b"", "it has a body"
    elif length is not None:
        assert int(length) == len(body)
    if answer.status == 304:
        assert length is answer.says("content-type") is None
    assert len([name for name, _ in answer.lines if name.lower() == b"etag"]) <= 1


# --- endpoints -------------------------------------------------------------------------------------


WITHOUT_MODEL: Mapping[str, Any] = {"response_model": None}


class Endpoint(NamedTuple):
    """A function, the options of its route, and the methods that it is for."""

    function: Callable[..., Any]
    route: Mapping[str, Any] = WITHOUT_MODEL
    methods: Sequence[str] = ("GET",)
    query: str = ""
    """What each target has in its query: one function can serve many cases."""


def returns(result: Any = RESULT, **route: Any) -> Endpoint:
    """Return an endpoint with this result."""

    async def it() -> Any:
        return result

    return Endpoint(it, {"response_model": None, **route})


value = returns()


async def _responds(said: str) -> Response:
    headers, status, content = json.loads(said)
    response = Response(content.encode("latin-1"), status, media_type="text/x")
    for name, value in headers:
        response.headers.append(name, value)
    return response


async def _sets(response: Response, said: str) -> Any:
    for name, value in json.loads(said):
        response.headers.append(name, value)
    return RESULT


def responds(headers: Headers = (), status: int = 200, content: bytes = BODY) -> Endpoint:
    """Return an endpoint that returns a response with these headers."""
    said = json.dumps([pairs_of(headers), status, content.decode("latin-1")])
    return Endpoint(_responds, query=f"said={quote(said)}&")


def sets(headers: Headers) -> Endpoint:
    """Return an endpoint that sets headers on the response that it is handed."""
    return Endpoint(_sets, query=f"said={quote(json.dumps(pairs_of(headers)))}&")


def takes(x: Any, y: Any = int | None) -> Endpoint:
    """Return an endpoint with parameters of these types, which returns what they are."""

    async def it(x: Any, y: Any = None) -> Any:
        return {"x": x, "y": y}

    it.__annotations__ = {"x": x, "y": y}
    return Endpoint(it)


async def nothing() -> None:
    """Be a dependency: an endpoint with one is never answered before routing."""


# --- tables ----------------------------------------------------------------------------------------


NOTHING_SAID: Expected = {}


class Step(NamedTuple):
    """A request, and what is expected of each answer to it."""

    headers: Headers = ()
    status: int = 200
    has: Expected = NOTHING_SAID
    first: Expected | None = None
    """What the first answer has, if it is something else."""
    body: bytes | None = None
    """By default that of a plain GET for 2xx, and none for others."""
    method: str = "GET"
    target: str = "/it"
    after: float = 0
    """How many seconds pass before it."""
    times: int = 1


@dataclass(frozen=True)
class Case:
    """One case of a table: an endpoint, with the options of its cache, and requests."""

    name: str
    endpoint: Endpoint
    steps: Sequence[Step]
    early: bool = True
    """Whether hits of the endpoint are answered before routing."""
    cached: Mapping[str, Any] = field(default_factory=dict)
    manager: Mapping[str, Any] = field(default_factory=dict)
    middleware: Mapping[str, Any] = field(default_factory=lambda: {"name": "t"})

    @property
    def site(self) -> str:
        """What cases have in common that can share an application."""
        return str((id(self.endpoint.function), self.cached, self.manager, self.middleware))


def case(
    name: str,
    endpoint: Endpoint,
    headers: Headers = (),
    status: int = 200,
    has: Expected | None = None,
    *,
    first: Expected | None = None,
    body: bytes | None = None,
    method: str = "GET",
    target: str = "/it",
    steps: Sequence[Step] = (),
    **options: Any,
) -> Case:
    """Return a case with one request, which is sent four times, or with `steps`."""
    one = Step(headers, status, has or {}, first, body, method, target, times=TIMES)
    return Case(name, endpoint, steps or [one], **options)


WAYS = [(kind, is_early) for kind in (APIRoute, CachedRoute) for is_early in (True, False)]
"""Each class of routes; with hits before routing, and without."""


class Site:
    """An application in which the function of a case has one route for each of the ways."""

    def __init__(self, case: Case, manager: CacheManager, clock: Clock) -> None:
        self.manager = CacheManager(manager.backend, **{"ttl_jitter": 0, **case.manager})
        self.app = FastAPI()
        self.app.add_middleware(CacheMiddleware, **case.middleware)
        options = {"key_prefix": f"it{id(self)}", "expire": 60, **case.cached}
        function = cache_response(self.manager, **options)(case.endpoint.function)
        clock.rules(function)
        for way, (kind, is_early) in enumerate(WAYS):
            self.app.router.route_class = kind
            self.app.add_api_route(
                f"/{way}/it",
                function,
                methods=[*case.endpoint.methods],
                dependencies=[] if is_early else [Depends(nothing)],
                **case.endpoint.route,
            )
        self.routed = [bool(each.why_routed) for each in before_routing(self.app)]


async def wrong_in(cases: Sequence[Case], manager: CacheManager, clock: Clock) -> list[str]:
    """Send the requests of a table, and return what is wrong with the answers."""
    assert len({case.name for case in cases}) == len(cases)
    sites: dict[str, Site] = {}
    found = []
    for number, case in enumerate(cases):
        if case.site not in sites:
            sites[case.site] = Site(case, manager, clock)
        try:
            problems = [each async for each in _problems(case, sites[case.site], number, clock)]
        except Exception as error:  # one case, and the others go on
            problems = [repr(error)]
        found += [f"{case.name}: {problem}" for problem in problems[:2]]
    return found


async def _problems(case: Case, site: Site, number: int, clock: Clock) -> Any:
    """Yield what is wrong with the answers of one case, in all ways."""
    routed = [not (is_early and case.early) for _, is_early in WAYS]
    if site.routed != routed:
        yield f"before_routing tells {site.routed}"
    await site.manager.clear()
    plain = await ask(site.app, f"/1/it?{case.endpoint.query}plain={number}")
    began, expected = clock.seconds, None
    for way, is_routed in enumerate(routed):
        await site.manager.clear()
        clock.seconds = began
        answers = []
        for step in case.steps:
            clock.seconds += step.after
            more = f"{case.endpoint.query}case={number}"
            asked = f"/{way}{step.target}{'&' if '?' in step.target else '?'}{more}"
            headers = [(name, _filled(said, plain)) for name, said in pairs_of(step.headers)]
            for time in range(step.times):
                answer = await ask(site.app, asked, headers, step.method)
                answers.append(answer)
                for problem in _differences(step, time, answer, plain):
                    yield f"way {way}, answer {len(answers)}: {problem}"
        what, expected = [answer.what for answer in answers], expected or answers
        if what != [answer.what for answer in expected]:
            yield f"way {way} answers {what} and not {expected}"
        hits = ["hit" in (answer.says(STATUS) or "") for answer in answers[-TIMES:]]
        early = [answer.is_early for answer in answers[-TIMES:]]
        came = [False, False, True, True] if hits == [False, True, True, True] else early
        if early != ([False] * len(early) if is_routed else came):
            yield f"way {way}: {early} came before routing"
    clock.seconds = began


def _differences(step: Step, time: int, answer: Answer, plain: Answer) -> Iterator[str]:
    """Yield how an answer differs from what a step expects."""
    if answer.status != step.status:
        yield f"{answer.status}"
    body = plain.body if step.status < 300 and step.method != "HEAD" else b""
    if answer.body != (body if step.body is None else step.body):
        yield f"{answer.body!r}"
    expected = dict(step.has if time or step.first is None else step.first)
    if step.status == 304:  # RFC 9110, section 15.4.5
        same = ("cache-control", "content-location", "etag", "expires", "vary")
        expected = {**{name: plain.says(name) for name in same}, **expected}
    for name, said in expected.items():
        has = answer.says(name)
        if has != (has or "" if said is ... else _filled(said, plain)):
            yield f"{name}: {has}"


def _filled(said: str | None, plain: Answer) -> Any:
    return said and said.replace("{tag}", plain.says("etag") or "")


def only_memory() -> CacheManager:
    """Return a new manager over memory, whose entries live as long as they are told."""
    return CacheManager(MemoryBackend(), ttl_jitter=0)
