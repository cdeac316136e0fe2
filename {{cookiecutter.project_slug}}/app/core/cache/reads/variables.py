"""Context variables that a function may read, found by following what its code names.

A variable that a middleware or a dependency sets may say who asks. No hook tells when one is read;
so the code is followed, when a function is called first: through the functions that it names, methods,
properties and operators of objects and classes, decorators and containers, as far as the code is the
application's own. Code of libraries is not followed: a tracer reads variables that decide nothing.
What is found is more than what is read, never less of what stands in the code. See
https://docs.python.org/3/library/contextvars.html.
"""

import dis
import inspect
import sys
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import cached_property, lru_cache, partial
from itertools import islice, pairwise
from types import (
    BuiltinMethodType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from ..here import PACKAGE, is_library
from ..values import captured
from .uses import function_of, nested

Followed = tuple[Any, Any]
"""A value, and the object or class whose attribute it is; `None` for none."""

_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_DEPTH = 3  # of attributes, as in `package.module.variable`
_MOST = 1000
"""So many functions and objects are followed for one function."""
_MOST_ITEMS = 100
_TOLD_ALL = {ContextVar, str, bytes, int, float, complex, bool, type(None), CodeType}
_SLOTS = {MemberDescriptorType, GetSetDescriptorType}


def context_variables(call: Any, *, or_sets: bool = False) -> set[ContextVar[Any]]:
    """Return the context variables that a call may read, as far as its code names them.

    With `or_sets`, those are among them that the code only sets.
    """
    found: set[ContextVar[Any]] = set()
    home = _package(_module_of(function_of(call)))
    seen: dict[tuple[int, int], Followed] = {}  # which are kept, so that no other has their ids
    waiting: list[Followed] = [(call, None if isinstance(call, FunctionType) else call)]
    while waiting and len(seen) < _MOST:
        value, owner = waiting.pop()
        if type(value) is ContextVar:
            found.add(value)
        elif type(value) not in _TOLD_ALL and (id(value), id(owner)) not in seen:
            seen[id(value), id(owner)] = value, owner
            leads_to = getattr(_attribute(value, "calls"), "leads_to", None)
            if type(leads_to) is MethodType:  # of a cached function
                waiting += _alone(leads_to())
                continue
            waiting += _inside(value, owner, home, or_sets=or_sets)
    return found


def _inside(value: Any, owner: Any, home: str, *, or_sets: bool) -> Iterator[Followed]:
    """Yield what a call of `value`, or a look into it, leads to, each with whose attribute it is."""
    wrapped = _attribute(value, "__wrapped__")
    if wrapped is not None and not issubclass(
        type(value), type
    ):  # the decorator and what it decorates
        yield wrapped, owner
    kind = type(value)  # not `isinstance`, which asks a proxy what it stands for
    if issubclass(kind, FunctionType):
        if _is_own(_module_of(value), home):
            yield from _named_by(value, owner, home, or_sets=or_sets)
    elif issubclass(kind, MethodType):
        yield value.__func__, value.__self__
    elif kind is BuiltinMethodType:
        yield value.__self__, None
    elif issubclass(kind, (staticmethod, classmethod)):
        yield value.__func__, owner
    elif issubclass(kind, property):
        yield from [(each, owner) for each in (value.fget, value.fset, value.fdel) if each]
    elif issubclass(kind, cached_property):
        yield value.func, owner
    elif issubclass(kind, partial):
        yield from _alone((value.func, *value.args, *value.keywords.values()))
    elif kind in (list, tuple, set, frozenset):
        yield from _alone(list(islice(value, _MOST_ITEMS)))
    elif kind is dict:
        yield from _alone(list(islice(value.values(), _MOST_ITEMS)))
    elif not issubclass(kind, ModuleType):  # of which only what is named counts
        yield from _special_methods(value, home)


def _alone(values: Iterable[Any]) -> list[Followed]:
    return [(each, None) for each in values]


def _special_methods(value: Any, home: str) -> Iterator[Followed]:
    """Yield what runs of an object or a class without being named: for `[]`, `with`, and the like."""
    for cls in (value if issubclass(type(value), type) else type(value)).__mro__:
        if _is_own(cls.__module__, home):
            for name, each in list(vars(cls).items()):
                is_special = name.startswith("__") and name.endswith("__")
                if is_special and isinstance(each, (FunctionType, staticmethod, classmethod)):
                    yield each, value


def _named_by(
    function: FunctionType, owner: Any, home: str, *, or_sets: bool
) -> Iterator[Followed]:
    """Yield what code names: variables, modules, and attributes of these and of its owner."""
    code = list(nested(function.__code__))
    names = {name for each in code for name in (*each.co_names, *each.co_freevars)}
    loaded, imported = _loaded_by(code)
    around = ChainMap(captured(function), function.__globals__)
    yield from _alone(function.__defaults__ or ())
    yield from _alone((function.__kwdefaults__ or {}).values())
    known = {name: around[name] for name in sorted(loaded) if name in around}
    values = [
        value
        for name, value in known.items()
        if or_sets or type(value) is not ContextVar or not _only_sets(code, name)
    ]
    values += [module for name in sorted(imported) for module in _imported(name, around)]
    yield from _alone(values)
    values += [] if owner is None else [owner]
    for _ in range(_DEPTH - 1):
        inner = [(each, value) for value in values for each in _attributes(value, names, home)]
        yield from inner
        values = list({id(value): value for value, _ in inner}.values())


def _loaded_by(code: list[CodeType]) -> tuple[set[str], set[str]]:
    """Return the names of variables that code loads, and those of the modules that it imports."""
    loaded = {name for each in code for name in each.co_freevars}
    imported = set()
    for each in code:
        for this in dis.get_instructions(each):
            if this.opname in _LOADS:
                loaded.add(this.argval)
            elif this.opname == "IMPORT_NAME":
                imported.add(this.argval)
    return loaded, imported


def _attributes(value: Any, names: set[str], home: str) -> list[Any]:
    """Return those attributes of a value that have one of the names.

    The class of a library has none that would be followed; an object of it may hold some.
    """
    kind = type(value)
    if kind in _TOLD_ALL or issubclass(kind, FunctionType):
        return []
    is_class = issubclass(kind, type)
    classes = [*reversed(kind.__mro__), *(reversed(value.__mro__) if is_class else ())]
    found: dict[str, Any] = {}
    if any(_is_own(cls.__module__, home) for cls in classes):
        for cls in classes:
            found |= {name: vars(cls)[name] for name in sorted(names & vars(cls).keys())}
    if not is_class:
        found = {name: _of_slot(each, value) for name, each in found.items()}
        held = _own_attributes(value)
        found |= {name: held[name] for name in sorted(names & held.keys())}
    return list(found.values())


def _own_attributes(value: object) -> dict[str, Any]:
    """Return what an object itself has, without running any code of its class."""
    held = _attribute(value, "__dict__")
    return held if type(held) is dict else {}


def _only_sets(code: list[CodeType], name: str) -> bool:
    """Whether code uses a variable for nothing but its `set` and `reset`, as a tracer's does."""
    is_set = False
    for each in code:
        if name in each.co_freevars or "old_value" in each.co_names:
            return False
        instructions = list(dis.get_instructions(each))
        for this, following in pairwise(instructions):
            if this.opname == "LOAD_GLOBAL" and this.argval == name:
                if following.argval not in ("set", "reset"):
                    return False
                is_set = True
    return is_set


def _imported(name: str, around: Mapping[str, Any]) -> list[ModuleType]:
    """Return the modules that code means which imports `name`, as far as they are loaded."""
    package = around.get("__package__") or ""
    loaded = [sys.modules.get(each) for each in (name, f"{package}.{name}")]
    return [module for module in loaded if module is not None]


def _attribute(value: object, name: str) -> Any:
    """Return an attribute without running any code of the object's class; `None` for none."""
    try:
        found = inspect.getattr_static(value, name, None)
    except Exception:  # of a class that is no ordinary one
        return None
    return found if issubclass(type(value), type) else _of_slot(found, value)


def _of_slot(found: Any, value: object) -> Any:
    """Return what a slot of an object holds; anything else as it is."""
    if type(found) not in _SLOTS:
        return found
    try:
        return found.__get__(value)
    except Exception:  # it is empty
        return None


def _module_of(function: Any) -> str:
    """Return the module in which a function was written; what decorates one takes its name on."""
    around = getattr(function, "__globals__", {})
    return str(around.get("__name__") or getattr(function, "__module__", ""))


def _package(module: str) -> str:
    return module.partition(".")[0]


def _is_own(module: Any, home: str) -> bool:
    """Whether a module is the application's own: of one package with it, or no library's."""
    return type(module) is str and _is_of(module, home)


@lru_cache(maxsize=1024)
def _is_of(module: str, home: str) -> bool:
    if f"{module}.".startswith(PACKAGE):
        return False
    if module == "__main__" or _package(module) == home:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return type(file) is str and not is_library(file)
