"""What an audit finds: what is wrong, where, and how to mend it."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "misplaced",
    "identity",
    "parameter",
    "result",
    "pattern",
    "tag",
    "prefix",
    "key",
    "method",
    "lifetime",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake. The first thing that `mend` says can do no harm."""

    kind: Kind
    where: str
    """The methods and the path of the route, and the function."""
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.what}; {self.mend}"


def name_of_call(call: Any) -> str:
    """Return the module and the name of a function, or of the class of another object."""
    named = call if hasattr(call, "__qualname__") else type(call)
    return f"{named.__module__}.{named.__qualname__}"


def short_name(call: Any) -> str:
    """Return the name of a function without its module and the function that it was made in."""
    return name_of_call(call).rpartition("<locals>.")[2].rpartition(".")[2]
