"""Who may see the page, and whose requests it answers."""

import ipaddress
import logging
import re
from typing import Annotated, Any

from fastapi import Depends, HTTPException, params
from starlette.requests import Request

logger = logging.getLogger(__name__)

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What every response of the page has."""

OWN_HEADER = "X-Cache-Page"
"""A header that no form can send, and no script of another origin without being allowed to."""

_LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_OF_PROXIES = re.compile(
    r"via|cdn-loop|cf-.+|fly-.+|x-envoy-.+|x-original-.+|.*forwarded.*|.*(client|real|connecting|cluster)[-_].*ip"
)


async def insist_on_local(request: Request) -> None:
    """Answer 404 to all but a client of this machine that has asked for this machine.

    A page of another site can have its own name lead here (DNS rebinding): then `Host` has that name.
    A proxy on this machine hands on requests of others: it says so, or speaks HTTP/1.0.
    """
    if not _is_local(request):
        raise HTTPException(404, headers=HEADERS)


def _is_local(request: Request) -> bool:
    if any(_OF_PROXIES.fullmatch(name.lower()) for name in request.headers):
        return False
    if request.scope.get("http_version") == "1.0":  # no browser does
        return False
    hosts = request.headers.getlist("host")
    is_named = len(hosts) == 1 and _LOCAL_HOST.fullmatch(hosts[0]) is not None
    return is_named and request.client is not None and _is_loopback(request.client.host)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    inner = getattr(address, "ipv4_mapped", None)
    return bool((inner or address).is_loopback)


def insisting(guard: params.Depends) -> params.Depends:
    """Return a guard that also refuses where `guard` returns what no guard means: `False`, a function.

    Raises `ValueError` for a scheme of FastAPI that lets those in who bring nothing.
    """
    if getattr(guard.dependency, "auto_error", True) is False:
        raise ValueError(
            f"{guard!r} does not refuse those who bring no credentials: auto_error=False; give a "
            f"dependency that raises for whoever may not see the page"
        )

    async def admitted(said: Annotated[Any, guard]) -> None:
        if said is False or callable(said):
            logger.error(
                "the guard of the page returned %r: it has to raise; nobody is let in", said
            )
            raise HTTPException(403, "The guard of this page does not work.", HEADERS)

    insisted: params.Depends = Depends(admitted)
    return insisted


async def insist_on_own_page(request: Request) -> None:
    """Answer 403 to requests that a page of another origin has made, even if the service allows CORS."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        is_own = site in ("same-origin", "none")
    else:  # a browser that does not say, or a program
        is_own = origin is None or origin.partition("://")[2] == request.headers.get("host")
    if not is_own:
        raise HTTPException(403, "This page answers to itself only.", HEADERS)


async def insist_on_own_header(request: Request) -> None:
    """Answer 403 to requests that change something, and could come from a form of another page."""
    if request.headers.get(OWN_HEADER) != "1":
        raise HTTPException(403, f"The header {OWN_HEADER}: 1 is missing.", HEADERS)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "The body must be application/json.", HEADERS)
