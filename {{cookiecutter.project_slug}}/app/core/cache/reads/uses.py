"""Which of its parameters, and which attributes of these, the code of a function uses.

This is read from the bytecode, at decoration or at the first request of a route. Without bytecode,
as in a builtin, `parameters_used` finds nothing; then, and for code with `locals()` and the like,
`may_read_all` is true. See https://docs.python.org/3/library/dis.html.
"""

import dis
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from types import CodeType
from typing import Any

_OF_NO_VARIABLE = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR")
_CONSTANTS = ("LOAD_CONST", "LOAD_SMALL_INT", "LOAD_COMMON_CONSTANT")
_ROUNDABOUT = frozenset({"locals", "vars", "eval", "exec", "f_locals"})


def function_of(call: Any, *, unwrap: Callable[[Any], Any] = inspect.unwrap) -> Any:
    """Return the Python function that runs when `call` is called, if there is one."""
    while isinstance(call, partial):
        call = call.func
    call = unwrap(call)
    if not hasattr(call, "__code__"):
        call = call.__init__ if inspect.isclass(call) else type(call).__call__
    return unwrap(call)


def parameters_used(call: Callable[..., Any]) -> set[str]:
    """Return the parameters that the code reads, and its string constants if it reads `**`."""
    code = getattr(function_of(call), "__code__", None)
    if code is None:
        return set()
    read = {name for each in nested(code) for name in each.co_freevars}
    texts = set()
    for this in dis.get_instructions(code):
        named = this.argval if isinstance(this.argval, tuple) else (this.argval,)
        if this.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_CLOSURE")):
            read.update(named)
        elif this.opname in _CONSTANTS and isinstance(this.argval, str):
            texts.add(this.argval)
    rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount :]
    has_kwargs = bool(code.co_flags & inspect.CO_VARKEYWORDS)
    kwargs = rest[bool(code.co_flags & inspect.CO_VARARGS)] if has_kwargs else None
    return read | texts if kwargs in read else read


def may_read_all(call: Callable[..., Any]) -> bool:
    """Whether the bytecode does not tell which parameters are read."""
    code = getattr(function_of(call), "__code__", None)
    return code is None or any(not _ROUNDABOUT.isdisjoint(each.co_names) for each in nested(code))


def looked_up(call: Callable[..., Any], parameter: str) -> set[str | int] | None:
    """Return the constants by which the code indexes its `*` or `**` parameter.

    `None` if it uses that parameter in any other way.
    """
    code = function_of(call).__code__
    if any(parameter in each.co_freevars for each in nested(code)):
        return None
    found: set[str | int] = set()
    steps = list(dis.get_instructions(code))
    for this, second, third in zip(
        steps, steps[1:] + steps[-1:], steps[2:] + steps[-2:], strict=True
    ):
        named = this.argval if isinstance(this.argval, tuple) else (this.argval,)
        if parameter not in named or "_FAST" not in this.opname:
            continue
        is_subscript = third.opname == "BINARY_SUBSCR" or third.argrepr == "[]"
        is_get = second.opname in ("LOAD_METHOD", "LOAD_ATTR") and second.argval in ("get", "pop")
        key = third if is_get else second
        if not (is_get or is_subscript) or type(key.argval) not in (str, int):
            return None
        if key.opname not in _CONSTANTS:
            return None
        found.add(key.argval)
    return found


def only_reads(call: Callable[..., Any], parameter: str, attribute: str) -> bool:
    """Whether the code uses only one attribute of a parameter, for example `request.app`.

    Decorators count as a use, whatever they decorate, and so do functions and classes inside.
    """
    function = function_of(call)
    if may_read_all(call) or function is not function_of(call, unwrap=_made_by_init):
        return False
    code = function.__code__
    is_closed_over = any(parameter in each.co_freevars for each in nested(code))
    if is_closed_over or parameter not in inspect.getargs(code).args:
        return False
    for this, following in pairwise(dis.get_instructions(code)):
        named = this.argval if isinstance(this.argval, tuple) else (this.argval,)
        if parameter not in named or this.opcode in dis.hasconst or this.opname in _OF_NO_VARIABLE:
            continue
        is_load = this.opname.startswith("LOAD_FAST") and len(named) == 1
        is_attribute = following.opname in ("LOAD_ATTR", "LOAD_METHOD")
        if not (is_load and is_attribute and following.argval == attribute):
            return False
    return True


def _made_by_init(call: Any) -> Any:
    """Return a call, but `None` for a class whose objects more than `__init__` makes."""
    is_class = inspect.isclass(call)
    is_plain = is_class and (call.__new__, type(call).__call__) == (object.__new__, type.__call__)
    return call if is_plain or not is_class else None


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object, and those of the functions inside it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from nested(each)
