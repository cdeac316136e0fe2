"""Count the lines of code of the cache module, room by room; fail where one has too many.

A line of code is one that holds more than blanks, a comment or a docstring. With `--write`, the
README of the module gets the lines of the files that may be deleted.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

SERVICE: Final = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}"
CACHE: Final = SERVICE / "app" / "core" / "cache"
README: Final = CACHE / "README.md"
TESTS: Final = CACHE / "tests"

BESIDE: Final = "beside the rooms"
MOST: Final = {
    BESIDE: 1090,
    "backends": 2016,
    "calls": 2810,
    "coherence": 1451,
    "http": 1074,
    "keys": 1114,
    "ops": 3303,
    "testing": 1280,
    "reads": 766,
    "resilience": 285,
    "settings": 392,
    "stored": 1069,
    "values": 1129,
}
"""How many lines of code each room may have: it may shrink, and grows on purpose only."""

MOST_LINES: Final = {"file": 300, "class": 250, "function": 40, "test file": 500}
"""How many lines each of these may have; docstrings count in files only."""

OPTIONAL: Final = (
    ("backends/near.py",),
    ("backends/topologies/sentinel.py",),
    ("backends/topologies/cluster.py",),
    (
        *("http/middleware.py", "http/early.py", "http/routed.py", "http/control.py"),
        *("http/answer.py", "http/scopes.py", "http/conditional.py"),
        *("http/client_control.py", "http/unsafe.py"),
    ),
    ("http/route.py",),
    ("http/status.py",),
    ("ops/",),
    ("testing/",),
)
"""The files, and whole rooms, that a user may delete; those of one group go together."""

_NO_CODE: Final = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


class Part(NamedTuple):
    """A file, or what one defines, and its length."""

    kind: str
    name: str
    lines: int


def lines_of_code(source: str) -> int:
    """Return how many lines of a file hold code."""
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - _docstrings(ast.parse(source)))


def _docstrings(tree: ast.AST) -> set[int]:
    """Return the lines of docstrings, those of attributes as well."""
    found: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for each in body if isinstance(body, list) else []:
            is_text = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
            if is_text and isinstance(each.value.value, str):
                found.update(range(each.lineno, (each.end_lineno or each.lineno) + 1))
    return found


def _files() -> list[Path]:
    """Return the files of the cache, without its tests."""
    return sorted(path for path in CACHE.rglob("*.py") if TESTS not in path.parents)


def sizes() -> tuple[Counter[str], Counter[str]]:
    """Return the lines of code, and the number of files, of each room."""
    lines, files = Counter[str](), Counter[str]()
    for path in _files():
        inside = path.relative_to(CACHE).parts
        room = inside[0] if len(inside) > 1 else BESIDE
        lines[room] += _size(path)
        files[room] += 1
    return lines, files


def optional_sizes() -> dict[tuple[str, ...], int]:
    """Return the lines of code of each group of optional files; a missing file has none."""
    return {files: sum(_size(CACHE / file) for file in files) for files in OPTIONAL}


def _size(path: Path) -> int:
    """Return the lines of code of a file, or of all files of a folder; 0 if there is none."""
    if path.is_dir():
        return sum(map(_size, path.rglob("*.py")))
    return lines_of_code(path.read_text(encoding="utf-8")) if path.exists() else 0


def parts() -> Iterator[Part]:
    """Yield the files, classes and functions of the cache, and the files of its tests."""
    for path in _files():
        source, name = path.read_text(encoding="utf-8"), str(path.relative_to(CACHE))
        yield Part("file", name, len(source.splitlines()))
        yield from _defined(ast.parse(source), f"{name}: ")
    for path in sorted(TESTS.rglob("*.py")):
        source, name = path.read_text(encoding="utf-8"), str(path.relative_to(CACHE))
        yield Part("test file", name, len(source.splitlines()))


def _defined(tree: ast.AST, name: str) -> Iterator[Part]:
    for node in ast.iter_child_nodes(tree):
        inner = name
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{name}{node.name}."
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Part(kind, f"{name}{node.name}", lines - len(_docstrings(node)))
        yield from _defined(node, inner)


def with_deletable(readme: str) -> str:
    """Return the README with the right lines, to the next ten, of what may be deleted."""
    before, head, after = readme.partition("| file | what you lose |")
    table, blank, rest = after.partition("\n\n")

    def counted(row: re.Match[str]) -> str:
        lines = sum(_size(CACHE / name) for name in re.findall(r"`([\w/]+(?:\.py|/))`", row[1]))
        return f"{row[1]}{row[2]}| {round(lines, -1)} |"

    table = re.sub(r"^(\| `[^|]*)(\|.*)\| \d+ \|$", counted, table, flags=re.MULTILINE)
    return before + head + table + blank + rest


def main() -> int:
    """Print the tables; return 1 if a room is too large, or is not known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="write lines into the README")
    if parser.parse_args().write:
        README.write_text(with_deletable(README.read_text(encoding="utf-8")), encoding="utf-8")
    lines, files = sizes()
    print(f"{'room':32}{'files':>6}{'lines':>7}{'most':>7}")
    for room in sorted(lines):
        print(f"{room:32}{files[room]:6}{lines[room]:7}{MOST.get(room, 0):7}")
    print(f"{'all':32}{files.total():6}{lines.total():7}{sum(MOST.values()):7}")
    print("\nmay be deleted")
    optional = optional_sizes()
    for group, size in optional.items():
        print(f"{' '.join(group):38}{size:7}")
    print(f"{'all but these':38}{lines.total() - sum(optional.values()):7}")
    print("\nlongest")
    for kind, most in MOST_LINES.items():
        part = max((each for each in parts() if each.kind == kind), key=lambda each: each.lines)
        print(f"{kind:10}{part.name:54}{part.lines:7}{most:7}")
    larger = [room for room in lines if lines[room] > MOST.get(room, 0)]
    for room in larger:
        print(f"{room} has more lines than it may have: see MOST in scripts/{Path(__file__).name}")
    return bool(larger)


if __name__ == "__main__":
    sys.exit(main())
