"""The changes that a function made to FastAPI's `Response`, so that a hit can repeat them.

A function with a parameter of type `Response` may set headers and the status of the response that
FastAPI builds from its result. FastAPI passes the same object to the dependencies, which also run
on a hit. So only the changes of the function itself are stored.
"""

from typing import Any

from starlette.responses import Response

from . import headers


class Changes:
    """The new status, if one was set, and the changes of headers.

    `headers` are those with new values (an empty list: removed). `added` are values that the
    function appended to those of dependencies, which are not repeated. `mixed` names headers that a
    dependency had set and the function replaced: the new value may hold parts of the old one.
    """

    __slots__ = ("added", "headers", "mixed", "status")

    def __init__(
        self,
        status: int | None,
        headers: dict[str, list[str]],
        added: dict[str, list[str]] | None = None,
        mixed: tuple[str, ...] = (),
    ) -> None:
        self.status = status
        self.headers = headers
        self.added: dict[str, list[str]] = {} if added is None else added
        self.mixed = mixed

    @classmethod
    def between(cls, before: Response, after: Response) -> "Changes":
        """Return the changes between two states of a response, without hop-by-hop headers."""
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
        """Make the same changes to a response."""
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
        """Return the changes as JSON data, without `mixed`."""
        return [self.status, self.headers, self.added]

    @classmethod
    def from_json(cls, content: list[Any]) -> "Changes":
        """Return the changes from the data of `to_json`; raises an exception for other data."""
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
    """Return a copy of a response's current status and headers."""
    copy = Response()
    copy.status_code = response.status_code
    copy.raw_headers = list(response.raw_headers)
    return copy
