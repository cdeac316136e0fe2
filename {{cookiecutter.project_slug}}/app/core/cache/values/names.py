"""Names of classes and annotations, as text that is the same in every process.

`Page[User]` and `Page[Item]` have different names, whether `Page` is a model of Pydantic, which makes
a class of each, or a dataclass, of which `typing` makes aliases.
"""

import typing
from enum import Enum
from typing import Any


def class_name(cls: type) -> str:
    """Return the name of a class, with its parameters, without that of its module."""
    made_of: Any = getattr(cls, "__pydantic_generic_metadata__", None)
    if not made_of or made_of["origin"] is None:
        return cls.__qualname__
    return f"{made_of['origin'].__qualname__}[{_all(made_of['args'])}]"


def described(annotation: Any) -> str:
    """Write down an annotation. Not by `repr`, in which an address may stand."""
    if isinstance(annotation, (str, list, tuple)):
        return repr(annotation) if isinstance(annotation, str) else f"[{_all(annotation)}]"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return f"Literal({','.join(map(_choice, arguments))})"
    if origin is typing.Annotated:
        return described(arguments[0])
    kind: Any = origin or annotation
    if isinstance(kind, typing.ForwardRef):
        return repr(kind.__forward_arg__)
    name = class_name(kind) if isinstance(kind, type) else getattr(kind, "__qualname__", None)
    name = name or getattr(kind, "__name__", None) or type(kind).__name__
    return f"{getattr(kind, '__module__', '')}.{name}[{_all(arguments)}]"


def _all(annotations: Any) -> str:
    return ",".join(map(described, annotations))


def _choice(value: object) -> str:
    if isinstance(value, Enum):
        return f"{described(type(value))}.{value.name}"
    return repr(value)
