"""The annotation of an attribute in a template: `{user.id}`, from that of the parameter `user`."""

from enum import Enum
from typing import Any

from pydantic import BaseModel

from .hints import RETURN, hints_of, hints_of_class
from .kinds import kinds_of
from .remedies import is_of_orm


def annotation_of(field: str, annotation: Any) -> Any:
    """Return the annotation of a template's field; `object` if it is not known.

    Raises `AttributeError` if there is certainly no such attribute.
    """
    if "[" in field:
        return object
    for name in field.split(".")[1:]:
        classes = [kind for kind in kinds_of(annotation) if kind is not type(None)]
        found = [_attribute(cls, name) for cls in classes]
        if found and all(each is None for each in found):
            names = " or ".join(cls.__qualname__ for cls in classes)
            known = ", ".join(sorted({each for cls in classes for each in _names(cls)}))
            raise AttributeError(f"{names} has no attribute {name!r}; it has {known}")
        annotation = found[0] if len(found) == 1 else object
    return annotation


def _attribute(cls: type, name: str) -> Any:
    """Return the annotation of an attribute, `object` if unknown, `None` if there is none."""
    hints = _hints(cls)
    if name in hints:
        return hints[name]
    member = getattr(cls, name, None)
    if isinstance(member, property):
        return hints_of(member.fget).get(RETURN, object) if member.fget else object
    if hasattr(cls, name) or name.startswith("_") or not _is_closed(cls):
        return object
    return None


def _is_closed(cls: type) -> bool:
    """Whether the class tells all attributes of its instances."""
    if issubclass(cls, BaseModel):
        is_plain = getattr(cls, "__getattr__", None) is getattr(BaseModel, "__getattr__", None)
        return is_plain and cls.model_config.get("extra") != "allow"
    if hasattr(cls, "__getattr__") or cls is object:
        return False
    if "__dataclass_fields__" not in vars(cls):  # its own, not those of a base
        return False
    has_own_init = not cls.__dataclass_params__.init  # type: ignore[attr-defined] # typeshed
    return not (has_own_init or hasattr(cls, "__post_init__") or is_of_orm(cls))


def _hints(cls: type) -> dict[str, Any]:
    if issubclass(cls, BaseModel):
        return {name: field.annotation for name, field in cls.model_fields.items()}
    named = dict.fromkeys(getattr(cls, "__annotations__", ()), object)
    return {} if issubclass(cls, Enum) else named | hints_of_class(cls)


def _names(cls: type) -> set[str]:
    own = {name for name, value in vars(cls).items() if isinstance(value, property)}
    return {name for name in {*_hints(cls), *own} if not name.startswith("_")}
