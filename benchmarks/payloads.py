"""The functions and endpoints that are cached, and what they return."""

import json
from typing import Any, Final


class Runs:
    """How often a function ran: a hit leaves this as it was."""

    def __init__(self) -> None:
        self.count = 0


RUNS: Final = Runs()

USER: Final[dict[str, Any]] = {
    "id": 7,
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "active": True,
    "roles": ["admin", "author"],
    "score": 99.5,
    "address": {
        "city": "London",
        "street": "12 St James's Square",
        "zip": "SW1Y 4JH",
        "code": "GB",
    },
}
"""200 bytes of JSON."""


def _orders(count: int) -> dict[str, Any]:
    stock = {"here": 3, "ordered": None}
    names = ("bolt", "nut", "washer")
    return {
        "user": 7,
        "orders": [
            {"id": i, "name": names[i % 3], "price": i * 1.5, "tags": ["a", "b"], "stock": stock}
            for i in range(count)
        ],
    }


SMALL: Final = _orders(23)
"""2 KB of JSON."""
LARGE: Final = _orders(1130)
"""100 KB of JSON."""


def body(content: dict[str, Any]) -> bytes:
    """Return what FastAPI sends for this content."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def body_of(endpoint: object) -> bytes:
    """Return what FastAPI sends for the content of one of the endpoints below."""
    return body(LARGE if endpoint in {large, large_typed} else SMALL)


async def read_user(number: int, name: str) -> dict[str, Any]:
    """Return 200 bytes."""
    RUNS.count += 1
    return USER


# Without a return type, as the documentation of most contenders writes endpoints, FastAPI walks
# what they return; with one, it has Pydantic write it.


async def small(number: int):  # type: ignore[no-untyped-def] # noqa: ANN201
    """Return 2 KB."""
    RUNS.count += 1
    return SMALL


async def small_typed(number: int) -> dict[str, Any]:
    """Return 2 KB."""
    RUNS.count += 1
    return SMALL


async def large(number: int):  # type: ignore[no-untyped-def] # noqa: ANN201
    """Return 100 KB."""
    RUNS.count += 1
    return LARGE


async def large_typed(number: int) -> dict[str, Any]:
    """Return 100 KB."""
    RUNS.count += 1
    return LARGE
