"""What a function did to the response that FastAPI handed it, so that a hit can do it again.

A function with a parameter of type `Response` may set headers and the status of the response that
FastAPI builds from its result. FastAPI hands the same object to the dependencies, which run on a
hit as well: so only what the function itself changed is kept.
"""

from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from . import headers


@dataclass(frozen=True, slots=True)
class Changes:
    """A status, if one was set, and for each header that was changed all its values."""

    status: int | None
    headers: dict[str, list[str]]

    @classmethod
    def between(cls, before: Response, after: Response) -> "Changes":
        """Return what leads from one state of a response to another, whatever the connection."""
        old, new = (
            headers.by_name(headers.end_to_end(each.raw_headers)) for each in (before, after)
        )
        changed = {
            name: new.get(name, []) for name in {**old, **new} if old.get(name) != new.get(name)
        }
        status = after.status_code if after.status_code != before.status_code else None
        return cls(status, changed)

    def __bool__(self) -> bool:
        return self.status is not None or bool(self.headers)

    def apply(self, response: Response) -> None:
        """Change a response in the same way."""
        if self.status is not None:
            response.status_code = self.status
        for name, values in self.headers.items():
            del response.headers[name]
            for value in values:
                response.headers.append(name, value)

    def to_json(self) -> list[object]:
        """Return the changes as JSON can say them."""
        return [self.status, self.headers]

    @classmethod
    def from_json(cls, content: list[Any]) -> "Changes":
        """Return the changes that `to_json` told; raises an exception for others."""
        status, changed = content
        if type(changed) is not dict or not all(type(each) is list for each in changed.values()):
            raise ValueError("stored changes are none")
        if len(changed) > headers.MOST_LINES or "content-length" in changed:
            raise ValueError("stored changes are too many, or change the length")
        headers.checked([(name, value) for name in changed for value in changed[name] or [""]])
        return cls(status if status is None else headers.checked_status(status), changed)


def snapshot(response: Response) -> Response:
    """Return a response with this one's status and headers, as they are now."""
    copy = Response()
    copy.status_code = response.status_code
    copy.raw_headers = list(response.raw_headers)
    return copy
