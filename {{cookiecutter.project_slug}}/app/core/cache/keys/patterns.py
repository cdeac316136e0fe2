"""Patterns over keys: `*` stands for any run of characters, every other character for itself.

A pattern is kept as the list of literal texts between its wildcards. So a `*`, `?`, `[` or
backslash in a prefix or a value is no wildcard, and only the pattern for Redis needs escapes.
"""

from typing import NamedTuple, Self

WILDCARD = "*"


class KeyPattern(NamedTuple):
    """A set of keys: those that contain the literals in this order, with anything in between.

    One literal is one exact key; `("app:user:", "")` is every key that begins with `app:user:`.
    """

    literals: tuple[str, ...]

    @classmethod
    def parse(cls, pattern: str, *, prefix: str = "") -> Self:
        """Parse `pattern`, in which `*` is the wildcard. A `*` in `prefix` is no wildcard."""
        first, *rest = pattern.split(WILDCARD)
        return cls((prefix + first, *rest))

    def __str__(self) -> str:
        return WILDCARD.join(self.literals)

    @property
    def exact_key(self) -> str | None:
        """The only key that this pattern matches, or `None` if it has a wildcard."""
        return self.literals[0] if len(self.literals) == 1 else None

    def matches(self, key: str) -> bool:
        """Whether `key` matches. The time is linear in its length for each literal."""
        if len(self.literals) == 1:
            return key == self.literals[0]
        first, *middle, last = self.literals
        if len(key) < len(first) + len(last):
            return False
        if not (key.startswith(first) and key.endswith(last)):
            return False
        position, end = len(first), len(key) - len(last)
        for literal in middle:
            found = key.find(literal, position, end)
            if found < 0:
                return False
            position = found + len(literal)
        return True

    def redis_glob(self) -> str:
        """Return the pattern for Redis' `SCAN MATCH`, which has more wildcards than we do.

        See https://redis.io/docs/latest/commands/keys/ for its syntax.
        """
        first, *rest = self.literals
        # Several wildcards in a row match the same as one, and cost Redis time.
        inner = [literal for literal in rest[:-1] if literal]
        return WILDCARD.join(_escape(literal) for literal in (first, *inner, *rest[-1:]))


def _escape(literal: str) -> str:
    return "".join(
        "\\" + character if character in "*?[]\\" else character for character in literal
    )
