"""Whether calls that a page names are there: `python calls.py < question`, in their environment.

The question is JSON: `imports`, the lines that make names known; `sources`, folders of the package;
`calls`, texts such as `@cache(expire=60)` or `REDIS_URL=redis://redis`. The answer is a list of
what is neither known nor in a file of the package.
"""

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

_UNKNOWN: Final = object()


class Calls:
    """The names of a package, and the words of its files."""

    def __init__(self, imports: str, sources: list[str]) -> None:
        self._names: dict[str, Any] = {}
        exec(imports, self._names)  # noqa: S102 - what the test gives
        files = [file for source in sources for file in Path(source).rglob("*") if file.is_file()]
        texts = [file.read_text("utf-8", errors="ignore") for file in files]
        self._words = set(re.findall(r"[\w-]+", "\n".join(texts)))

    def wrong(self, call: str) -> Iterator[str]:
        """Yield what is wrong with a call."""
        try:
            tree = ast.parse(call.removeprefix("@").removeprefix("await "), mode="eval").body
        except SyntaxError:  # a variable of the environment with its value
            tree = ast.Name(call.partition("=")[0])
        if isinstance(tree, ast.Name | ast.Attribute):
            yield from self._wrong_name(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and not isinstance(node.func, ast.Call):
                yield from self._wrong_name(node.func)
                yield from self._wrong_arguments(node)

    def _wrong_name(self, node: ast.expr) -> Iterator[str]:
        name = node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)
        if self._found(node) is _UNKNOWN and name not in self._words:
            yield ast.unparse(node)

    def _wrong_arguments(self, call: ast.Call) -> Iterator[str]:
        function = self._found(call.func)
        takes = _parameters(function)
        kinds = {each.kind for each in takes.values()}
        is_open = not takes or inspect.Parameter.VAR_KEYWORD in kinds
        for name in (each.arg for each in call.keywords if each.arg):
            if name not in takes and not (is_open and name in self._words):
                yield f"{ast.unparse(call.func)}({name}=)"

    def _found(self, node: ast.expr) -> Any:  # noqa: ANN401 - whatever the package has
        """Return what an expression names, or what says that only its words can be looked for."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id, _UNKNOWN)
        if isinstance(node, ast.Attribute):
            base = self._found(node.value)
            return _UNKNOWN if base is _UNKNOWN else getattr(base, node.attr)
        return _UNKNOWN


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:  # noqa: ANN401 - the same
    """Return the parameters of the function itself, and none of what does not tell them."""
    try:
        return inspect.signature(function, follow_wrapped=False).parameters
    except (TypeError, ValueError):
        return {}


def main() -> None:
    """Answer the question."""
    question = json.load(sys.stdin)
    calls = Calls(question["imports"], question["sources"])
    json.dump([wrong for call in question["calls"] for wrong in calls.wrong(call)], sys.stdout)


if __name__ == "__main__":
    main()
