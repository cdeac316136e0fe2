"""The routes of the page. Reading changes nothing; what changes something says what it did."""

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, params
from starlette.requests import Request
from starlette.responses import Response

from ...errors import UnavailableError
from ...keys import KeyPattern
from ...stored import Shown
from ..counters import counters_of
from ..entries import entry_at
from .document import document
from .guard import (
    HEADERS,
    insist_on_local,
    insist_on_own_header,
    insist_on_own_page,
    insisting,
)
from .state import answer, found, state_of, told

if TYPE_CHECKING:
    from ...manager import CacheManager

logger = logging.getLogger(__name__)

LONGEST = 4096
"""The most characters of a key, a pattern or a tag that the page takes."""
_MOST_BODY_BYTES = 16_384
_WHATS = ("key", "pattern", "tag")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_Text = Annotated[str, Query(min_length=1, max_length=LONGEST)]
_Limit = Annotated[int, Query(ge=1, le=500)]


def cache_page(
    manager: "CacheManager | None" = None,
    *,
    dependencies: Sequence[params.Depends] = (),
    local_only: bool = False,
) -> APIRouter:
    """Return a router with the page of a cache; without `manager`, of the shared one.

        app.include_router(cache_page(dependencies=[Depends(admin)]), prefix="/cache")

    The page shows what is stored, and can invalidate it. So somebody has to say who may see it:
    `dependencies`, which raise for everybody else, or `local_only`, which answers 404 to all but
    browsers and programs of this machine. With both, both must let a request in. Raises `ValueError`
    if there is neither, and `TypeError` for dependencies that are no `Depends(...)`.

    From now on the cache is counted. The numbers of other processes are there if these publish them:
    see `publishing`.
    """
    for each in dependencies:
        if not isinstance(each, params.Depends):
            raise TypeError(f"dependencies has {each!r}, which is no dependency: Depends({each!r})")
    if not dependencies and not local_only:
        raise ValueError(
            "cache_page() without a guard would show everybody what is stored: give it "
            "dependencies=[Depends(admin)], where admin raises for whoever may not see it, or, for "
            "development, local_only=True"
        )
    if manager is None:
        from ...config import CacheFactory  # noqa: PLC0415 - it knows all rooms

        manager = CacheFactory.get_cache_manager()
    counters_of(manager)
    guards = [Depends(insist_on_local)] if local_only else []
    guards += map(insisting, dependencies)
    router = APIRouter(dependencies=guards, include_in_schema=False)
    _Page(manager).add_to(router)
    return router


class _Page:
    """The endpoints of the page of one cache."""

    def __init__(self, manager: "CacheManager") -> None:
        self._manager = manager

    def add_to(self, router: APIRouter) -> None:
        own, own_header = Depends(insist_on_own_page), Depends(insist_on_own_header)
        for path in ("", "/"):
            router.add_api_route(path, self.page, response_class=Response)
        for path, endpoint in (
            ("/data", self.data),
            ("/entries", self.entries),
            ("/entry", self.entry),
        ):
            router.add_api_route(path, endpoint, dependencies=[own], response_class=Response)
        router.add_api_route(
            "/invalidate",
            self.invalidate,
            methods=["POST"],
            dependencies=[own, own_header],
            response_class=Response,
        )
        for path in ("", "/{rest:path}"):  # else who may not see it learns which methods there are
            router.add_api_route(path, self.nothing, methods=[*_METHODS], response_class=Response)

    async def nothing(self) -> Response:
        raise _refused(404, "There is nothing here.")

    async def page(self) -> Response:
        return document()

    async def data(self) -> Response:
        return answer(await state_of(self._manager))

    async def entries(self, pattern: _Text = "*", limit: _Limit = 50) -> Response:
        try:
            return answer(await found(self._manager, pattern, limit))
        except NotImplementedError:
            raise _refused(501, "This backend cannot list its keys.") from None

    async def entry(self, key: _Text) -> Response:
        try:
            entry = await entry_at(self._manager, key)
        except UnavailableError:
            raise _refused(503, "The backend does not answer.") from None
        if entry is None:
            raise _refused(404, "There is nothing at this key.")
        return answer(told(entry))

    async def invalidate(self, request: Request) -> Response:
        what, name = _wish(await _body(request))
        try:
            done, number = await self._invalidated(what, name)
        except (TypeError, ValueError) as error:
            raise _refused(422, str(error)) from None
        logger.info("the page invalidates the %s %s", what, Shown(name))
        return answer({"what": what, "name": name, "done": done, "number": number})

    async def _invalidated(self, what: str, name: str) -> tuple[bool, int | None]:
        """Return whether it was done, and how many keys were removed, if that is known."""
        manager = self._manager
        if what == "tag":
            return await manager.invalidate_tags(name), None
        if what == "pattern":
            return await manager.invalidate(name)
        if name.startswith("~"):
            raise ValueError("What begins with '~' is no entry, but the cache's own.")
        return await manager.delete_matching(KeyPattern((f"{manager.key_prefix}:{name}",)))


async def _body(request: Request) -> Any:
    """Return the JSON of a request; it is read here, so that no large one is read before the guards."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BODY_BYTES:
            raise _refused(413, f"The body has more than {_MOST_BODY_BYTES} bytes.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _refused(422, "The body is no JSON.") from None


def _wish(body: Any) -> tuple[str, str]:
    """Return what to invalidate: the word for it, and its name."""
    if isinstance(body, dict) and len(body) == 1:
        ((what, name),) = body.items()
        if what in _WHATS and isinstance(name, str) and 1 <= len(name) <= LONGEST:
            return what, name
    raise _refused(
        422,
        f"The body must be an object with one of {', '.join(_WHATS)}, a text of 1 to {LONGEST} "
        "characters.",
    )


def _refused(status: int, why: str) -> HTTPException:
    return HTTPException(status, why, HEADERS)
