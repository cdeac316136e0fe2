"""The parameters of a function: which ones are in the key, and how a call is bound to them."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from fastapi import BackgroundTasks
from starlette.background import BackgroundTasks as StarletteBackgroundTasks
from starlette.requests import HTTPConnection
from starlette.responses import Response

from ..reads import CONNECTION, RESPONSE
from ..values import from_dependencies, hints_of, kinds_of, signature_of

_EXCLUDED = (BackgroundTasks, StarletteBackgroundTasks, Response)
_SHORT, _SMALL = 64, 2**63  # the most characters of a text, and a bound of numbers
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Parameters:
    """A function's parameters.

    `keyed` are those that are part of a key. `response` is the one that FastAPI fills in with its
    own `Response`, and `connection` the one of type `HTTPConnection`. Each is `None` if there is
    no such parameter.
    """

    def __init__(
        self,
        signature: inspect.Signature,
        hints: Mapping[str, object],
        ignore: Collection[str] = (),
        *,
        provided: Collection[str] = (),
    ) -> None:
        self.signature, self.hints = signature, hints
        names = tuple(signature.parameters)
        kinds = {name: some_kinds(hints.get(name, object)) for name in names}
        own = [name for name in names if name not in provided]
        self.response = next((name for name in own if _are(kinds[name], Response)), None)
        self.connection = next((name for name in own if kinds[name] == [HTTPConnection]), None)
        self.hidden = [
            *([CONNECTION] if self.connection is None else []),
            *([RESPONSE] if self.response is None else []),
        ]
        """The extra parameters that FastAPI fills in (see `reads.hidden`)."""
        self.keyed = tuple(
            name for name in names if name not in ignore and not _are(kinds[name], *_EXCLUDED)
        )
        items = ", ".join([f"{name!r}: {name}" for name in names])
        self._bind = compiled(signature, f"{{{items}}}")

    @classmethod
    def of(cls, func: Callable[..., object], ignore: Collection[str] = ()) -> "Parameters":
        """Sort the parameters of `func`; those in `ignore` are no part of a key.

        Raises `ValueError` for names in `ignore` that `func` does not have.
        """
        signature = signature_of(func)
        if isinstance(ignore, str):
            raise TypeError(f"ignore={ignore!r} is a string; give a tuple: ignore=({ignore!r},)")
        for name in ignore:
            if name not in signature.parameters:
                raise ValueError(
                    f"ignore={tuple(ignore)!r} names {name!r}, which is no parameter of "
                    f"{func.__qualname__}; it has {', '.join(signature.parameters) or 'none'}"
                )
        hints = hints_of(func, include_extras=False)
        provided = from_dependencies(signature, hints_of(func))
        return cls(signature, hints, ignore, provided=provided)

    def arguments(
        self, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> dict[str, object]:
        """Bind a call and fill in the defaults; raises `TypeError` if it does not fit."""
        bound: dict[str, object] = self._bind(*args, **kwargs)
        return bound

    def picking(self, names: Iterable[str]) -> Callable[..., tuple[object, ...]]:
        """Return a function with this signature that returns the arguments of `names`."""
        return compiled(self.signature, f"({''.join(f'{name}, ' for name in names)})")


def compiled(signature: inspect.Signature, result: str) -> Callable[..., Any]:
    """Return a function with this signature that returns `result`, an expression of its parameters.

    It is compiled, as `collections.namedtuple` does for `__new__`, because every hit binds a call.
    Only names of parameters are compiled: `inspect` lets them be identifiers only. Defaults are set
    as objects. No argument, and nothing that Redis holds, is ever part of the text.
    """
    parameters = list(signature.parameters.values())
    optional = [each for each in parameters if each.default is not each.empty]
    names = {each.name for each in optional}
    plain = [
        each.replace(annotation=each.empty, default=None if each.name in names else each.empty)
        for each in parameters
    ]
    taken = str(inspect.Signature(plain)).removeprefix("(").removesuffix(")")
    bind = eval(f"lambda {taken}: {result}", {"__builtins__": {}})  # noqa: S307 - names of parameters only
    bind.__defaults__ = tuple([each.default for each in optional if each.kind in _BY_PLACE])
    bind.__kwdefaults__ = {
        each.name: each.default for each in optional if each.kind not in _BY_PLACE
    }
    bound: Callable[..., Any] = bind
    return bound


def some_kinds(annotation: Any) -> list[type]:
    """Return the classes that an annotation stands for, without that of `None`."""
    return [kind for kind in kinds_of(annotation) if kind is not type(None)]


def _are(kinds: Collection[type], *classes: type) -> bool:
    return bool(kinds) and all(issubclass(kind, classes) for kind in kinds)


def are_small(values: Iterable[object]) -> bool:
    """Whether values take little room, cannot change, and are equal only where their keys are."""
    for value in values:
        kind = type(value)
        if kind is str:
            if len(value) > _SHORT:  # type: ignore[arg-type]
                return False
        elif kind is int:
            if not -_SMALL < value < _SMALL:  # type: ignore[operator]
                return False
        elif kind is not bool and value is not None:
            return False
    return True
