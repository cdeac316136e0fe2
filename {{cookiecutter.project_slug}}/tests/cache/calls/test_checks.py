"""What is refused when a function is decorated, and what is told in the call, with what to do."""

import functools
import gc
import operator
import re
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, Request, Response, Security
from fastapi.security import SecurityScopes
from pydantic import BaseModel

from app.core.cache import CacheManager, MemoryBackend, cache_response, invalidate_cache


class Session(BaseModel):
    """Stands for a session: it has an identity, so that nothing else is the matter with it."""

    id: int = 0


async def session() -> AsyncIterator[Session]:
    """Lend a session."""
    yield Session()


async def read(user_id: int, page: int = 1) -> int:
    """Return what was asked for."""
    return user_id


@pytest.fixture
def memory() -> CacheManager:
    """Lend a manager over memory."""
    return CacheManager(MemoryBackend())


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
        *(({"stale": time}, TypeError) for time in (1.5, "1", True, [1])),
        *(({"expire": time}, TypeError) for time in (1.5, "1", True, [1])),
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
        ({"stale": "5"}, "stale='5' is a str"),
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


# --- templates that leave something out -----------------------------------------------------------


async def two(user_id: int, page: int) -> None: ...
async def more(user_id: int, *rest: int) -> None: ...
async def named(user_id: int, **rest: int) -> None: ...
async def scoped(user_id: int, scopes: SecurityScopes) -> None: ...
async def model(user_id: int, filters: Session) -> None: ...


@pytest.mark.parametrize(
    ("function", "left", "advice"),
    [
        (two, "page", 'key="{user_id}:{page}"'),
        (more, "rest", 'key="{user_id}:{rest}"'),
        (named, "rest", 'key="{user_id}:{rest}"'),
        (model, "filters", 'key="{user_id}:{filters.id}"'),
    ],
)
async def test_p2_a_template_that_leaves_out_a_parameter_is_refused(
    memory: CacheManager, function: Callable[..., Any], left: str, advice: str
) -> None:
    """The safe advice comes first; to leave it out in full sight comes last."""
    with pytest.raises(ValueError, match=f"leaves out '{left}'") as caught:
        cache_response(memory, "x", key="{user_id}")(function)
    message = str(caught.value)
    assert 0 < message.index(advice) < message.index(f'ignore=("{left}",)')
    cache_response(memory, "x", key="{user_id}", ignore=(left,))(function)


async def test_p2_a_template_of_a_method_names_the_object(memory: CacheManager) -> None:
    """Or two objects would share their entries."""
    with pytest.raises(ValueError, match=r'leaves out .self.*key="\{self\.table\}:\{number\}"'):

        class Repository:
            @cache_response(memory, "x", key="{number}")
            async def read(self, number: int) -> None: ...


async def test_what_fastapi_hands_to_an_endpoint_may_be_left_out(memory: CacheManager) -> None:
    """What is read of it is watched."""

    @cache_response(memory, "x", key="{user_id}")
    async def endpoint(
        user_id: int, request: Request, response: Response, tasks: BackgroundTasks
    ) -> None: ...

    assert endpoint.cache_key(1) == "x:1"


# --- key functions that leave something out -------------------------------------------------------


class KeyOf:
    """Makes keys, as an object and by its methods."""

    def __call__(self, user_id: int, page: int) -> object:
        """Leave out a parameter."""
        return f"{user_id}"

    def whole(self, user_id: int, page: int) -> object:
        """Leave out none."""
        return user_id, page

    def part(self, user_id: int, page: int) -> object:
        """Leave out a parameter."""
        return f"{page}" if page else "none"


def only_named(**named: int) -> object:
    """Look one of two up."""
    return f"{named['user_id']}"


def only_got(**named: int) -> object:
    """Look one of two up, in another way."""
    return f"{named.get('user_id')}:{named.pop('user_id')}"


def only_first(*given: int) -> object:
    """Look one of two up."""
    return f"{given[0]}"


def only_last(*given: int) -> object:
    """Look one of two up."""
    return f"{given[-1]}"


def wrapping(inner: Any) -> Any:
    """Return a decorated key function."""

    @functools.wraps(inner)
    def outer(*given: Any, **named: Any) -> Any:
        return inner(*given, **named)

    return outer


def by_a_function_inside(user_id: int, page: int) -> object:
    """Read parameters from inside."""

    def inside() -> object:
        return user_id, page

    return inside()


LEAVING: list[tuple[Any, str]] = [
    *((lambda user_id, page: f"{user_id}", "page"), (lambda user_id, page: "all", "user_id")),
    *((lambda page, user_id: f"{user_id}", "page"), (lambda a, b: f"{a}", "page")),
    *((lambda a, b: f"{b}", "user_id"), (lambda user_id, **_: f"{user_id}", "page")),
    *((lambda user_id, *_: f"{user_id}", "page"), (lambda *_, **__: "all", "user_id")),
    *((KeyOf(), "page"), (KeyOf().part, "user_id"), (functools.partial(KeyOf()), "page")),
    *((only_named, "page"), (only_got, "page"), (only_first, "page"), (only_last, "user_id")),
    (functools.partial(lambda more, user_id, page: f"{more}{page}", 1), "user_id"),
    (functools.partial(lambda user_id, page: f"{user_id}", page=1), "page"),
    *((functools.lru_cache(lambda a, b: f"{b}"), "user_id"), (wrapping(KeyOf().part), "user_id")),
]
READING: list[Any] = [
    *(lambda *given, **named: (given, named), lambda *given: given, KeyOf().whole),
    *(lambda **named: tuple(named.values()), lambda **named: (named["page"], named["user_id"])),
    *(lambda **named: ":".join(f"{each}={named[each]}" for each in sorted(named)),),
    *(lambda *given: given[0:2], lambda *given: (given[0], given[1]), lambda *given: (*given,)),
    *(lambda *given: (given[-1], given[-2]), lambda user_id, **more: (user_id, more["page"])),
    *(lambda user_id, page: "{user_id}:{page}".format(**locals()), lambda a, b: f"{a}:{b}"),
    *(lambda user_id, page: ":".join(str(each) for each in [user_id] if page), "{}:{}".format),
    by_a_function_inside,
    *(functools.partial(KeyOf().whole), functools.partial("{}:{}:{}".format, "x"), min),
    *(functools.lru_cache(lambda a, b: (a, b)), wrapping(lambda user_id, page: (user_id, page))),
    *(functools.partial(lambda user_id, page: (user_id, page), page=1), operator.add),
]


@pytest.mark.parametrize(("key", "left"), LEAVING)
async def test_p8_a_key_function_that_leaves_out_a_parameter_is_refused(
    memory: CacheManager, key: Any, left: str
) -> None:
    """As a template is; the safe advice comes first, and to leave it out in full sight last."""
    with pytest.raises(ValueError, match=f"leaves out '{left}', a parameter of it") as caught:
        cache_response(memory, "x", key=key)(read)
    message = str(caught.value)
    advice = 'key="{user_id}:{page}"'
    assert 0 < message.index(advice) < message.index(f'ignore=("{left}",)')
    cache_response(memory, "x", key=key, ignore=("user_id", "page"))(read)


@pytest.mark.parametrize("key", READING)
async def test_a_key_function_that_reads_all_is_taken(memory: CacheManager, key: Any) -> None:
    """However it does so; of what is not written in Python, nobody can tell."""
    cache_response(memory, "x", key=key)(read)


async def test_p8_a_key_function_of_several_has_to_read_all_of_them(memory: CacheManager) -> None:
    """One that looks up one of them leaves out the others."""
    leaving: list[tuple[Any, Any]] = [
        (more, lambda user_id, *rest: f"{user_id}"),
        (more, lambda *given: f"{given[0]}:{given[1]}"),
        (named, lambda user_id, **rest: f"{user_id}"),
        (named, lambda user_id, **rest: (user_id, rest["a"])),
        (named, lambda **rest: (rest["user_id"], rest["rest"])),
    ]
    for function, key in leaving:
        with pytest.raises(ValueError, match="leaves out 'rest'"):
            cache_response(memory, "x", key=key)(function)
    for function in (more, named):
        cache_response(memory, "x", key=lambda *given, **others: (given, others))(function)


async def test_p8_what_fastapi_hands_over_may_be_left_out_by_a_key_function(
    memory: CacheManager,
) -> None:
    """But not scopes, which nobody watches; the advice names what they have."""

    async def endpoint(
        a: int, request: Request, response: Response, tasks: BackgroundTasks
    ) -> None:
        pass

    cache_response(memory, "x", key=lambda a, request, response, tasks: f"{a}")(endpoint)
    with pytest.raises(ValueError, match=r"'scopes'.*key=\"\{user_id\}:\{scopes\.scope_str\}"):
        cache_response(memory, "x", key=lambda user_id, scopes: f"{user_id}")(scoped)
    with pytest.raises(ValueError, match=r"'scopes'.*key=\"\{user_id\}:\{scopes\.scope_str\}"):
        cache_response(memory, "x", key="{user_id}")(scoped)
    for key in ("{user_id}:{scopes.scope_str}", lambda a, b: (a, b.scope_str)):
        cached = cache_response(memory, "x", key=key)(scoped)
        assert cached.cache_key(1, SecurityScopes(["me"])) == "x:1:me"


async def test_p8_a_key_function_of_a_method_reads_the_object(memory: CacheManager) -> None:
    """Or two objects would share their entries."""
    with pytest.raises(ValueError, match=r"'self'.*key=\"\{self\.table\}:\{number\}\""):

        class Repository:
            @cache_response(memory, "x", key=lambda self, number: f"{number}")
            async def read(self, number: int) -> None: ...


# --- key functions --------------------------------------------------------------------------------


async def asynchronous(user_id: int, page: int) -> str:
    """Return a key, later."""
    return f"{user_id}:{page}"


async def asynchronous_generator(user_id: int, page: int) -> AsyncIterator[str]:
    """Return keys, later."""
    yield f"{user_id}:{page}"


def generator(user_id: int, page: int) -> Iterator[str]:
    """Return keys."""
    yield f"{user_id}:{page}"


@functools.wraps(asynchronous)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    """Return what is awaited."""
    return asynchronous(*args, **kwargs)


class Keys:
    """Makes keys."""

    async def __call__(self, user_id: int, page: int) -> str:
        """Return a key, later."""
        return f"{user_id}:{page}"

    async def method(self, user_id: int, page: int) -> str:
        """Return a key, later."""
        return f"{user_id}:{page}"


LATER: list[Any] = [
    *(asynchronous, asynchronous_generator, generator, wrapped, Keys(), Keys().method),
    *(
        functools.partial(asynchronous, page=1),
        functools.partial(Keys()),
        functools.partial(wrapped),
    ),
]


@pytest.mark.parametrize("key", LATER, ids=lambda key: type(key).__name__)
async def test_an_asynchronous_key_function_is_refused(memory: CacheManager, key: Any) -> None:
    """A key is needed at once."""
    with pytest.raises(
        TypeError, match=r"is asynchronous or a generator, .* give a plain function"
    ):
        cache_response(memory, "x", key=key)(read)


def of_more(user_id: int, page: int, extra: int) -> str:
    """Want more than there is."""
    return f"{user_id}"


@pytest.mark.parametrize(
    "key",
    [
        *(lambda: "x", lambda user_id: f"{user_id}", of_more, functools.partial(of_more, 1, 2, 3)),
        *(
            lambda *, user_id: f"{user_id}",
            lambda user_id, /, *, pages: f"{user_id}",
            dict.fromkeys,
        ),
    ],
)
async def test_a_key_function_that_does_not_take_every_call_is_refused(
    memory: CacheManager, key: Any
) -> None:
    """With the parameters that it wants, and those that it is called with."""
    if key == dict.fromkeys:
        cache_response(memory, "x", key=key)(read)  # of which nothing can be known, or it fits
        return
    with pytest.raises(TypeError, match=r"has to take every call of read\(user_id: int, page: int"):
        cache_response(memory, "x", key=key)(read)


async def test_a_key_function_has_to_take_what_is_handed_to_the_endpoint(
    memory: CacheManager,
) -> None:
    """The message names it."""

    async def endpoint(user_id: int, response: Response) -> None: ...

    for takes in (lambda user_id: f"{user_id}", lambda user_id, *, tasks: f"{user_id}"):
        with pytest.raises(TypeError, match="response is handed to it, too"):
            cache_response(memory, "x", key=takes)(endpoint)
    key = cache_response(memory, "x", key=lambda user_id, response: f"{user_id}")(endpoint)
    assert key.cache_key(1) == "x:1"


@pytest.mark.parametrize(
    "key",
    [
        *(
            lambda user_id, page: (user_id, page),
            lambda a, b: (a, b),
            lambda page, user_id: (user_id, page),
        ),
        *(
            lambda *args, **more: (*args, *more.values()),
            lambda user_id, **more: (user_id, more["page"]),
        ),
        *(
            lambda user_id, page=7: (user_id, page),
            lambda user_id, /, page, more=0: (user_id, page),
        ),
        *(lambda *args: args, functools.partial(lambda more, user_id, page: (user_id, page), 1)),
    ],
)
async def test_p2_a_key_function_sees_one_call_as_one(memory: CacheManager, key: Any) -> None:
    """However the call is written, and with the defaults of the function, not its own."""
    cached = cache_response(memory, "x", key=key)(read)
    ways = [cached.cache_key(2), cached.cache_key(2, 1), cached.cache_key(page=1, user_id=2)]
    assert ways == ["x:2:1"] * 3
    assert cached.cache_key(1, 2) == "x:1:2"


def raising(error: Exception) -> Callable[..., str]:
    """Return a key function that raises."""

    def key(user_id: int, page: int) -> str:
        raise error.with_traceback(None) if user_id or page else error

    return key


async def coroutine() -> str:
    """Return a key, later."""
    return "key"


BROKEN: list[tuple[Any, str]] = [
    (raising(TypeError("no such thing")), "key= raised TypeError: no such thing"),
    (raising(KeyError("x")), "key= raised KeyError"),
    (lambda user_id, page: [user_id, page].clear(), "makes no key: a value of type NoneType"),
    (lambda user_id, page: {"pin": user_id, "page": page}, "makes no key: a value of type dict"),
    (lambda user_id, page: f"{user_id}{page}"[9:], "makes no key: an empty string"),
    (lambda user_id, page: user_id and page and coroutine(), "key= returned an awaitable"),
    (lambda user_id, page: (object(), user_id, page), "an? object has no text"),
    (max, "makes no key: a value of type int"),
]


@pytest.mark.parametrize(("key", "why"), BROKEN)
async def test_p10_a_key_function_that_makes_no_key_is_told(
    memory: CacheManager, key: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, the function runs, and Python has nothing to say of coroutines that nobody awaited."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached = cache_response(memory, "x", key=key)(read)
        assert [await cached(user_id) for user_id in range(1, 4)] == [1, 2, 3]
        gc.collect()
    [warning] = [record.getMessage() for record in caplog.records]
    assert "'pin'" not in warning  # an argument is nobody's business
    assert "read runs uncached: " in warning
    assert re.search(why, warning)
    with pytest.raises(TypeError, match=why):
        cached.cache_key(1)


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
