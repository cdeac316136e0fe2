"""What the cache module uses of the inside of other packages, read from its code."""

import ast
from collections.abc import Iterator
from typing import Final

from tests.baked import CACHE

_UNDOCUMENTED: Final = (
    *("fastapi.dependencies", "fastapi.utils", "fastapi.security.base"),
    *("redis.asyncio.connection", "redis.crc", "starlette.middleware.exceptions"),
)
"""Modules without a page in the documents of their packages."""
_OF_PYTHON: Final = {"_asdict", "_fields", "_missing_", "_replace"}
"""What Python's own documents tell of named tuples and enums."""
_FOREIGN: Final = ("fastapi", "starlette", "redis", "hiredis", "pydantic", "pydantic_core", "anyio")


def uses() -> set[tuple[str, str]]:
    """Return each use: the file, and the name that is not for others.

    A private name that the file gives to something of its own counts as its own everywhere there.
    """
    trees = {
        str(path.relative_to(CACHE)): ast.parse(path.read_text(encoding="utf-8"))
        for path in CACHE.rglob("*.py")
        if path.relative_to(CACHE).parts[0] not in {"tests", "testing"}
    }
    found = {(file, name) for file, tree in trees.items() for name in _imported(tree)}
    for file, tree in trees.items():
        own = _OF_PYTHON | {*_defined(tree)}
        found |= {(file, name) for name in _private(tree) if name not in own}
    return found


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            is_private = any(part.startswith("_") for part in node.module.split("."))
            is_foreign = node.module.partition(".")[0] in _FOREIGN
            if is_foreign and (is_private or node.module.startswith(_UNDOCUMENTED)):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _private(tree: ast.AST) -> Iterator[str]:
    """Yield private attributes, also those that are named in a text, as for `getattr`."""
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value if node.value.isidentifier() else None
        if name and name.startswith("_") and not name.startswith("__") and name.strip("_"):
            yield name


def _defined(tree: ast.AST) -> Iterator[str]:
    """Yield the names that the module gives to what is its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__":
            yield from (
                each.value
                for each in ast.walk(node.value)
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            )
