"""Sentinel: which server is the master now, and connections to that one.

Every sentinel is asked at once and the first answer is taken, so that one that hangs delays nobody.
An answer may be old: the server itself has to say that it is a master, as the guidelines for clients
want it (https://redis.io/docs/latest/develop/reference/sentinel-clients/).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError as NoConnectionError

from ..outage import reason
from .connections import Address, AnyConnection, Dialler


class MasterNotFoundError(NoConnectionError):
    """No sentinel names a master, or the one that they name is none."""


class Sentinels:
    """Opens connections to the master that the sentinels at `addresses` call `name`."""

    def __init__(
        self, addresses: Sequence[Address], name: str, *, asking: Dialler, dialler: Dialler
    ) -> None:
        self._addresses, self._name = addresses, name
        self._asking, self._dialler = asking, dialler
        self._master: Address | None = None

    def forget(self) -> None:
        """Ask anew before the next connection."""
        self._master = None

    async def dial(self) -> AnyConnection:
        """Open a connection to the master; raises `MasterNotFoundError` or what connecting does."""
        try:
            if self._master is None:
                self._master = await self._find()
            connection = await self._dialler.dial(*self._master)
            try:
                await _insist_on_master(connection)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
        except BaseException:
            self.forget()
            raise
        return connection

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
        sentinel = await self._asking.dial(host, port)
        try:
            answer = await _asked(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
        finally:
            await sentinel.disconnect(nowait=True)
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
