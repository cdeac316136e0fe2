"""Which keys and tags decorated functions have, and what `invalidate_cache` covers of them."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from dis import get_instructions
from types import CodeType
from typing import Any, NamedTuple

from ..calls import Made, made_with
from ..reads import function_of, nested
from ..values import signature_of
from .endpoints import functions_in, is_cached
from .findings import Finding, short_name
from .shapes import fields_of, key_shape, meet, name_in, shape_of

_NEAR = 0.6
"""How much alike two texts must be, so that one may be meant for the other; 1 is equal."""
_SETTERS = {"set", "set_many", "get_or_set", "get_or_set_many"}


class Keys:
    """The keys and tags of all functions that are decorated with the manager of some function."""

    def __init__(self, functions: Iterable[Made]) -> None:
        managers = list({id(each.manager): each.manager for each in functions}.values())
        self.made = [each for each in made_with(managers) if is_cached(each)]
        self._shapes = {id(each): key_shape(each) for each in self.made}

    def of(self, made: Made) -> list[Made]:
        """Return the cached functions whose entries an invalidation can reach."""
        return [each for each in self.made if _shares_entries(each, made)]

    def reached(self, text: str, functions: list[Made]) -> bool:
        """Whether a pattern may match a key of one of these functions."""
        shape = shape_of(text, has_wildcards=True)
        return any(meet(shape, self._shapes[id(each)]) for each in functions)


def _shares_entries(one: Made, other: Made) -> bool:
    mine, yours = one.manager, other.manager
    is_one = mine is yours or mine.backend is yours.backend
    return is_one and mine.key_prefix == yours.key_prefix


def tags_of(made: Made) -> list[str]:
    """Return the tags of a cached function that are templates."""
    return [each for each in made.given["tags"] if isinstance(each, str)]


def void(
    made: Made, where: str, keys: Keys, by_hand: Callable[[], set[str]], *, is_sure: bool
) -> Iterator[Finding]:
    """Find patterns and tags that no decorated function of the manager has.

    `by_hand` returns texts that code gives to `set` and the like. Without `is_sure`, only those
    are found that look like a slip of the pen.
    """
    functions = keys.of(made)
    others = [each for each in keys.made if each not in functions]
    for text in made.given["keys"]:
        if keys.reached(text, functions) or not (functions or keys.reached(text, others)):
            continue
        yield from _told(
            _Void("pattern", "keys", text, made, where),
            {shown_keys(each): each for each in functions},
            [each for each in others if keys.reached(text, [each])],
            () if keys.reached(text, others) else by_hand(),
            is_sure=is_sure,
        )
    if any(calls_derive(each) for each in functions):  # nobody knows what tags there will be
        return
    for text in made.given["tags"]:
        has_it = [each for each in keys.made if _has_tag(each, text)]
        if any(each in functions for each in has_it) or not (functions or has_it):
            continue
        yield from _told(
            _Void("tag", "tags", text, made, where),
            {tag: each for each in functions for tag in tags_of(each)},
            has_it,
            () if has_it else by_hand(),
            is_sure=is_sure,
        )


def calls_derive(made: Made) -> bool:
    """Whether a function derives tags from its results."""
    return any(callable(each) for each in made.given["tags"])


def _has_tag(made: Made, text: str) -> bool:
    shape = shape_of(text, has_wildcards=False)
    return any(meet(shape, shape_of(tag, has_wildcards=False)) for tag in tags_of(made))


def shown_keys(made: Made) -> str:
    """Return the pattern, or the template, that covers the keys of a function."""
    key, prefix = made.given["key"], made.given["key_prefix"]
    return f"{prefix}:{key}" if isinstance(key, str) else f"{prefix}:*"


class _Void(NamedTuple):
    """A text of `invalidate_cache` that covers nothing."""

    kind: Any
    option: str
    text: str
    made: Made
    where: str


def _told(
    void: _Void,
    choices: dict[str, Made],
    elsewhere: list[Made],
    by_hand: Iterable[str],
    *,
    is_sure: bool,
) -> Iterator[Finding]:
    own, name = f"{void.option}={void.text!r}", short_name(void.made.below)
    head = void.text.partition("{")[0].partition("*")[0]
    if any(_may_begin(each, head) for each in by_hand):
        return
    if elsewhere:
        named = short_name(elsewhere[0].below)
        what = f"{own} covers nothing of its manager, but {named}, which has another one"
        mend = f"give invalidate_cache of {name} the cache_manager of {named}"
    else:
        plain = void.text.removeprefix(f"{void.made.manager.key_prefix}:")
        near = _nearest(plain, choices, 0.0 if is_sure else _NEAR)
        if not near and not is_sure:
            return
        what = f"{own} covers nothing: no decorated function of its manager has such a {_WORDS[void.kind]}"
        mend = f"no function has any {void.kind}: give one to those that {name} is to invalidate"
        if near:
            reader = short_name(choices[near].below)
            what += f"; the nearest is {near!r} of {reader}"
            mend = f"{_said(void, near)}, which covers {reader}"
            if void.kind == "pattern" and near.endswith(":*") and "{" in void.text:
                mend += f"; to remove one entry alone, give {reader} a key= with the same arguments"
    yield Finding(void.kind, void.where, what, mend)


def _said(void: _Void, near: str) -> str:
    """Return advice to add another text, in which the function's own arguments stand, or none.

    If that is there already, the one that covers nothing is left over.
    """
    own, name = signature_of(void.made.below).parameters, short_name(void.made.below)
    missing = [field for field in fields_of(near) if name_in(field) not in own]
    if void.kind == "pattern":
        for field in missing:
            near = near.replace(f"{{{field}}}", "*")
        missing = []
    more = f", with an argument of {name} in place of {' and '.join(missing)}" if missing else ""
    if near in void.made.given[void.option]:
        return f"take {void.text!r} out of {void.option}= of {name}, which has {near!r}"
    return f"add {near!r} to {void.option}= of {name}{more}"


def _nearest(text: str, choices: Iterable[str], least: float) -> str:
    """Return the text that is most like another one, of the same family if there is one."""
    family = [each for each in choices if text.startswith(each.partition(":")[0] + ":")]
    near = difflib.get_close_matches(text, family or choices, 1, least)
    return near[0] if near else ""


_WORDS = {"pattern": "key", "tag": "tag"}


def _may_begin(text: str, head: str) -> bool:
    """Whether a text in the code may be, or begin, a key or a tag that begins with `head`."""
    is_open = len(text) > 1 and not text[-1].isalnum()
    return len(head) > 1 and (text.startswith(head) or (is_open and head.startswith(text)))


def sets_by_hand(namespaces: Iterable[dict[str, Any]]) -> bool:
    """Whether code sets entries by hand: then nobody knows all keys and tags."""
    return any(
        step.opname in ("LOAD_ATTR", "LOAD_METHOD") and step.argval in _SETTERS
        for function in _own_functions(namespaces)
        for code in nested(function.__code__)
        for step in get_instructions(code)
    )


def _own_functions(namespaces: Iterable[dict[str, Any]]) -> Iterator[Any]:
    """Yield the functions of modules that are not imported from others."""
    for names in namespaces:
        for function in functions_in(names):
            innermost = function_of(function)
            if innermost.__module__ == names.get("__name__"):
                yield innermost


def texts_by_hand(namespaces: Iterable[dict[str, Any]]) -> set[str]:
    """Return the texts in functions that call `set`, `get_or_set` and the like."""
    every = (_texts_beside_a_setter(each.__code__) for each in _own_functions(namespaces))
    return set[str]().union(*every)


def _texts_beside_a_setter(code: CodeType) -> set[str]:
    found: set[str] = set()
    for each in nested(code):
        if not _SETTERS.isdisjoint(each.co_names):
            inner = [one for one in each.co_consts if isinstance(one, tuple)]
            texts = [*each.co_consts, *(one for several in inner for one in several)]
            found.update(one for one in texts if isinstance(one, str))
    return found
