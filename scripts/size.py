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
from pathlib import Path

CACHE = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}" / "app" / "core" / "cache"
README = CACHE / "README.md"
BESIDE = "beside the rooms"
MOST = {
    BESIDE: 1180,
    "backends": 1900,
    "calls": 1670,
    "coherence": 1260,
    "http": 100,
    "keys": 1440,
    "reads": 940,
    "resilience": 260,
    "settings": 372,
    "stored": 1040,
    "values": 1240,
}
"""How many lines of code each room may have: it may shrink, and grows on purpose only."""
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


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


def sizes() -> tuple[Counter[str], Counter[str]]:
    """Return the lines of code, and the number of files, of each room."""
    lines, files = Counter[str](), Counter[str]()
    for path in sorted(CACHE.rglob("*.py")):
        inside = path.relative_to(CACHE).parts
        room = inside[0] if len(inside) > 1 else BESIDE
        lines[room] += lines_of_code(path.read_text(encoding="utf-8"))
        files[room] += 1
    return lines, files


def with_deletable(readme: str) -> str:
    """Return the README with the right lines, to the next ten, of what may be deleted."""
    before, head, after = readme.partition("| file | what you lose |")
    table, blank, rest = after.partition("\n\n")

    def counted(row: re.Match[str]) -> str:
        files = [CACHE / name for name in re.findall(r"`([\w/]+\.py)`", row[1])]
        lines = sum(lines_of_code(file.read_text(encoding="utf-8")) for file in files)
        return f"{row[1]}{row[2]}| {round(lines, -1)} |"

    table = re.sub(r"^(\| `[^|]*)(\|.*)\| \d+ \|$", counted, table, flags=re.MULTILINE)
    return before + head + table + blank + rest


def main() -> int:
    """Print the table; return 1 if a room is too large, or is not known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="write lines into the README")
    if parser.parse_args().write:
        README.write_text(with_deletable(README.read_text(encoding="utf-8")), encoding="utf-8")
    lines, files = sizes()
    print(f"{'room':18}{'files':>6}{'lines':>7}{'most':>7}")
    for room in sorted(lines):
        print(f"{room:18}{files[room]:6}{lines[room]:7}{MOST.get(room, 0):7}")
    print(f"{'all':18}{files.total():6}{lines.total():7}{sum(MOST.values()):7}")
    larger = [room for room in lines if lines[room] > MOST.get(room, 0)]
    for room in larger:
        print(f"{room} has more lines than it may have: see MOST in scripts/{Path(__file__).name}")
    return bool(larger)


if __name__ == "__main__":
    sys.exit(main())
