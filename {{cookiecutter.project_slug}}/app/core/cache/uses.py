"""What the code of a function names: its own parameters, and context variables around it.

This is read off the compiled code, when a route is seen for the first time. What cannot be read, of a
builtin for one, counts as not named; what is named in a roundabout way, by `locals()` for one, counts
as the worst. See https://docs.python.org/3/library/dis.html.
"""

import dis
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from types import CodeType
from typing import Any

from .hints import captured

_DEPTH = 3  # of attributes, as in `package.module.variable`
_MOST_FUNCTIONS = 100
_ROUNDABOUT = frozenset({"locals", "vars", "eval", "exec"})


def function_of(call: Any) -> Any:
    """Return the function that runs when something is called, if it is one of Python's."""
    while isinstance(call, partial):
        call = call.func
    call = inspect.unwrap(call)
    if not hasattr(call, "__code__"):
        call = call.__init__ if inspect.isclass(call) else type(call).__call__
    return inspect.unwrap(call)


def parameters_used(call: Callable[..., Any]) -> set[str]:
    """Return which of its parameters the code reads, and keys that it looks up in its `**`."""
    code = getattr(function_of(call), "__code__", None)
    if code is None:
        return set()
    read = {name for each in _nested(code) for name in each.co_freevars}
    texts = set()
    for this in dis.get_instructions(code):
        named = this.argval if isinstance(this.argval, tuple) else (this.argval,)
        if this.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_CLOSURE")):
            read.update(named)
        elif this.opname == "LOAD_CONST" and isinstance(this.argval, str):
            texts.add(this.argval)
    rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount :]
    has_kwargs = bool(code.co_flags & inspect.CO_VARKEYWORDS)
    kwargs = rest[bool(code.co_flags & inspect.CO_VARARGS)] if has_kwargs else None
    return read | texts if kwargs in read else read


def only_reads(call: Callable[..., Any], parameter: str, attribute: str) -> bool:
    """Whether the code uses a parameter for nothing but one attribute: `request.app` for one."""
    code = getattr(function_of(call), "__code__", None)
    if code is None or hasattr(call, "__wrapped__"):  # what is around it may do anything
        return False
    is_handed_on = any(parameter in each.co_freevars for each in _nested(code))
    if is_handed_on or not _ROUNDABOUT.isdisjoint(code.co_names):
        return False
    instructions = list(dis.get_instructions(code))
    for this, following in zip(instructions, [*instructions[1:], None], strict=True):
        if isinstance(this.argval, tuple) and parameter in this.argval:
            return False  # one of two that are loaded at once
        if this.argval == parameter and this.opname.startswith(("LOAD_FAST", "STORE_", "DELETE_")):
            does = (None, None) if following is None else (following.opname, following.argval)
            if does not in (("LOAD_ATTR", attribute), ("LOAD_METHOD", attribute)):
                return False
    return True


def context_variables(call: Any) -> set[ContextVar[Any]]:
    """Return the context variables that the code names, or functions of its own package that it calls.

    They may be global, captured, or stand in a module or an object.
    """
    found, seen, waiting = set[ContextVar[Any]](), set[int](), [call]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or len(seen) >= _MOST_FUNCTIONS:
            continue
        seen.add(id(each))
        if isinstance(each, ContextVar):
            found.add(each)
            continue
        if hasattr(each, "__wrapped__"):  # the decorator and what it decorates
            waiting.append(each.__wrapped__)
        function = each if inspect.isfunction(each) else function_of(each)
        package = str(getattr(function, "__module__", "")).partition(".")[0]
        for value in _named_by(function):
            is_function = inspect.isfunction(value) and value.__module__.startswith(package)
            if isinstance(value, ContextVar) or is_function:
                waiting.append(value)
    return found


def _named_by(function: Any) -> list[Any]:
    """Return what the code of a function names: variables, and attributes of these."""
    code = getattr(function, "__code__", None)
    if code is None:
        return []
    names = {name for each in _nested(code) for name in (*each.co_names, *each.co_freevars)}
    around = {**getattr(function, "__globals__", {}), **captured(function)}
    found: list[Any] = []
    values = [around[name] for name in names if name in around]
    for _ in range(_DEPTH):
        found += values
        inner = [
            _attribute(value, name)
            for value in values
            for name in names
            if not isinstance(value, ContextVar)
        ]
        values = list({id(value): value for value in inner if value is not None}.values())
    return found


def _attribute(value: object, name: str) -> Any:
    """Return an attribute without running any code of the object's class; `None` for none."""
    try:
        return inspect.getattr_static(value, name, None)
    except Exception:  # of a class that is no ordinary one
        return None


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _nested(each)
