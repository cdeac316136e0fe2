"""What of a request is in a key that a function has made, of all that the function looked at.

The function may have put a part of a header into the key, or whether there is one. Requests that differ
would then share the key. So the function is asked again, for requests in which one thing is another text:
one that nobody can guess, a longer one, a shorter one, an empty one, and none. The key holds the thing if
its whole text stands in the key, and each other text makes the key that has it in the same place. Between
other texts it must be clear where it ends; as a value of a tuple it always is.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from secrets import randbelow, token_hex
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.datastructures import URL

from ..reads import HOST, SCHEME
from ..values import UnkeyableError
from .templates import quoted

Scope = Mapping[str, Any]
Make = Callable[[Scope], object]
"""Returns what the function makes, a text or a tuple, where the request's scope has this in it."""
_Parts = list[Any]

_PATH, _QUERY, _PARAMS = "the path", "the query_string", "the path_params"
_URL = frozenset({HOST, SCHEME, _PATH, _QUERY})
_WRITTEN: tuple[Callable[[str], str], ...] = (str, quote, quoted)
"""Ways in which a function may write a text."""
_LARGE = 10**40


class _Thing(NamedTuple):
    """One thing of a request: its text in a scope, and what scopes have in them where it is another.

    In the first of them it is a text that stands nowhere else; in the last, if it is `without`, there
    is none.
    """

    text: Callable[[Scope], str | None]
    changes: list[Scope]
    without: Scope | None = None


def held(noted: set[str], make: Make, scope: Scope) -> set[str]:
    """Return which of the words in `noted` stand for something that the key holds."""
    found = {word for word in noted if _is_held(list(_things(word, scope)), make, scope)}
    if (
        HOST in noted
        and not found.issuperset(_URL & noted)
        and _is_held([_url(scope)], make, scope)
    ):
        found |= _URL & noted
    return found


def _things(word: str, scope: Scope) -> Iterator[_Thing]:
    """Yield what a word stands for; nothing for what is no text."""
    mark = f"Zq{token_hex(32)}Kx"
    if word == "the method":
        yield _thing(scope, "method", mark)
    elif word == _PATH:
        yield _thing(scope, "path", f"/{mark}")
    elif word == _QUERY:
        yield _thing(scope, "query_string", f"{mark}=Wk".encode())
    elif word == _PARAMS:
        for name, value in scope.get("path_params", {}).items():
            other = _LARGE + randbelow(_LARGE) if type(value) is int else mark
            yield _thing(scope, "path_params", other, name)
    elif word.startswith("the header "):
        name = ast.literal_eval(word.removeprefix("the header "))
        if len(_lines(scope, name)) <= 1:  # of several, nobody can tell which a function takes
            yield _header(scope, name, mark)


def _thing(scope: Scope, key: str, mark: Any, name: str | None = None) -> _Thing:
    """Return what stands in a scope at a key, or there at a name."""

    def get(scope: Scope) -> Any:
        return scope.get(key, mark[:0]) if name is None else scope[key][name]

    def change(value: Any) -> Scope:
        return {key: value if name is None else {**scope[key], name: value}}

    def text(scope: Scope) -> str:
        value = get(scope)
        return value.decode("latin-1") if isinstance(value, bytes) else str(value)

    own = get(scope)
    if type(own) is int:
        near = [own * 10 + 1, own // 10] if own else [1]
    elif type(own) is type(mark):
        near = [own + mark[:1], own[:-1], own[:0]]
    else:  # of a type that is no text
        return _Thing(text, [])
    return _Thing(text, list(map(change, [mark, *near])))


def _lines(scope: Scope, name: str) -> list[str]:
    lines = [(key.decode("latin-1").lower(), value) for key, value in scope["headers"]]
    return [value.decode("latin-1") for key, value in lines if key == name]


def _with_header(scope: Scope, name: str, *values: str) -> Scope:
    rest = [line for line in scope["headers"] if line[0].decode("latin-1").lower() != name]
    lines = [(name.encode("latin-1"), value.encode("latin-1")) for value in values]
    return {"headers": [*rest, *lines]}


def _header(scope: Scope, name: str, mark: str) -> _Thing:
    own = "".join(_lines(scope, name))
    return _Thing(
        lambda scope: next(iter(_lines(scope, name)), None),
        [_with_header(scope, name, text) for text in (mark, f"{own}x", own[:-1], "")],
        _with_header(scope, name),
    )


def _url(scope: Scope) -> _Thing:
    """Return the whole URL as one thing."""
    host, path = "".join(_lines(scope, "host")), scope["path"]
    query = scope.get("query_string", b"")
    mark = token_hex(32)
    others = [(mark, f"/Zq{mark}", mark.encode()), (f"{host}x", path, query)]
    others += [
        (host, f"{path}x", query),
        (host, path, query + b"x"),
        (host, path, query[:-1]),
        (host, path, b""),
    ]
    return _Thing(
        lambda scope: str(URL(scope=dict(scope))),
        [
            {**_with_header(scope, "host", host), "path": path, "query_string": query}
            for host, path, query in others
        ],
    )


def _is_held(things: list[_Thing], make: Make, scope: Scope) -> bool:
    """Whether a key holds all of some things, and there are any."""
    try:
        return bool(things) and all(_stands(each, make, scope) for each in things)
    except UnkeyableError:  # another text makes no key
        return False


def _stands(thing: _Thing, make: Make, scope: Scope) -> bool:
    if not thing.changes:
        return False
    own, key = thing.text(scope), _parts(make({}))
    mark = str(thing.text({**scope, **thing.changes[0]}))
    pattern = _parts(make(thing.changes[0]))
    made = [(thing.text({**scope, **each}), _parts(make(each))) for each in thing.changes]
    for write in _WRITTEN:
        put = [_put(pattern, write(mark), write(text or "")) == key for text, key in made]
        if all(put) and _ends(pattern, write(mark), [write(text or "") for text, _ in made]):
            if own is None:
                return not _may_make(pattern, write(mark), key)
            is_own = _put(pattern, write(mark), write(own)) == key
            return is_own and (thing.without is None or _without(thing.without, make) != key)
    return False


def _without(without: Scope, make: Make) -> _Parts | None:
    try:
        return _parts(make(without))
    except UnkeyableError:  # then there is no key, and none that others share
        return None


def _parts(made: object) -> _Parts:
    """Return the type of what a function has made, and the values in it with theirs."""
    values = made if isinstance(made, tuple) else (made,)
    return [type(made), *((type(each), each) for each in values)]


def _put(pattern: _Parts, mark: str, text: str) -> _Parts:
    """Return what has a text where `mark` stands."""
    kind, *values = pattern
    put: _Parts = []
    for cls, value in values:
        if cls is str:
            put.append((cls, value.replace(mark, text)))
        else:
            put.append((cls, int(text)) if cls is int and str(value) == mark else (cls, value))
    return [kind, *put]


def _ends(pattern: _Parts, mark: str, texts: list[str]) -> bool:
    """Whether a mark is there, and it can be seen where a text in its place ends."""
    values = [str(value) for cls, value in pattern[1:] if cls in (str, int)]
    beside = {
        character
        for value in values
        for found in re.finditer(f"(.?){re.escape(mark)}(?=(.?))", value, re.DOTALL)
        for character in found.groups()
    } - {""}
    return any(mark in value for value in values) and not any(
        each.isalnum() or any(each in text for text in texts if mark not in text) for each in beside
    )


def _may_make(pattern: _Parts, mark: str, key: _Parts) -> bool:
    """Whether there may be a text that makes a key."""
    if pattern[0] is not key[0] or len(pattern) != len(key):
        return False
    for (cls, value), (other, made) in zip(pattern[1:], key[1:], strict=True):
        if cls is str and mark in value:
            there = re.escape(value).replace(re.escape(mark), "(?:.*)")
            if other is not str or not re.fullmatch(there, made, re.DOTALL):
                return False
        elif (cls, value) != (other, made):
            return False
    return True
