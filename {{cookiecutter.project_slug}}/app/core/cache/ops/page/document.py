"""The page as one document: its markup, with its style and its script inside."""

import base64
import hashlib
from functools import cache
from importlib.resources import files

from starlette.responses import HTMLResponse, Response

from .guard import HEADERS

_SCRIPTS = ("numbers.js", "plot.js", "tables.js", "entries.js", "page.js")
"""In this order they are one script."""


@cache
def _document() -> tuple[str, str]:
    """Return the document, and the policy that lets a browser use what is inside, and nothing else."""
    style = _read("page.css")
    script = "\n".join(["'use strict';", *map(_read, _SCRIPTS)])
    page = _read("page.html").replace("/* style */", style).replace("/* script */", script)
    policy = {
        "default-src": "'none'",
        "style-src": _hash_of(style),
        "script-src": _hash_of(script),
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",  # no text becomes markup, be it by mistake
        "trusted-types": "'none'",
    }
    return page, "; ".join(f"{name} {value}" for name, value in policy.items())


def document() -> Response:
    """Return the response that is the page."""
    page, policy = _document()
    return HTMLResponse(page, headers={**HEADERS, "Content-Security-Policy": policy})


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")  # pyright: ignore[reportArgumentType]


def _hash_of(text: str) -> str:
    """Return the hash of a style or script: https://www.w3.org/TR/CSP3/#grammardef-hash-source."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
