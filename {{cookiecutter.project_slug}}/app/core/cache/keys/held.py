"""Finds out which parts of a request a `key=` holds.

A `key=` may take only a piece of a header, or only whether it exists. Then different requests would
share the key. So a part of the request counts as held only if two things are true. Its whole text
is one of the values that make the key. And if the key is made again for requests with another text,
that text is in the same place. If only a piece of any part is read, nothing counts as held.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from secrets import token_hex
from typing import Any, NamedTuple
from urllib.parse import quote

Scope = Mapping[str, Any]
Ask = Callable[[Scope, set[str]], tuple[object, ...]]
"""Makes the key's values again, with these changes of the scope, and notes what is read."""

# It has all that a function may drop, fold, decode, or split at. `/` is for a path.
_ODD = "/Zq  kX\xe9\xb2%41+,.;:=&'\"*~_-aa"


class _Thing(NamedTuple):
    """A text of a request (`None`: no such header), and a function that replaces it."""

    own: str | None
    change: Callable[[Any], Scope]
    others: tuple[str | None, ...] = ()


def held(ask: Ask, scope: Scope) -> set[str]:
    """Return all that the `key=` reads of a request if the key holds all of it, else nothing."""
    noted: set[str] = set()
    try:
        made = ask({}, noted)
        words = set(noted)
        for word in words:
            things = list(_things(word, scope))
            if not things or not all(_is_whole(thing, made, ask, noted) for thing in things):
                return set()
    except Exception:  # another text makes no key, or the part is not a text
        return set()
    return words if noted == words else set()


def _things(word: str, scope: Scope) -> Iterator[_Thing]:
    """Yield the texts that a word stands for; none if the key cannot hold such a part."""
    if word in ("the method", "the path"):
        name = word.removeprefix("the ")
        yield _Thing(scope[name], lambda text: {name: text})
    elif word == "the query_string":
        yield _Thing(scope["query_string"].decode(), lambda text: {"query_string": text.encode()})
    elif word == "the path_params":
        for name, value in scope["path_params"].items():
            yield _Thing(value, partial(_with_param, scope, name))
    elif word.startswith("the header "):
        name = ast.literal_eval(word.removeprefix("the header "))
        lines = [value for key, value in scope["headers"] if key.lower() == name.encode("latin-1")]
        if len(lines) <= 1:  # of several lines, the function may take any
            own = lines[0].decode("latin-1") if lines else None
            others = (None, f"Bearer {own}", f" {own} ")
            yield _Thing(own, partial(_with_header, scope, name), others)


def _with_param(scope: Scope, name: str, text: str) -> Scope:
    return {"path_params": {**scope["path_params"], name: text}}


def _with_header(scope: Scope, name: str, text: str | None) -> Scope:
    key = name.encode("latin-1")
    lines = [line for line in scope["headers"] if line[0].lower() != key]
    return {"headers": lines if text is None else [*lines, (key, text.encode("latin-1"))]}


def _is_whole(thing: _Thing, made: tuple[object, ...], ask: Ask, noted: set[str]) -> bool:
    own = thing.own or ""
    mark = f"{_ODD}{token_hex(32)}{own}{token_hex(32)}"
    marked = ask(thing.change(mark), noted)
    pairs = enumerate(zip(made, marked, strict=True))
    places = [place for place, (one, other) in pairs if one != other]
    if not places or any(made[place] != thing.own for place in places):
        return False
    near = (f"{own}{mark}", own[:-1], own.swapcase(), quote(own), "")
    for text in (mark, *near, *thing.others):
        expected = [text if place in places else value for place, value in enumerate(made)]
        try:
            again = ask(thing.change(text), noted)
        except Exception:  # without a header there may be no key
            if text is not None:
                return False
        else:
            if again != tuple(expected):
                return False
    return True
