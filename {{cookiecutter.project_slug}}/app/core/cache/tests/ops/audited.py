"""Applications that are audited, and what the audits found."""

import functools
from typing import Any

from fastapi import FastAPI

from ...ops import Finding, audit_cache


def findings(app: FastAPI) -> list[Finding]:
    """Return what an audit finds."""
    return list(audit_cache(app).findings)


def the_finding(app: FastAPI, kind: str, *named: str) -> Finding:
    """Return the one finding of an application; its remedy names all of this."""
    (finding,) = findings(app)
    assert finding.kind == kind, finding
    for each in named:
        assert each in finding.mend, finding
    return finding


def in_module(name: str) -> Any:
    """Return a decorator that lets a function be one of another module."""

    def move(function: Any) -> Any:
        function.__module__ = name
        return function

    return move


def around(function: Any) -> Any:
    """Decorate with something else."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper
