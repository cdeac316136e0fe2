# % if cookiecutter.example_resource
"""Take the example out of the service: all or nothing, and nothing that its owner has changed.

`make remove-example EXCEPT=THIS/FILE` does the same as `uv run scripts/remove_example.py THIS/FILE`.
"""

import ast
import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATCH = Path("example.patch")
CACHE = Path("app/core/cache")  # which uses nothing of the service
FOLDER = Path("migrations")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

BY_HAND = """Nothing was changed. Do by hand what example.patch says of these files, and then:
  make remove-example EXCEPT="THIS/FILE THAT/FILE\""""


def main() -> None:
    """Make the files without the example beside the old ones, look at them, and swap them."""
    os.chdir(ROOT)
    for each in SIGNALS[1:]:
        signal.signal(each, lambda number, _: sys.exit(128 + number))
    if not PATCH.exists():
        refuse("There is no example.patch: the example is out already.")
    if not shutil.which("git"):
        refuse("git takes the example out, and is not on the PATH.")
    stage = Path(tempfile.mkdtemp(prefix=".remove-example-", dir=ROOT))
    try:
        old, new = stage / "old", stage / "new"
        try:
            files = make(old, new, sys.argv[1:])
            refuse_what_would_break(files, [*needing(old, new), *left_over()])
        except OSError as error:
            refuse(str(error))
        swap([*files, str(PATCH)], old, new)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    remove_empty_folders(files)


def refuse(*why: str, what_to_do: str = "Nothing was changed.") -> None:
    """Say why nothing is done, and exit."""
    sys.exit("\n".join([*why, what_to_do]))


def make(old: Path, new: Path, excepted: list[str]) -> list[str]:
    """Copy the files of the patch to `old`, and to `new` as they are without the example."""
    text = PATCH.read_bytes().decode()
    named = re.findall(r"^--- a/(.*?)\r?\n\+\+\+ (?:b/|/dev/null)", text, re.MULTILINE)
    files = [each for each in named if not any(fnmatch(each, f"*{name}") for name in excepted)]
    for file in [*files, str(PATCH)]:
        for folder in (old, new):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(file):
                shutil.copy2(file, folder / file, follow_symlinks=False)
    (new / PATCH).unlink()
    excluded = [f"--exclude=*{name}" for name in excepted]
    command = ["git", "apply", "-C0", "--whitespace=nowarn", *excluded, str(ROOT / PATCH)]
    done = subprocess.run(command, cwd=new, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    inside = [line for file in files for line in owned_inside(file, hunks(text, file))]
    if done.returncode or inside:
        windows = [each for each in [*files, str(PATCH)] if b"\r\n" in read(old / each)]
        if windows:
            refuse("These files have the line ends of Windows, CRLF instead of LF:", *windows)
        refuse(*filter(None, [done.stderr.strip(), *inside]), what_to_do=BY_HAND)
    for file in files:
        if (new / file).exists():
            shutil.copymode(old / file, new / file)
    return files


def hunks(text: str, file: str) -> list[list[str]]:
    """Return the lines of each hunk of a file that stays; a line of nothing is a line of context."""
    _, _, part = text.partition(f"--- a/{file}\n+++ b/{file}\n")
    part = re.split(r"^--- a/", part, maxsplit=1, flags=re.MULTILINE)[0]
    return [each.split("\n")[:-1] for each in re.split(r"^@@.*\n", part, flags=re.MULTILINE)[1:]]


def owned_inside(file: str, found: list[list[str]]) -> Iterator[str]:
    """Find the owner's lines below what goes that are a part of it, and would fall to what is above.

    They are deeper than what goes, or under a heading that goes. git does not look at them.
    """
    lines = read(Path(file)).decode(errors="replace").split("\n")
    for hunk in found:
        old = [line for line in hunk if line[:1] != "+"]
        numbers = [n for n, line in enumerate(old) if line[:1] == "-"]
        first, last = numbers[0], numbers[-1]
        whole = [line[1:] for line in old[first : last + 1]]
        places = [n for n in range(len(lines)) if lines[n : n + len(whole)] == whole]
        for again in places[1:]:
            yield f"{file}:{again + 1}: what goes with the example stands here once more"
        start = max(n for n in range(-1, last) if n < first or old[n][:1] != "-") + 1
        goes = [line[1:] for line in old[start : last + 1] if line[1:].strip()]
        for place in places[:1]:
            end = place + len(whole)
            for number in parts(Path(file).suffix, goes, lines[end:], old[last + 1 :]):
                text = lines[end + number].strip()
                yield f"{file}:{end + number + 1}: the block that this is in goes: {text}"


def parts(suffix: str, goes: list[str], below: list[str], patch: list[str]) -> Iterator[int]:
    """Find which lines directly below some that go are a part of them."""
    head = {".md": "#", ".toml": "["}.get(suffix)
    headed = head and any(line.startswith(head) for line in goes)
    for number, line in enumerate(below):
        if not line.strip():
            continue
        ours = f" {line}" in patch or (head and line.startswith(head))
        if depth(line) > min(map(depth, goes), default=0) or (headed and not ours):
            yield number
        if head == "#" or not line.lstrip().startswith("#"):  # which is a comment, but for Markdown
            break


def depth(line: str) -> int:
    """Return how far a line is indented."""
    return len(line) - len(line.lstrip())


def read(file: Path) -> bytes:
    """Return what a file holds; nothing if there is none."""
    return file.read_bytes() if file.is_file() else b""


def refuse_what_would_break(files: list[str], found: list[str]) -> None:
    """Refuse if a file cannot be written, or if something would not work without the example."""
    folders = sorted({str(Path(file).parent) for file in files})
    locked = [each for each in [*folders, *files, str(PATCH)] if not os.access(each, os.W_OK)]
    if locked:
        refuse("These cannot be written:", *locked)
    if found:
        todo = "Nothing was changed. Mend or move these first, and run this again."
        refuse("These need what goes with the example:", *found, what_to_do=todo)


def left_over() -> Iterator[str]:
    """Find the owner's files in the folder that goes."""
    files = (each for each in FOLDER.rglob("*") if each.is_file() and each.suffix != ".pyc")
    ours = set(re.findall(r"^--- a/(.*)$", PATCH.read_text("utf-8"), re.MULTILINE))
    for file in sorted(files):
        if str(file) not in ours:
            yield f"{file}: its folder, {FOLDER}, goes"


def needing(old: Path, new: Path) -> Iterator[str]:
    """Find what would not work: names that are not defined, and what is not there to be imported."""
    before = undefined(old)
    for (file, message), row in sorted(undefined(new).items()):
        if (file, message) not in before:
            yield f"{file}:{row}: {message}, of which the import goes: add one on a line of its own"
    gone = {str(each.relative_to(old)) for each in old.rglob("*.py")}
    modules = {dotted(file) for file in gone if not (new / file).exists()}
    modules |= packages(old / "pyproject.toml") - packages(new / "pyproject.toml")
    changed = [file for file in gone if (new / file).exists()]
    trees = {file: (parsed(old / file), parsed(new / file)) for file in changed}
    names = {
        f"{dotted(file)}.{name}" for file, (a, b) in trees.items() for name in bound(a) - bound(b)
    }
    fields = {name for a, b in trees.values() for name in attributes(a) - attributes(b)}
    fixtures = {name.rpartition(".")[2] for name in names if name.startswith("tests.conftest.")}
    mine = {file: parsed(new / file if file in gone else Path(file)) for file in kept(gone, new)}
    for tree in mine.values():
        fields -= attributes(tree)
    for file, tree in sorted(mine.items()):
        wanted = fixtures - bound(tree) if file.startswith("tests/") else set()
        found = {*uses(tree, file, modules | names, fields), *asked(tree, wanted)}
        for row, name in sorted(found):
            yield f"{file}:{row}: {name}"


def undefined(folder: Path) -> dict[tuple[str, str], int]:
    """Return which files use names that they do not define, or are not Python, and the lines."""
    command = ["check", "--isolated", "--no-cache", "--no-respect-gitignore", "--exit-zero"]
    command += ["--select=F821", "--output-format=json", "."]
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-m", "ruff", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        refuse("ruff, which looks at what would be left, fails:", done.stderr.strip())
    return {
        (os.path.relpath(each["filename"], folder), each["message"]): each["location"]["row"]
        for each in json.loads(done.stdout)
    }


def kept(gone: set[str], new: Path) -> Iterator[str]:
    """Find the files of Python that there are afterwards, without those of environments."""
    for folder, folders, files in os.walk("."):
        paths = [Path(folder, each) for each in folders if not each.startswith(".")]
        folders[:] = [
            each.name for each in paths if each != CACHE and not (each / "pyvenv.cfg").exists()
        ]
        for file in (os.path.relpath(os.path.join(folder, each)) for each in files):  # noqa: PTH118
            if file.endswith(".py") and (file not in gone or (new / file).exists()):
                yield file


def parsed(file: Path) -> ast.Module:
    """Return a file's tree; an empty one if it is not Python, which it was not before either."""
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def dotted(file: str) -> str:
    """Return the name of the module in a file."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def packages(file: Path) -> set[str]:
    """Return the names under which the dependencies of a pyproject.toml are imported."""
    found = tomllib.loads(read(file).decode()).get("project", {}).get("dependencies", [])
    return {re.split(r"[^\w-]", each)[0].replace("-", "_") for each in found}


def bound(tree: ast.Module) -> set[str]:
    """Return the names that a module defines or imports."""
    return {name for node in tree.body for name in defined(node)}


def defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines or imports."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Import() | ast.ImportFrom():
            return [each.asname or each.name.partition(".")[0] for each in node.names]
        case ast.Assign() | ast.AnnAssign():
            names = [each for each in ast.walk(node) if isinstance(each, ast.Name)]
            return [each.id for each in names if isinstance(each.ctx, ast.Store)]
    return []


def attributes(tree: ast.Module) -> set[str]:
    """Return the fields of classes, `.field`, and what is set elsewhere, `.object.attribute`."""
    nodes = list(ast.walk(tree))
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    fields = {f".{name}" for each in classes for node in each.body for name in defined(node)}
    named = [node for node in nodes if isinstance(node, ast.Attribute)]
    targets = [ast.unparse(each) for each in named if isinstance(each.ctx, ast.Store)]
    return fields | {"." + ".".join(each.split(".")[-2:]) for each in targets}


def uses(
    tree: ast.Module, file: str, imported: set[str], fields: set[str]
) -> Iterator[tuple[int, str]]:
    """Find the imports and the attributes in a file that are of the example."""
    last = {field.rpartition(".")[2] for field in fields}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in imports(node, file):
                if name in imported or name.partition(".")[0] in imported:
                    yield node.lineno, f"imports {name}"
        elif isinstance(node, ast.Attribute) and node.attr in last:
            text = ast.unparse(node)
            if any(text.endswith(field) for field in fields):
                yield node.lineno, f"uses {text}"


def asked(tree: ast.Module, fixtures: set[str]) -> Iterator[tuple[int, str]]:
    """Find the fixtures that the tests in a file ask for."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if asks_for_fixtures(node):
                names = [(each.lineno, each.arg) for each in node.args.args + node.args.kwonlyargs]
            case ast.Call(func=ast.Attribute(attr="usefixtures"), args=args):
                literal = [each for each in args if isinstance(each, ast.Constant)]
                names = [(each.lineno, str(each.value)) for each in literal]
            case _:
                continue
        yield from ((row, f"uses the fixture {name}") for row, name in names if name in fixtures)


def asks_for_fixtures(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether pytest gives a function its parameters."""
    decorators = " ".join(map(ast.unparse, node.decorator_list))
    return node.name.startswith("test") or "fixture" in decorators


def imports(node: ast.Import | ast.ImportFrom, file: str) -> Iterator[str]:
    """Return all that a statement may import, with absolute names."""
    base = ""
    if isinstance(node, ast.ImportFrom):
        above = list(Path(file).parts[: -node.level]) if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        yield base
    yield from (f"{base}.{each.name}".strip(".") for each in node.names)


def swap(files: list[str], old: Path, new: Path) -> None:
    """Put each file without the example in place of the old one; after a failure, all are as before."""
    try:
        for file in files:
            if (new / file).exists():
                (new / file).replace(file)
            else:
                Path(file).unlink()
    except BaseException as error:
        put_back(files, old, error)
        if not isinstance(error, OSError):
            raise
        refuse(str(error), what_to_do="Each file that was changed before is as it was again.")


def put_back(files: list[str], old: Path, error: BaseException) -> None:
    """Make the files what they were; if not even that can be done, leave copies of them beside."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    try:
        for file in files:
            if not (Path(file).exists() and filecmp.cmp(old / file, file, shallow=False)):
                (old / file).replace(file)
    except OSError as again:
        originals = old.rename(ROOT / f"{old.parent.name.lstrip('.')}-originals")
        refuse(str(error), str(again), what_to_do=f"Files as they were before are in {originals}")


def remove_empty_folders(files: list[str]) -> None:
    """Remove the folders in which nothing is left but what Python has compiled."""
    for folder in sorted(
        {parent for file in files for parent in Path(file).parents[:-1]}, reverse=True
    ):
        if folder.is_dir() and not {each.name for each in folder.iterdir()} - {"__pycache__"}:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
# % else
# Not chosen.
# % endif
