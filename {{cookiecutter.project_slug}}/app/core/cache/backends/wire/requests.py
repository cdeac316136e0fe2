"""Requests: commands that leave together, with a PING behind them that proves their replies.

If a proxy or a bug doubles one reply, each later command gets the reply to the one before it. So
each request ends with a PING that has a unique token. If the last reply is not that token, the
connection is out of step: it is dropped, and the request is sent again over another connection.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import hiredis
from redis.exceptions import InvalidResponse

from ...errors import UnansweredError
from ...resilience import Use

Command = tuple[bytes | str | int, ...]
"""A Redis command and its arguments."""

Hook = Callable[[list[Any]], None]
"""Is called with replies as they arrive, before any message after them is read."""

packed: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment] # it takes more
_TOKEN_BYTES = 32
_PING = b"*2\r\n$4\r\nPING\r\n$%d\r\n%%b\r\n" % _TOKEN_BYTES
_PROCESS, _numbers = secrets.token_hex(8).encode(), itertools.count()

_TYPES: dict[bytes | str | int, set[type]] = {
    "ASKING": {bytes},
    "CLUSTER": {list, bytes},
    "EVAL": {int},
    "EVALSHA": {int},
    "EXISTS": {int},
    "GET": {bytes, NoneType},
    "GETRANGE": {bytes},
    "PTTL": {int},
    "SCAN": {list},
    "SET": {bytes, NoneType},
    "UNLINK": {int},
}
"""The types of replies; any reply may also be an error."""


class BrokenConnectionError(UnansweredError):
    """The connection broke after the request was sent; another one may have an answer."""

    def __init__(self, why: str, deadline: float = 0.0) -> None:
        super().__init__(why, deadline)


@dataclass(slots=True, eq=False, repr=False)
class Request:
    """Commands that leave in one write.

    A read after a request that `invalidates` must not return older values. `changed` is done when
    the server reports that the key of the one GET has changed, and cancelled if the server will
    not report it. `deadline`, in the event loop's time, is given for a second try over another
    connection; otherwise the request has the server's budget.
    """

    commands: Sequence[Command]
    use: Use
    invalidates: bool = False
    changed: "asyncio.Future[None] | None" = None
    deadline: float | None = None
    once: bool = False
    """Whether it must not be sent again where a broken connection leaves open what became of it."""

    def read_keys(self) -> list[Any]:
        """Return the keys of its GETs."""
        return [command[1] for command in self.commands if command[0] == "GET"]


@dataclass(slots=True, eq=False, repr=False)
class Get:
    """A packed GET. Values that name its key begin with `start`, those of any key with `label`."""

    name: bytes
    packed: bytes
    start: bytes
    label: bytes

    @classmethod
    def of(cls, name: bytes, start: bytes, label: bytes) -> "Get":
        """Return the GET of the key `name`."""
        return cls(name, packed(("GET", name)), start, label)


class Gets:
    """A GET and other reads that leave together; `others` are keys and their packed commands.

    With `sealed`, a PING proves the replies, as for a request.
    """

    __slots__ = ("_token", "count", "name", "names", "packed")

    def __init__(self, get: Get, others: Sequence[tuple[bytes, bytes]], *, sealed: bool) -> None:
        self.name, self.names = get.name, [get.name, *[name for name, _ in others]]
        sent = [get.packed, *[each for _, each in others]]
        self._token: bytes | None = None
        if sealed:
            self._token = b"%b%016x" % (_PROCESS, next(_numbers))
            sent.append(_PING % self._token)
        self.packed, self.count = b"".join(sent), len(sent)

    def unsealed(self, replies: list[Any]) -> list[Any]:
        """Return the replies; raise `InvalidResponse` if they are those to other commands."""
        if self._token is not None and replies.pop() != self._token:
            raise InvalidResponse("a reply that belongs to another command")
        for reply in replies:
            if type(reply) is not bytes and reply is not None and not isinstance(reply, Exception):
                raise InvalidResponse("a reply that belongs to another command")
        return replies


def key_of(command: Command) -> Any:
    """Return the key of a command that has one."""
    return command[3] if command[0] in ("EVAL", "EVALSHA") else command[1]


class Sealed:
    """Packed commands, and the PING that proves their replies."""

    __slots__ = ("_commands", "_token", "count", "packed")

    def __init__(self, commands: Sequence[Command] = ()) -> None:
        self._commands, self._token = commands, b"%b%016x" % (_PROCESS, next(_numbers))
        self.packed = b"".join([*map(packed, commands), _PING % self._token])
        self.count = len(commands) + 1
        """How many replies there will be."""

    def unsealed(self, replies: list[Any]) -> list[Any]:
        """Return the replies to the commands; raise `InvalidResponse` if they are not theirs."""
        if replies.pop() != self._token:
            raise InvalidResponse("a reply that belongs to another command")
        for command, reply in zip(self._commands, replies, strict=True):
            types = _TYPES.get(command[0])
            is_right = types is None or type(reply) in types or isinstance(reply, Exception)
            if not is_right:
                raise InvalidResponse("a reply that belongs to another command")
        return replies


@dataclass(slots=True, eq=False, repr=False)
class Wait:
    """A request that has been sent."""

    answer: "asyncio.Future[list[Any]] | None"
    deadline: float
    sealed: Sealed | Gets
    hook: Hook | None
    replies: list[Any] = field(default_factory=list)


WaitOfGet = tuple["asyncio.Future[Any]", float, Get]
"""A GET that has been sent: its answer and deadline.

A tuple, because one is made for most hits, and an object takes three times as long.
"""


def answer_of(wait: Wait | WaitOfGet) -> tuple["asyncio.Future[Any] | None", float]:
    """Return the future of the answer, `None` if nobody waits for it any more, and its deadline."""
    answer, deadline = wait[:2] if isinstance(wait, tuple) else (wait.answer, wait.deadline)
    return (None if answer is None or answer.done() else answer), deadline
