"""The context variables that the code of a function names.

A cached function is watched while it runs (see `watching`). A dependency runs outside of that. And
code that passes a variable on may have it read where nobody watches. So the bytecode of a function,
and of the application's functions that it names, is searched for context variables.
"""

import dis
import sys
from collections import ChainMap
from contextvars import ContextVar
from functools import partial
from itertools import pairwise
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from ..here import is_own
from ..values import captured
from .observed import Variable, current
from .uses import function_of, nested

_VARIABLES, _ATTRIBUTES = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"), ("LOAD_ATTR", "LOAD_METHOD")
_MOST = 200
"""The most objects that are searched for one function."""


def context_variables(call: Any, *, handed_on: bool = False) -> set[Variable]:
    """Return the context variables that the code of `call` names, to read or to set them.

    With `handed_on`, only those that it uses otherwise than to call a method of them.
    """
    found: set[Variable] = set()
    seen: dict[int, Any] = {}
    waiting = [call, function_of(call)]
    while waiting and len(seen) < _MOST:
        value = waiting.pop()
        if type(value) is ContextVar:
            found.add(value)
        elif id(value) not in seen:
            seen[id(value)] = value  # kept alive, so that its id is not reused
            waiting += _led_to(value, handed_on=handed_on)
    return found


def _led_to(value: Any, *, handed_on: bool) -> list[Any]:
    """Return the objects that a function names, or the ones that a method or partial calls."""
    if type(value) is MethodType:
        return [value.__func__]
    if type(value) is BuiltinMethodType:  # `get` of a variable, for one
        return [value.__self__]
    if type(value) is partial:
        return [value.func, *value.args]
    if type(value) is not FunctionType:
        return []
    wrapped = [getattr(value, "__wrapped__", None), *(value.__defaults__ or ())]
    if not is_own(value.__code__.co_filename):
        return wrapped
    loads, around = _loads(value.__code__), ChainMap(captured(value), value.__globals__)
    values = [around.get(name) for name, is_attribute in loads if not is_attribute]
    modules = [vars(each) for each in values if type(each) is ModuleType]
    found = []
    for (name, is_attribute), is_handed_on in loads.items():
        for held in modules if is_attribute else [around]:
            is_wanted = is_handed_on or not handed_on or type(held.get(name)) is not ContextVar
            found += [held[name]] if is_wanted and name in held else []
    return wrapped + found


def _loads(code: CodeType) -> dict[tuple[str, bool], bool]:
    """Return the names that code loads, and whether each is that of an attribute.

    The value tells whether code does more with it than call a method, which `watching` would see.
    """
    found: dict[tuple[str, bool], bool] = {}
    for each in nested(code):
        for this, after in pairwise(dis.get_instructions(each)):
            if this.opname in (*_VARIABLES, *_ATTRIBUTES):
                is_call = after.opname == "LOAD_METHOD" or "NULL|self" in after.argrepr
                place = this.argval, this.opname in _ATTRIBUTES
                found[place] = found.get(place, False) or not is_call
    return found


def note_all() -> None:
    """Note all context variables in modules of the application: each may have been read."""
    reads = current.get()
    if reads is None or not reads.takes_doubts:
        return
    reads.takes_doubts = False
    for module in list(sys.modules.values()):
        names = vars(module) if type(module) is ModuleType else {}
        if is_own(str(names.get("__file__", ""))):
            for each in list(names.values()):
                if type(each) is ContextVar:
                    reads.note(each)
