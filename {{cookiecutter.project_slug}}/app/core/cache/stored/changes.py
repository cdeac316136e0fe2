"""What a function did to the response that FastAPI handed it, so that a hit can do it again.

A function with a parameter of type `Response` may set headers and the status of the response that
FastAPI builds from its result. FastAPI hands the same object to the dependencies, which run on a
hit as well: so only what the function itself changed is kept.
"""

from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from . import headers


@dataclass(frozen=True, slots=True)
class Changes:
    """A status, if one was set, and what was done to headers.

    `headers` are those that have other values now, and `added` lines that came behind those which
    dependencies had set: these are not repeated. `mixed` names those that dependencies had set
    and the function replaced: there may be something of theirs in the new value.
    """

    status: int | None
    headers: dict[str, list[str]]
    added: dict[str, list[str]] = field(default_factory=dict)
    mixed: tuple[str, ...] = ()

    @classmethod
    def between(cls, before: Response, after: Response) -> "Changes":
        """Return what leads from one state of a response to another, whatever the connection."""
        old, new = (
            headers.by_name(headers.end_to_end(each.raw_headers)) for each in (before, after)
        )
        changed: dict[str, list[str]] = {}
        added: dict[str, list[str]] = {}
        mixed = []
        for name in {**old, **new}:
            was, values = old.get(name, []), new.get(name, [])
            if was == values:
                continue
            if was and values[: len(was)] == was:
                added[name] = values[len(was) :]
            else:
                changed[name] = values
                if was and values:
                    mixed.append(name)
        status = after.status_code if after.status_code != before.status_code else None
        return cls(status, changed, added, tuple(mixed))

    def __bool__(self) -> bool:
        return self.status is not None or bool(self.headers) or bool(self.added)

    @property
    def names(self) -> set[str]:
        """The headers that were changed, in lower case."""
        return {*self.headers, *self.added}

    def apply(self, response: Response) -> None:
        """Change a response in the same way."""
        if self.status is not None:
            response.status_code = self.status
        for name, values in self.headers.items():
            del response.headers[name]
            for value in values:
                response.headers.append(name, value)
        for name, values in self.added.items():
            for value in values:
                response.headers.append(name, value)

    def to_json(self) -> list[object]:
        """Return the changes as JSON can say them."""
        return [self.status, self.headers, self.added]

    @classmethod
    def from_json(cls, content: list[Any]) -> "Changes":
        """Return the changes that `to_json` told; raises an exception for others."""
        status, changed, added = content
        for each in (changed, added):
            if type(each) is not dict or not all(type(values) is list for values in each.values()):
                raise ValueError("stored changes are none")
        if len(changed) + len(added) > headers.MOST_LINES or "content-length" in {
            **changed,
            **added,
        }:
            raise ValueError("stored changes are too many, or change the length")
        lines = [(name, value) for name in changed for value in changed[name] or [""]]
        headers.checked(lines + [(name, value) for name in added for value in added[name]])
        status = status if status is None else headers.checked_status(status)
        return cls(status, changed, added)


def snapshot(response: Response) -> Response:
    """Return a response with this one's status and headers, as they are now."""
    copy = Response()
    copy.status_code = response.status_code
    copy.raw_headers = list(response.raw_headers)
    return copy
