"""What is refused when a function is decorated, and what is told in the call, with what to do."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, Request, Response, Security
from pydantic import BaseModel

from ... import CacheManager, MemoryBackend, cache_response, invalidate_cache


class Session(BaseModel):
    """Stands for a session: it has an identity, so that nothing else is the matter with it."""

    id: int = 0


async def session() -> AsyncIterator[Session]:
    """Lend a session."""
    yield Session()


async def read(user_id: int, page: int = 1) -> int:
    """Return what was asked for."""
    return user_id


@pytest.mark.parametrize("given", ["users", None, 60, MemoryBackend(), CacheManager, {}], ids=repr)
async def test_a_missing_manager_is_told(given: Any) -> None:
    """With what stands in its place."""
    for decorator, more in ((cache_response, ("x", 60)), (invalidate_cache, ("x",))):
        with pytest.raises(TypeError, match="is no CacheManager; it comes first: ") as caught:
            decorator(given, *more)
        assert f"cache_manager={given!r}" in str(caught.value)


async def test_an_argument_in_the_managers_place_is_told() -> None:
    """As it is written where the manager was forgotten."""
    with pytest.raises(TypeError, match="cache_manager='users' is no CacheManager"):
        cache_response("users", 60)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"cache_manager='users:\*' is no CacheManager"):
        invalidate_cache("users:*")  # type: ignore[arg-type]


async def test_missing_parentheses_are_told() -> None:
    """With how the decorator is written."""
    for decorator in (cache_response, invalidate_cache):
        with pytest.raises(TypeError, match=r"has no arguments, and decorates read; .*@\w+\("):
            decorator(read)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        *(({"stale": time}, ValueError) for time in (-1, timedelta(seconds=-1))),
        *(({"stale": time}, TypeError) for time in (True, [1], b"1m")),
        *(({"expire": time}, TypeError) for time in (True, [1], b"1m")),
        *(({"stale": time}, ValueError) for time in ("1", "", "-1m", "1.5e3s", "1 m")),
        *(({"expire": time}, ValueError) for time in ("1", "ten minutes", "5mm", "1h 5m", "m")),
        *(({"expire": float(time)}, ValueError) for time in ("nan", "inf", "-inf")),
        *(({"early_refresh": early}, ValueError) for early in (5, 2.1, -0.1, -1)),
        *(({"early_refresh": float(early)}, ValueError) for early in ("nan", "inf", "-inf")),
        *(({"early_refresh": early}, TypeError) for early in ("1", None, True, [1])),
        *(({"key_prefix": prefix}, TypeError) for prefix in (60, None, b"users")),
    ],
    ids=repr,
)
async def test_a_wrong_time_or_factor_is_told(
    memory: CacheManager, options: dict[str, Any], error: type[Exception]
) -> None:
    """With its name and value, before anything is decorated."""
    [(name, value)] = options.items()
    with pytest.raises(error) as caught:
        cache_response(memory, **{"key_prefix": "users", **options})
    assert f"{name}={value!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("user:{id}", r'has braces, .* key_prefix="user", key="\{user_id\}"'),
        *((prefix, "has braces") for prefix in ("{user}", "user}", "{", "{{user}}")),
        ("x" * 10_000, r"key_prefix='x{97}\.\.\.' must have 1 to 100 bytes"),
    ],
)
async def test_a_wrong_key_prefix_is_told(memory: CacheManager, prefix: str, message: str) -> None:
    """With what to do, and in few words."""
    with pytest.raises(ValueError, match=message) as caught:
        cache_response(memory, prefix)
    assert len(str(caught.value)) < 400


async def test_a_missing_key_prefix_is_told(memory: CacheManager) -> None:
    """As missing, with an example."""
    with pytest.raises(TypeError, match=r'is missing: .*cache_response\(.*key_prefix="users"\)'):
        cache_response(memory)


NO_HEADERS = [
    "",
    "accept language",
    " accept",
    "accept,cookie",
    "accept:",
    "a\r\nb",
    "\u00e9",
    "{x}",
]


@pytest.mark.parametrize("name", NO_HEADERS)
async def test_p8_what_can_be_no_header_is_refused(memory: CacheManager, name: str) -> None:
    """It would never be found in a request, and keep nobody apart."""
    with pytest.raises(ValueError, match=r"which is no name of a header; .* 'accept-language'"):
        cache_response(memory, "x", vary=("accept", name))(read)


@pytest.mark.parametrize("value", [5, None, 1.5], ids=repr)
@pytest.mark.parametrize("name", ["ignore", "vary", "tags", "cache_status"])
async def test_one_thing_in_the_place_of_several_is_told(
    memory: CacheManager, name: str, value: Any
) -> None:
    """With its name and value, and how to write it."""
    with pytest.raises(TypeError) as caught:
        cache_response(memory, "users", **{name: value})
    assert f"{name}={value!r} is one {type(value).__name__}; give a tuple or a list" in str(
        caught.value
    )


@pytest.mark.parametrize("name", ["keys", "tags"])
async def test_one_thing_in_the_place_of_several_is_told_when_invalidating(
    memory: CacheManager, name: str
) -> None:
    """With its name and value, and how to write it."""
    with pytest.raises(TypeError, match=rf"{name}=5 is one int; .* {name}=\(5,\)"):
        invalidate_cache(memory, **{name: 5})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stale": -5}, "stale=-5 must be 0 or more"),
        ({"stale": "5"}, "stale='5' must be numbers with units"),
        ({"tags": 5}, "tags=5 is one int"),
        ({"tags": None}, "tags=None is one NoneType"),
        ({"tags": "x"}, "tags='x' is a string"),
    ],
    ids=repr,
)
async def test_a_wrong_argument_of_get_or_set_is_told(
    memory: CacheManager, options: dict[str, Any], message: str
) -> None:
    """Before anything is computed."""

    async def never() -> None:
        raise AssertionError

    with pytest.raises((TypeError, ValueError), match=message):
        await memory.get_or_set("users:1", never, **options)


@pytest.mark.parametrize("early", [0, 0.0, 1, 0.5, 2])
async def test_a_right_factor_is_taken(memory: CacheManager, early: float) -> None:
    """From nothing to twice the time that the function takes."""
    cache_response(memory, "users", early_refresh=early, stale=timedelta(0))


async def test_p10_each_kind_of_reason_is_told_once(
    memory: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Not the first kind only, and not once for each value."""
    reasons: list[Any] = [
        *(ValueError(f"bad value {number}") for number in range(100)),
        *(KeyError(number) for number in range(100)),
        *(TypeError(f"'{number}'") for number in range(100)),
    ]

    def key(number: int) -> str:
        raise reasons[number]

    @cache_response(memory, "x", key=key)
    async def function(number: int) -> int:
        return number

    for number in range(len(reasons)):
        await function(number)
    kinds = [record.getMessage().split(": ")[1] for record in caplog.records]
    assert kinds == ["key= raised ValueError", "key= raised KeyError", "key= raised TypeError"]


async def test_p10_each_parameter_without_identity_is_told(
    memory: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where another one was told before."""

    @cache_response(memory, "x")
    async def function(one: object, two: object) -> None: ...

    for _ in range(3):
        await function(object(), 1)
        await function(1, object())
    told = [record.getMessage() for record in caplog.records]
    assert ["'one'" in told[0], "'two'" in told[1], len(told)] == [True, True, 2]


async def test_p10_a_cache_key_method_that_fails_is_told(
    memory: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises, a `TypeError` as well."""

    class Thing:
        def __cache_key__(self) -> str:
            raise TypeError("it has none yet")

    @cache_response(memory, "x")
    async def function(thing: Thing) -> int:
        return 1

    assert await function(Thing()) == 1
    assert "runs uncached" in caplog.text
    assert "it has none yet" in caplog.text


async def test_a_call_that_does_not_fit_is_the_functions_own_error(
    memory: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """With any key, and nothing is logged."""
    for key in (None, "{user_id}:{page}", lambda user_id, page: f"{user_id}:{page}"):
        cached: Any = cache_response(memory, "x", key=key)(read)
        write: Any = invalidate_cache(memory, "other:{user_id}")(read)
        for function in (cached, write):
            with pytest.raises(TypeError, match=r"read\(\) missing 1 required positional argument"):
                await function()
            with pytest.raises(
                TypeError, match=r"read\(\) got an unexpected keyword argument 'usr'"
            ):
                await function(1, usr=2)
    assert caplog.records == []


# --- refresh in the background --------------------------------------------------------------------

Current = Annotated[Session, Depends(session)]


async def by_default(session: Session = Depends(session)) -> None: ...  # noqa: B008 - older examples
async def annotated(session: Annotated[Session, Depends(session)]) -> None: ...
async def aliased(session: Current) -> None: ...
async def secured(session: Annotated[Session, Security(session, scopes=["me"])]) -> None: ...
async def bare(session: Annotated[Session, Depends()]) -> None: ...
async def optional(session: Current | None = None) -> None: ...
async def answering(session: Response) -> None: ...
async def asking(session: Request) -> None: ...
async def maybe_asking(session: Request | None = None) -> None: ...
async def scheduling(session: BackgroundTasks) -> None: ...


@pytest.mark.parametrize(
    "function",
    [by_default, annotated, aliased, secured, bare, answering, asking, maybe_asking, scheduling],
)
@pytest.mark.parametrize("ignore", [(), ("session",)])
async def test_a_refresh_in_the_background_needs_nothing_of_the_request(
    memory: CacheManager, function: Callable[..., Any], ignore: tuple[str, ...]
) -> None:
    """Ignored or not: what ends with the request is gone when the function runs."""
    with pytest.raises(ValueError, match=r"'session' .*use refresh=\"inline\""):
        cache_response(memory, "x", stale=60, refresh="background", ignore=ignore)(function)
    cache_response(memory, "x", stale=60, ignore=ignore)(function)


async def test_a_refresh_in_the_background_of_plain_arguments_is_taken(
    memory: CacheManager,
) -> None:
    """Whatever FastAPI reads them from."""
    cache_response(memory, "x", stale=60, refresh="background")(read)
