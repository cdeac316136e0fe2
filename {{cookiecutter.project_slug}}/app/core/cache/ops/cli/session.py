"""One run of a command: its settings, its cache, and what becomes of its errors.

The exit codes are 0 for done, found and healthy; 1 for not done, not found, not healthy and
different; 2 for a wrong use or wrong settings; 3 for a backend that is away.
"""

import asyncio
import logging
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, NoReturn

import typer
from pydantic import SecretStr

from ...config import CacheFactory, get_cache_manager
from ...errors import CacheConfigError, UnavailableError
from ...manager import CacheManager
from ...settings import CacheSettings
from .application import Application, load, load_default
from .output import Output
from .refused import RefusedError

DONE, NOT_DONE, WRONG, AWAY, INTERRUPTED = 0, 1, 2, 3, 130
PATIENCE = 3.0
"""Seconds that an operation may take: a person has more time than a request."""
Needs = Literal["entries", "a server", "a cache", "nothing"]

_PACKAGE = __name__.removesuffix(".ops.cli.session")
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]*@")
_SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|_KEY$|_URL$|_DSN$")
_REFUSED = "AuthenticationError"  # of redis-py
_LEAST = 4  # characters; a shorter text may be a part of any word


class Session:
    """What a command works with."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self.app: Application | None = None
        self._settings: CacheSettings | None = None
        self._manager: CacheManager | None = None
        self.opened: list[CacheManager] = []
        """The caches whose connections are closed in the end."""

    @property
    def settings(self) -> CacheSettings:
        """The settings; they are read when they are first needed."""
        if self._settings is None:
            self._settings = CacheSettings.load()
        return self._settings

    @property
    def manager(self) -> CacheManager:
        """A cache with these settings, more patient than that of a service."""
        if self._manager is None:
            changes = {
                "cache_operation_timeout": max(PATIENCE, self.settings.cache_operation_timeout),
                "cache_near_size": 0,
                "cache_enabled": True,
            }
            settings = self.settings.model_copy(update=changes)
            self._manager = CacheFactory.create_cache_manager(settings)
            self.opened.append(self._manager)
        return self._manager

    @property
    def managers(self) -> list[CacheManager]:
        """The caches of the application, whose functions are known by name."""
        return [] if self.app is None else self.app.managers

    @property
    def where(self) -> str:
        """The server and the prefix of keys, in words, without a password."""
        return f"{self.manager.backend!r}, key prefix {self.manager.key_prefix!r}"

    @property
    def secrets(self) -> list[str]:
        """The secret settings, as far as settings were read."""
        names = () if self._settings is None else type(self._settings).model_fields
        values = [getattr(self._settings, name) for name in names]
        return [each.get_secret_value() for each in values if isinstance(each, SecretStr)]

    async def insist_on_server(self) -> None:
        """Raise `UnavailableError` if the backend does not answer a read."""
        probe = f"{self.manager.key_prefix}:~probe"
        await self.manager.fence.looks.ask(self.manager.backend.get_many_bytes([probe]))

    def insist_on(self, needs: Needs) -> None:
        """Raise `RefusedError` if the settings lead to no cache that this process can see."""
        name = self.settings.backend_name if needs != "nothing" else ""
        if name == "none":
            raise RefusedError("CACHE_BACKEND=none: there is no cache")
        if name == "memory" and needs != "a cache":
            raise RefusedError(
                "the cache is in memory (CACHE_BACKEND=memory, or unset without an address of "
                "Redis): each process has its own, and that of this command is empty; set "
                "CACHE_BACKEND=redis, and REDIS_HOST or REDIS_URL"
            )

    def find_prefix(self, *, or_default: bool = False) -> Application | None:
        """Let the application say the prefix of its keys, if no setting says it; return that application.

        Another prefix would show, and remove, the entries of another service. If nobody says it,
        raises `RefusedError`; with `or_default`, tells that, and leaves the default.
        """
        if "cache_key_prefix" in self.settings.model_fields_set:
            return None
        try:
            self.app = self.app or load_default()
            prefix = _prefix_of(self.app)
        except RefusedError as error:
            advice = (
                "set CACHE_KEY_PREFIX to the prefix of the keys of the service: the application "
                f"cannot tell it, for {error}"
            )
            if not or_default:
                raise RefusedError(advice) from None
            self.out.note(masked(advice, os.environ, self.secrets))
            return None
        self._settings = self.settings.model_copy(update={"cache_key_prefix": prefix})
        return self.app

    async def close(self) -> None:
        """Close the connections."""
        for manager in self.opened:
            await manager.close()


def _prefix_of(app: Application) -> str:
    found = {each.key_prefix for each in app.managers} or {get_cache_manager().key_prefix}
    if len(found) > 1:
        raise RefusedError(f"it has {', '.join(map(repr, sorted(found)))}")
    return found.pop()


Work = Callable[[Session], Awaitable[int]]


def run(work: Work, *, as_json: bool, needs: Needs, app: str | None = None) -> NoReturn:
    """Run a command, and end with its exit code. Errors become a line on stderr, and a code."""
    out = Output(is_json=as_json)
    session = Session(out)
    try:
        with _quiet():
            session.app = None if app is None else load(app)
            session.insist_on(needs)
            if needs != "nothing" and session.settings.backend_name != "memory":
                session.find_prefix(or_default=needs == "a server")
            code = asyncio.run(_within(work, session))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DONE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        code, text = _told(error)
        out.error(masked(text, os.environ, session.secrets))
    raise typer.Exit(code)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the cache logs from stderr: each error is told once, as the result of the command."""
    logger, handler = logging.getLogger(_PACKAGE), logging.NullHandler()
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


async def _within(work: Work, session: Session) -> int:
    try:
        return await work(session)
    finally:
        await session.close()


def _told(error: Exception) -> tuple[int, str]:
    """Return the exit code for an error, and a text without what its frames hold."""
    if isinstance(error, (CacheConfigError, RefusedError)):
        return WRONG, str(error)
    if isinstance(error, UnavailableError) and str(error).startswith(_REFUSED):
        return WRONG, f"the server refuses the user or the password: {error}"
    if isinstance(error, UnavailableError):
        why = "it does not answer in time" if str(error) == TimeoutError.__name__ else error
        return AWAY, f"the backend is away: {why}"
    place, last = "", error.__traceback__
    while last is not None:
        place = f"{last.tb_frame.f_globals.get('__name__', '')}, line {last.tb_lineno}"
        last = last.tb_next
    return NOT_DONE, f"{type(error).__name__} in {place}: {error}"


def masked(text: str, environment: Mapping[str, str], secrets: list[str]) -> str:
    """Return a text without passwords: those of settings, of variables named so, and of URLs."""
    named = [value for name, value in environment.items() if _SECRET.search(name.upper())]
    for secret in sorted({*named, *secrets}, key=len, reverse=True):
        if len(secret) >= _LEAST:
            text = text.replace(secret, "***")
    return _CREDENTIALS.sub("***@", text)
