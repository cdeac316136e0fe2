"""Sentinel: which server is the master now, and connections to that one.

All sentinels are asked at once and the first answer is taken, so a sentinel that hangs delays
nobody. An answer may be old: so the server itself has to say that it is a master, as the guidelines
for clients demand (https://redis.io/docs/latest/develop/reference/sentinel-clients/).

A master that hung and was replaced still acts as a master when it runs again, until the sentinels
demote it: for ten seconds by default. Meanwhile it returns old values, and removals there are lost.
So all connections are replaced when one leads to another master, and when none has worked for
`_TRUSTED_SECONDS`, as the master may have hung since then. After a failover on demand the old
master goes on for as long without having hung; so one sentinel is asked once a second for another.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import ConnectionError as NoConnectionError

from ...resilience import BackgroundRetry, reason
from ..addresses import Address
from ..wire.connections import AnyConnection, Connector
from ..wire.requests import Get, Gets, Request
from ..wire.server import Options, Server
from .single import Single

_TRUSTED_SECONDS = 1.0
"""Sentinels do not replace a master that has hung for less time than this."""


class MasterNotFoundError(NoConnectionError):
    """No sentinel names a master, or the server that they name is not a master."""


class Sentinels:
    """Opens connections to the master that the sentinels at `addresses` call `name`."""

    def __init__(
        self, addresses: Sequence[Address], name: str, asking: Connector, connector: Connector
    ) -> None:
        self._addresses, self._name = addresses, name
        self._asking, self._connector = asking, connector
        self._master: Address | None = None
        self._last: Address | None = None
        self.on_change: Callable[[], None] | None = None

    def forget(self) -> None:
        """Ask the sentinels again before the next connection."""
        self._master = None

    async def connect(self) -> AnyConnection:
        """Open a connection to the master; raises `MasterNotFoundError` if there is none."""
        try:
            if self._master is None:
                self._master = await self._find()
            address = self._master
            connection = await self._connector.connect(*address)
            try:
                await _insist_on_master(connection)
            except BaseException:
                connection.drop()
                raise
        except BaseException:
            self.forget()
            raise
        if self._last not in (None, address) and self.on_change is not None:
            self.on_change()
        self._last = address
        return connection

    async def name_another(self) -> bool:
        """Whether most sentinels name another master than that of the last connection.

        One is asked first, and all if it names another: one alone may be cut off from the others.
        """
        if self._last is None:
            return False
        if await self._ask(*random.choice(self._addresses)) in (None, self._last):
            return False
        questions = [self._ask(*address) for address in self._addresses]
        answers = Counter(
            answer
            for answer in await asyncio.gather(*questions, return_exceptions=True)
            if isinstance(answer, tuple) and answer != self._last
        )
        return any(2 * count > len(questions) for count in answers.values())

    async def _find(self) -> Address:
        questions = [asyncio.ensure_future(self._ask(*address)) for address in self._addresses]
        reasons = []
        try:
            for answer in asyncio.as_completed(questions):
                try:
                    address = await answer
                except Exception as error:  # another sentinel may know
                    reasons.append(reason(error))
                    continue
                if address is not None:
                    return address
        finally:
            for question in questions:
                question.cancel()
            await asyncio.gather(*questions, return_exceptions=True)
        why = ": " + "; ".join(dict.fromkeys(reasons)) if reasons else ""
        raise MasterNotFoundError(
            f"none of {len(self._addresses)} sentinels names a master {self._name!r}{why}"
        )

    async def _ask(self, host: str, port: int) -> Address | None:
        sentinel = await self._asking.connect(host, port)
        try:
            answer = await _asked(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
        finally:
            sentinel.drop()
        return None if answer is None else (answer[0].decode(), int(answer[1]))


async def _insist_on_master(connection: AnyConnection) -> None:
    role = await _asked(connection, "ROLE")
    if not isinstance(role, list) or role[:1] != [b"master"]:
        raise MasterNotFoundError("the master that the sentinels name is none")


async def _asked(connection: AnyConnection, *command: str) -> Any:
    connection.unanswered = True
    await connection.send_command(*command, check_health=False)
    answer = await connection.read_response()
    connection.unanswered = False
    return answer


class Master(Single):
    """The master that sentinels name, over connections that lead there."""

    has_replicas = True

    def __init__(self, sentinels: Sentinels, name: str, options: Options) -> None:
        server = Server(f"redis at the master {name!r} of sentinels", sentinels.connect, options)
        super().__init__(server)
        self._worked_at = self._asked_at = 0.0
        self.read_nowait = self._read_nowait
        self._sentinels = sentinels
        self._asking = BackgroundRetry(self._leave_the_replaced, initial_delay=0.0)
        server.on_renewal, sentinels.on_change = sentinels.forget, server.take_over

    async def execute(self, request: Request) -> list[Any]:
        self._leave_what_is_old()
        now = time.monotonic()
        if now - self._asked_at > _TRUSTED_SECONDS:
            self._asked_at = now
            self._asking.start()
        replies = await super().execute(request)
        self._worked_at = time.monotonic()
        return replies

    def _read_nowait(self, get: Get | Gets) -> "asyncio.Future[Any] | None":
        """Send a GET, if `execute` has worked lately: it alone notes that a request worked."""
        if time.monotonic() - self._worked_at > _TRUSTED_SECONDS / 2:
            return None
        return self._server.read_nowait(get)

    async def ping(self) -> bool:
        self._leave_what_is_old()
        return await super().ping()

    async def walk(self) -> AsyncIterator[Server]:
        self._leave_what_is_old()
        yield self._server

    async def close(self) -> None:
        await self._asking.stop()
        await super().close()

    async def _leave_the_replaced(self) -> None:
        with suppress(Exception):  # this sentinel fails; another one is asked in a second
            async with asyncio.timeout(_TRUSTED_SECONDS):
                if await self._sentinels.name_another():
                    self._server.renew()

    def _leave_what_is_old(self) -> None:
        now, server = time.monotonic(), self._server
        if now - self._worked_at <= _TRUSTED_SECONDS or server.is_proven:
            return
        if not server.breaker.is_open:
            self._server.renew()
            self._worked_at = now
