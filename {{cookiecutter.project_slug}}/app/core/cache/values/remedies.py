"""The advice in messages about calls that have no key.

The first advice is always safe. `ignore=` is not safe if the parameter affects the result, so it
comes last, with its effect.
"""

import re
from collections.abc import Collection

from fastapi.security import SecurityScopes
from starlette.requests import HTTPConnection

METHODS = ("self", "cls")
_LONGEST_KIND = 200  # characters
_VALUES = re.compile(r"<[^>]*>|'[^']*'|\"[^\"]*\"|\d+")
_ORM = ("_sa_instance_state", "__mapper__", "__table__", "_sa_class_manager")


def of_parameter(name: str, kind: type = object, others: Collection[str] = ()) -> str:
    """Return advice about a parameter that cannot be part of a key.

    `kind` is its class, if known. `others` are the other parameters in the key.
    """
    if issubclass(kind, HTTPConnection):
        return (
            f"make what is needed of it parameters of their own, or keep it out of the key, by a key= "
            f'that leaves it out or by ignore=("{name}",): a result for which something of it was read '
            f"is not stored then"
        )
    key = key_of_one(name, kind, others)
    class_says = "give its class a __cache_key__ method"
    if name in METHODS:
        steps = [f"give {key}, with what tells the objects apart", class_says]
    elif is_of_orm(kind):
        steps = [f"give {key}: a place in a key may name an attribute", class_says]
    else:
        steps = [class_says, f"name an attribute of it, as in {key}"]
    return ", or ".join([*steps, leave_out(name)])


def of_text(name: str, parameters: Collection[str]) -> str:
    """Return advice about a value that has no text for a key."""
    taken = ", ".join(parameters) or name
    return (
        f"name an attribute of it that has one, give its class a __cache_key__ method, or write "
        f"the text by a function: key=lambda {taken}: (str({name}), ...)"
    )


def key_of_one(name: str, kind: type = object, others: Collection[str] = ()) -> str:
    """Return an example of a `key=` that has an attribute in place of the object."""
    others = [other for other in others if other != name] or (["id"] if name in METHODS else [])
    places = [f"{{{name}.{attribute_of(name, kind)}}}", *(f"{{{other}}}" for other in others)]
    return f'key="{":".join(places)}"'


def attribute_of(name: str, kind: type = object) -> str:
    """Return the attribute that an example has in place of an object."""
    if name in METHODS and not is_of_orm(kind):
        return "table"
    return "scope_str" if issubclass(kind, SecurityScopes) else "id"


def leave_out(name: str) -> str:
    """Return the last advice, `ignore=`, with its effect."""
    return (
        f'only if {name} never decides about the result, ignore=("{name}",): '
        f"everybody then shares one entry, whatever {name} is"
    )


def is_of_orm(kind: type) -> bool:
    """Whether a class belongs to an ORM."""
    return any(hasattr(kind, name) for name in _ORM)


def kind_of(why: str) -> str:
    """Return a message without its values, which is the same for all calls with this problem."""
    about = why.partition(": ")[0]
    if not about.startswith("parameter "):
        about = _VALUES.sub("_", about)
    return about[:_LONGEST_KIND]
