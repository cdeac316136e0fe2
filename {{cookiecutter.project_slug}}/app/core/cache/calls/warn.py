"""Warnings about the calls of one function: each kind of reason once."""

import logging
from collections.abc import Collection

from ..keys import name_of
from ..reads import SCHEME, Variable, handed
from ..stored import Shown
from ..values import UnkeyableError, kind_of

_MOST_SHOWN = 2000  # characters of a warning
_MOST_KINDS = 32  # warnings of one function


class Warnings:
    """The warnings, and the other log lines, about the calls of the function `name`."""

    def __init__(self, name: str, logger: logging.Logger) -> None:
        self._name, self.logger = name, logger
        self._told: set[str] = set()

    def once(self, what: str, why: str, about: Collection[str | Variable] = ()) -> None:
        """Warn once for each kind of reason: messages that differ only in values are one kind.

        Context variables that they are `about` make another kind.
        """
        variables = sorted(each.name for each in about if not isinstance(each, str))
        kind = f"{what}: {kind_of(why)}{variables or ''}"
        if kind not in self._told and len(self._told) < _MOST_KINDS:
            self._told.add(kind)
            self.logger.warning("%s %s: %s", self._name, what, Shown(why, _MOST_SHOWN))

    def not_stored(self, reason: str) -> None:
        """Note at the debug level that a result is not stored, for a reason that is no mistake."""
        self.logger.debug("a result of %s is not stored: %s", self._name, reason)


def why_unkeyed(unkeyed: Collection[str | Variable], *, has_own_key: bool) -> str:
    """Return what to do about what was read and is not in the key."""
    words = [each for each in unkeyed if isinstance(each, str)]
    variables = [each for each in unkeyed if not isinstance(each, str)]
    reasons = []
    if variables:
        read = ", ".join(map(name_of, variables))
        reasons.append(f"it read {read}, {why_lacking(has_own_key=has_own_key)}")
    if words:
        reasons.append(_why_no_part(words, has_own_key=has_own_key))
    return "; and ".join(reasons)


def why_lacking(*, has_own_key: bool) -> str:
    """Return what to do about a context variable that the key lacks."""
    holds = "let key= hold its value" if has_own_key else "name the variable itself in vary="
    return (
        f"which its key lacks; {holds}, or pass its value as an argument; only if it never decides "
        f"about the result, as the number of a request in a log, name it in ignore="
    )


def _why_no_part(words: list[str], *, has_own_key: bool) -> str:
    """Return what to do about what was read of the request or of the response."""
    read = ", ".join(words)
    if all(word.endswith(handed.WHERE) for word in words):
        return (
            f"it read {read}, which a dependency may have put there, and no key holds that; pass what "
            f"the dependency knows as a parameter; only if the answer is the same for everybody, "
            f"whoever asks, say shared=True"
        )
    headers = {word for word in words if word.startswith("the header ")}
    may_vary = headers and headers.issuperset({*words} - {SCHEME}) and not has_own_key
    vary = ", name a header in vary=" if may_vary else ""
    return (
        f"it read {read} of the request, which is no part of the key; make it a parameter, as a "
        f"dependency that returns it does{vary}, or give a key= that holds a whole header, path or "
        f"query, as a part of a tuple; only if the answer is the same for everybody, whoever asks, "
        f"say shared=True"
    )


def called(read: str | Variable) -> str:
    """Return the name of what was read."""
    return read if isinstance(read, str) else name_of(read)


def why_no_key(error: Exception) -> str:
    """Return why a call has no key."""
    is_told = isinstance(error, UnkeyableError)
    return str(error) if is_told else f"its key cannot be built: {error!r}"
