"""Whether a result is kept, and for how long: `store_if`, `expire` as a function, `exceptions`."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal

import pytest
from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse

from ... import CacheEvent, CacheManager, cache_response
from ...stored import class_name
from ..endpoints import STATUS, get
from ..forging import resealed, standing_at
from ..internals import always_due, joined, settled


class NotFoundError(Exception):
    """Nothing is there; it keeps what was looked for."""

    def __init__(self, what: str, number: int = 0) -> None:
        super().__init__(f"no {what}")
        self.what, self.number = what, number


class GoneError(NotFoundError):
    """One of another class."""


class BusyError(Exception):
    """Keeps nothing of its own."""


ERRORS: Final = {"user": NotFoundError("user", 7), "busy": BusyError("a", 1, None)}
RUNS: Final[list[str]] = []


async def found(name: str) -> str:
    """Raise an exception; two processes have the same function."""
    RUNS.append(name)
    kind = ERRORS[name]
    raise NotFoundError("user", 7) if isinstance(kind, NotFoundError) else BusyError("a", 1, None)


class CallLater:
    """Is called as a coroutine function, and does not look like one."""

    async def __call__(self, _: object) -> bool:
        return False


class Counted:
    """A cached function that returns or raises what it is given, and counts its runs."""

    def __init__(self, manager: CacheManager, **options: Any) -> None:
        self.runs = 0

        @cache_response(manager, "data", key="{name}", ignore=("result",), **options)
        async def function(name: str, result: Any = None) -> Any:
            self.runs += 1
            if isinstance(result, Exception):
                raise result
            return result

        self.function = function

    async def __call__(self, result: Any, name: str = "a") -> Any:
        """Call it; an exception comes back as a value."""
        try:
            return await self.function(name, result)
        except Exception as error:
            return error

    async def ttl(self, manager: CacheManager) -> float | None:
        """Return how long the entry still lives."""
        return await manager.ttl(self.function.cache_key("a"))


async def test_only_what_is_wanted_is_stored(our_manager: CacheManager) -> None:
    """What `store_if` does not want is computed by each call."""
    counted = Counted(our_manager, store_if=bool)
    for empty in list[Any]((None, [], "", 0)):
        assert await counted(empty) == empty
    assert counted.runs == 4
    for _ in range(2):
        assert await counted([1]) == [1]
    assert await counted(None) == [1]
    assert counted.runs == 5


@pytest.mark.parametrize("refresh", ["inline", "background"])
async def test_p1_what_is_not_wanted_ends_an_old_value(
    our_manager: CacheManager, refresh: Literal["inline", "background"]
) -> None:
    """A refresh that returns it, and one by hand, leave nothing that would be served on."""
    results: list[int | None] = [1]

    @cache_response(
        our_manager, "data", stale=60, early_refresh=1.0, refresh=refresh, store_if=bool
    )
    async def function() -> int | None:
        return results[-1]

    always_due(function)
    assert await function() == 1
    results.append(None)
    await function()
    await settled(our_manager)
    assert await our_manager.ttl(function.cache_key()) is None
    assert await function() is None
    results.append(2)
    assert await function() == 2
    results.append(None)
    assert await function.refresh() is None
    assert await function() is None


async def test_p4_what_is_not_wanted_is_shared_meanwhile(our_manager: CacheManager) -> None:
    """Callers that wait for a call get its result: it is the answer, and only not kept."""
    runs: list[int] = []
    go_on = asyncio.Event()

    @cache_response(our_manager, "data", store_if=lambda result: result is not None)
    async def function() -> None:
        runs.append(1)
        await go_on.wait()

    callers = [asyncio.create_task(function()) for _ in range(5)]
    await joined(our_manager, 4)
    go_on.set()
    assert await asyncio.gather(*callers) == [None] * 5
    assert len(runs) == 1
    await function()
    assert len(runs) == 2


async def test_p10_listeners_hear_why(our_manager: CacheManager) -> None:
    """One word, as for all that is refused."""
    events: list[CacheEvent] = []
    our_manager.observe(events.append)
    counted = Counted(our_manager, store_if=bool)
    await counted(None)
    assert [(each.kind, each.reason) for each in events if each.kind == "refused"] == [
        ("refused", "store_if")
    ]


@pytest.mark.parametrize(
    ("expire", "result", "seconds"),
    [
        (lambda result: 60 if result else "1h", 1, 60),
        (lambda result: 60 if result else "1h", 0, 3600),
        (lambda _: timedelta(minutes=2), 0, 120),
        (lambda _: 1.5, 0, 1.5),
        (lambda _: None, 0, 300),
        (lambda _, name: {"a": 30}[name], 0, 30),
        (lambda result, /, *, name: result + len(name), 9, 10),
    ],
    ids=range(7),
)
async def test_a_time_may_depend_on_the_call(
    our_manager: CacheManager, expire: Any, result: int, seconds: float
) -> None:
    """On its result, and on its arguments by name."""
    our_manager.ttl_jitter = 0
    counted = Counted(our_manager, expire=expire)
    assert await counted(result) == await counted(result) == result
    assert counted.runs == 1
    left = await counted.ttl(our_manager)
    assert left is not None
    assert seconds * 0.8 < left <= seconds


@pytest.mark.parametrize("time", [0, -1, "0s", timedelta()])
async def test_no_time_is_not_stored(our_manager: CacheManager, time: Any) -> None:
    """As with a fixed `expire` of 0."""
    counted = Counted(our_manager, expire=lambda _: time)
    assert [await counted(1), await counted(1)] == [1, 1]
    assert counted.runs == 2


@pytest.mark.parametrize("option", ["expire", "store_if"])
async def test_a_function_that_fails_keeps_nothing_and_loses_nothing(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture, option: str
) -> None:
    """The result reaches its caller, it is not stored, and one warning says why."""

    def broken(_: object) -> Any:
        raise KeyError("broken")

    counted = Counted(our_manager, **{option: broken})
    assert [await counted(1), await counted(1)] == [1, 1]
    assert counted.runs == 2
    lines = [each.getMessage() for each in caplog.records if "is not stored" in each.getMessage()]
    assert len(lines) == 1
    assert "is not stored: its store_if= or expire= failed: KeyError: 'broken'" in lines[0]


async def test_a_time_that_is_none_is_told(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """With the value, and what it must be."""
    counted = Counted(our_manager, expire=lambda _: "soon")
    assert [await counted(1), await counted(1)] == [1, 1]
    assert counted.runs == 2
    assert "expire='soon' must be numbers with units" in caplog.text


async def plain() -> None:
    """Stand for an asynchronous function."""


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"store_if": plain}, TypeError, "store_if=.* must be a plain function"),
        ({"store_if": 7}, TypeError, "store_if=7 must be a plain function"),
        ({"expire": plain}, TypeError, "expire=.* must be a plain function"),
        ({"expire": lambda: 1}, TypeError, "must take the result as its first"),
        ({"expire": lambda *, name: 1}, TypeError, "must take the result as its first"),
        ({"expire": lambda _, nam: 1}, ValueError, "takes 'nam', .* may take 'name', 'result'"),
        ({"exceptions": NotFoundError}, TypeError, "exceptions="),
        ({"exceptions": ["NotFound"]}, TypeError, "'NotFound', which is no class"),
        ({"exceptions": [KeyboardInterrupt]}, TypeError, "which is no class of exceptions"),
        ({"exceptions": [HTTPException]}, TypeError, "are stored by cache_status="),
        ({"store_if": lambda: True}, TypeError, "store_if=.* must take the result as its first"),
        ({"store_if": lambda a, b: a}, TypeError, "must take the result, and nothing else"),
        ({"expire": lambda _, name, /: 1}, ValueError, "takes 'name', .* or not by name"),
        ({"exceptions": [FileNotFoundError]}, TypeError, "may hold more than is known"),
        ({"exceptions": [UnicodeDecodeError]}, TypeError, "may hold more than is known"),
        ({"exceptions": {BusyError: "soon"}}, ValueError, r"exceptions\[BusyError\]='soon'"),
    ],
    ids=range(16),
)
async def test_what_cannot_be_right_is_told(
    memory: CacheManager, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    """When the function is decorated."""
    with pytest.raises(error, match=says):
        Counted(memory, **options)


async def test_a_listed_exception_is_raised_again(
    pair: tuple[CacheManager, CacheManager],
) -> None:
    """In every process: its class, its arguments and attributes, and nothing is run for it."""
    one, other = (
        cache_response(each, "found", exceptions=(NotFoundError, BusyError))(found) for each in pair
    )
    RUNS.clear()
    for name, error in ERRORS.items():
        for function in (one, other, one):
            with pytest.raises(type(error)) as caught:
                await function(name)
            again = caught.value
            assert type(again) is type(error)
            assert (again.args, vars(again), str(again)) == (error.args, vars(error), str(error))
            assert again.__cause__ is again.__context__ is None
    assert list(ERRORS) == RUNS
    assert await one.invalidate("user")
    with pytest.raises(NotFoundError):
        await other("user")
    assert [*ERRORS, "user"] == RUNS


@pytest.mark.parametrize(
    ("exceptions", "expire", "seconds"),
    [
        ([BusyError], 300, 10),
        ([BusyError], 5, 5),
        ({BusyError: "1m"}, 300, 60),
        ({BusyError: 600}, 300, 600),
        ([BusyError], lambda _: 1000, 10),
    ],
    ids=range(5),
)
async def test_an_exception_is_kept_for_a_short_time(
    our_manager: CacheManager, exceptions: Any, expire: Any, seconds: int
) -> None:
    """As its class says, or for ten seconds, and never longer than a result; no old one is served."""
    our_manager.ttl_jitter = 0
    counted = Counted(our_manager, exceptions=exceptions, expire=expire, stale=1000)
    assert isinstance(await counted(BusyError()), BusyError)
    stored = await our_manager.backend.ttl_ms(
        f"{our_manager.key_prefix}:{counted.function.cache_key('a')}"
    )
    assert stored is not None
    assert seconds * 800 < stored <= seconds * 1000


OTHERS: dict[str, Any] = {
    "a subclass": lambda: GoneError("user"),
    "an object in it": lambda: BusyError(object()),
    "an object as an attribute": lambda: with_attribute(object()),
    "another class": lambda: ValueError("value"),
}


def with_attribute(value: object) -> Exception:
    """Return an exception with an attribute."""
    error = BusyError()
    error.value = value  # type: ignore[attr-defined] # it is what is tested
    return error


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
async def test_p1_all_others_are_not_stored(our_manager: CacheManager, make: Any) -> None:
    """What is not listed, and what would not come back equal, is raised by each call itself."""
    counted = Counted(our_manager, exceptions=[NotFoundError, BusyError])
    for _ in range(2):
        error = make()
        assert await counted(error) is error
    assert counted.runs == 2


@pytest.mark.parametrize(
    "headers",
    [{"set-cookie": "a=b"}, {"Cache-Control": "private"}, {"vary": "authorization"}],
    ids=["cookie", "private", "vary"],
)
async def test_p8_what_names_a_header_for_one_client_is_not_stored(
    our_manager: CacheManager, headers: dict[str, str]
) -> None:
    """A handler may make a response of it; as for an `HTTPException` with these headers."""

    class WithHeadersError(Exception):
        def __init__(self, extra: dict[str, str]) -> None:
            super().__init__("nothing")
            self.extra = extra

    counted = Counted(our_manager, exceptions=[WithHeadersError])
    for _ in range(2):
        assert isinstance(await counted(WithHeadersError(headers)), WithHeadersError)
    assert counted.runs == 2
    await counted(WithHeadersError({"x-harmless": "a"}), "b")
    assert isinstance(await counted("there", "b"), WithHeadersError)


async def test_p1_exceptions_of_another_version_of_a_class_are_computed_anew(
    our_manager: CacheManager,
) -> None:
    """What an older process has stored lacks what the class keeps now."""

    class VersionedError(Exception):
        def __init__(self, what: str) -> None:
            super().__init__(what)

    old = VersionedError

    class Newer(Exception):  # noqa: N818 - it stands for the same class
        def __init__(self, what: str) -> None:
            super().__init__(what)
            self.code = 7

    Newer.__name__, Newer.__qualname__ = old.__name__, old.__qualname__
    assert class_name(old) == class_name(old)
    assert class_name(old) != class_name(Newer)
    counted = Counted(our_manager, exceptions=[old])
    await counted(old("a"))
    key = counted.function.cache_key("a")
    sound = await standing_at(our_manager, key)
    renamed = resealed(sound.replace(class_name(old).encode(), class_name(Newer).encode()))
    await our_manager.backend.set_bytes(f"{our_manager.key_prefix}:{key}", renamed, 60)
    assert await counted("computed") == "computed"


async def test_p1_an_exception_that_is_not_stored_still_replaces_an_old_value(
    our_manager: CacheManager,
) -> None:
    """It is an answer, as its decorator says: callers get it, and not what was true before."""
    results: list[Any] = ["old"]

    @cache_response(our_manager, "data", stale=60, early_refresh=1.0, exceptions={BusyError: 0})
    async def function() -> Any:
        if isinstance(results[-1], Exception):
            raise results[-1]
        return results[-1]

    always_due(function)
    assert await function() == "old"
    for error in (BusyError(), BusyError(object())):
        results.append(error)
        with pytest.raises(BusyError):
            await function()
        with pytest.raises(BusyError):
            await function()


@pytest.mark.parametrize(
    "predicate", [lambda result: plain(), CallLater()], ids=["lambda", "object"]
)
async def test_p1_a_predicate_that_has_to_be_awaited_says_no(
    our_manager: CacheManager, caplog: pytest.LogCaptureFixture, predicate: Any
) -> None:
    """A coroutine is not a yes."""
    counted = Counted(our_manager, store_if=predicate)
    assert [await counted(1), await counted(1)] == [1, 1]
    assert counted.runs == 2
    assert "store_if= returned an awaitable" in caplog.text


async def test_a_function_of_the_result_may_have_arguments_of_its_own(
    our_manager: CacheManager,
) -> None:
    """Those with defaults, which the decorated function does not have."""
    our_manager.ttl_jitter = 0
    for expire in (lambda _, ttl=50: ttl, partial(lambda _, *, ttl: ttl, ttl=50), lambda *_: 50):
        counted = Counted(our_manager, expire=expire)
        await counted(1)
        left = await counted.ttl(our_manager)
        assert left is not None
        assert 45 < left <= 50
        await counted.function.invalidate_all()


async def test_p9_no_class_is_taken_from_redis(our_manager: CacheManager) -> None:
    """A record that names another class than those of the decorator is a miss."""
    counted = Counted(our_manager, exceptions=[BusyError])
    await counted(BusyError("a"))
    key = counted.function.cache_key("a")
    sound = await standing_at(our_manager, key)
    name = f"{BusyError.__module__}:{BusyError.__qualname__}".encode()
    assert name in sound
    for forged in (b"builtins:SystemExit", b"builtins:Exception", b"os:system", b"fastapi"):
        data = resealed(sound.replace(name, forged))
        await our_manager.backend.set_bytes(f"{our_manager.key_prefix}:{key}", data, 60)
        runs = counted.runs
        assert await counted("computed") == "computed"
        assert counted.runs == runs + 1
        await counted.function.invalidate("a")


async def test_p8_an_exception_for_one_user_is_not_kept(our_manager: CacheManager) -> None:
    """The rules for results hold for what is raised as well; a hit has the handler's response."""
    app = FastAPI()
    runs: list[str] = []

    @app.exception_handler(NotFoundError)
    async def handle(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, NotFoundError)
        return JSONResponse({"missing": error.what}, 404)

    @app.get("/shared/{name}")
    @cache_response(our_manager, "shared", exceptions=[NotFoundError])
    async def shared(name: str) -> str:
        runs.append(name)
        raise NotFoundError(name)

    @app.get("/own")
    @cache_response(our_manager, "own", exceptions=[NotFoundError], ignore=("user",))
    async def own(user: Annotated[str, Header()]) -> str:
        runs.append(user)
        raise NotFoundError(user)

    for _ in range(2):
        response = await get(app, "/shared/one")
        assert (response.status_code, response.json()) == (404, {"missing": "one"})
    assert runs == ["one"]
    for user in ("ada", "bob"):
        response = await get(app, "/own", headers={"user": user})
        assert response.json() == {"missing": user}
    assert runs == ["one", "ada", "bob"]
    assert STATUS not in response.headers


async def test_a_refresh_that_raises_a_listed_exception_replaces_the_entry(
    our_manager: CacheManager,
) -> None:
    """It is the answer now; one that is not listed leaves the entry."""
    counted = Counted(our_manager, exceptions=[NotFoundError])
    assert await counted("there") == "there"
    with pytest.raises(BusyError):
        await counted.function.refresh("a", BusyError())
    assert await counted(None) == "there"
    with pytest.raises(NotFoundError):
        await counted.function.refresh("a", NotFoundError("user"))
    assert isinstance(await counted("there"), NotFoundError)
