"""The application of the service, which some commands examine. Nothing of it is run but its import."""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI

from ...calls import made_with
from ...manager import CacheManager
from ..endpoints import Place, Use, places_of, uses_of
from .refused import RefusedError

_PACKAGE = __name__.removesuffix(".ops.cli.application")
FORM = "give it as --app package.module:name"


class Application:
    """An application, its routes, and the caches of its functions."""

    def __init__(self, app: FastAPI, name: str) -> None:
        self.app, self.name = app, name
        self.places: list[Place] = places_of(app)
        self.uses: list[Use] = uses_of(self.places)
        self.managers: list[CacheManager] = list(
            {id(use.made.manager): use.made.manager for use in self.uses}.values()
        )

    @property
    def functions(self) -> list[Any]:
        """How the decorated functions of these caches were made."""
        return made_with(self.managers)


def default_name() -> str | None:
    """Return where the application is by default: `main:app` in the top package, or beside it."""
    top = _PACKAGE.partition(".")[0]
    for module in (f"{top}.main", "main"):
        try:
            if find_spec(module) is not None:
                return f"{module}:app"
        except (ImportError, ValueError):  # the top package is a module, or has no specification
            continue
    return None


def load_default() -> Application:
    """Import the application at its usual place; raises `RefusedError` if that fails."""
    name = default_name()
    if name is None:
        raise RefusedError(f"which application? There is none at main:app; {FORM}")
    return load(name)


def load(name: str) -> Application:
    """Import an application by `package.module:name`; raises `RefusedError` if that fails."""
    os.environ.setdefault("CACHE_AUDIT", "warning")  # its own audit must not keep it from a look
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise RefusedError(f"--app {name!r} names no application; {FORM}")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {error}"
    else:
        if hasattr(found, "routes"):
            return Application(found, name)
        told = f"a {type(found).__name__} has no routes"
    raise RefusedError(f"--app {name!r} cannot be used: {told}")
