"""What is refused of keys when a function is decorated: first templates, then functions."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import BackgroundTasks, Request, Response
from fastapi.security import SecurityScopes
from pydantic import BaseModel

from ... import CacheManager, cache_response


class Session(BaseModel):
    """Stands for a session: it has an identity, so that nothing else is the matter with it."""

    id: int = 0


async def read(user_id: int, page: int = 1) -> int:
    """Return what was asked for."""
    return user_id


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


async def test_a_template_that_leaves_out_a_parameter_is_shown_whole(memory: CacheManager) -> None:
    """The advice keeps what the template has."""

    async def shown(request: Request, page: int) -> None: ...

    with pytest.raises(ValueError, match=r'key="v2:\{request\.url\.path\}:\{page\}"'):
        cache_response(memory, "x", key="v2:{request.url.path}")(shown)


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
