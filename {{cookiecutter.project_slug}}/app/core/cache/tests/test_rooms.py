"""The rooms of the cache: imports run one way between them, and through doors alone.

All is read from the imports themselves. What is imported for type checkers only counts for nothing.
"""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from .package import FOLDER, NAME

BACKENDS = "backends"
BESIDE = "beside the rooms"
TESTS = FOLDER / "tests"
FOR_USERS = ("ops", "testing")
"""Rooms that no other one imports: what they hand out is for applications and their tests."""
ROOMS = sorted(path.parent.name for path in FOLDER.glob("*/__init__.py") if path.parent != TESTS)


class Import(NamedTuple):
    """A name that a file imports from another one of the house; both are parts of a path."""

    importer: tuple[str, ...]
    source: tuple[str, ...]
    name: str


def parts_of(path: Path) -> tuple[str, ...]:
    """Return where a file is: `("keys", "builder")`; a room's door is `("keys",)`."""
    parts = path.relative_to(FOLDER).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def nodes(tree: ast.AST) -> Iterator[ast.ImportFrom]:
    """Yield the imports of a file, but those for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node
        yield from nodes(node)


def imports() -> Iterator[Import]:
    """Yield all imports of files of the house from others of it."""
    for path in FOLDER.rglob("*.py"):
        if TESTS in path.parents:
            continue
        importer = parts_of(path)
        package = importer if path.name == "__init__.py" else importer[:-1]
        for node in nodes(ast.parse(path.read_text())):
            base = package[: len(package) - node.level + 1]
            source = (*base, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                inner = FOLDER.joinpath(*source, alias.name)
                is_file = inner.with_suffix(".py").exists() or inner.is_dir()
                is_inside = is_file and source == package
                yield Import(importer, (*source, alias.name) if is_inside else source, alias.name)


IMPORTS = list(imports())


def room_of(parts: tuple[str, ...]) -> str:
    """Return the room in which a file is; a file beside the rooms is one by itself."""
    return parts[0] if parts else "the front door"


def order(edges: set[tuple[str, str]]) -> list[str]:
    """Return what imports in an order in which everything comes after what it imports."""
    sorter = TopologicalSorter[str]()
    for importer, source in edges:
        sorter.add(importer, source)
    try:
        return list(sorter.static_order())
    except CycleError as error:
        pytest.fail(f"there is a circle: {' -> '.join(error.args[1])}")


def rows(page: str) -> dict[str, str]:
    """Return the rows of the map of rooms on a page: what stands in the second column, by room."""
    table = (FOLDER / page).read_text().partition("| room |")[2].partition("\n\n")[0]
    lines = [line.strip("|").split("|", 1) for line in table.splitlines() if line.startswith("| ")]
    assert len(lines) == len({room for room, _ in lines})
    return {room.strip().strip("`").removesuffix("/"): what for room, what in lines}


def test_the_rooms_are_those_of_the_readme() -> None:
    """Each has a row in the map, and there is no other."""
    assert sorted(rows("README.md")) == ROOMS


@pytest.mark.parametrize("room", [*ROOMS, BESIDE])
def test_every_file_has_its_place_in_the_architecture(room: str) -> None:
    """Each is named once, in the row of its room, and no other file is."""
    folder = FOLDER if room == BESIDE else FOLDER / room
    files = folder.glob("*.py") if room == BESIDE else folder.rglob("*.py")
    names = [str(file.relative_to(folder).with_suffix("")) for file in files]
    named = re.findall(r"`([\w/]+)`", rows("ARCHITECTURE.md")[room])
    assert sorted(named) == sorted(name for name in names if not name.endswith("__init__"))


def test_the_architecture_has_the_rooms_of_the_readme() -> None:
    """And a row for the files beside them."""
    assert sorted(rows("ARCHITECTURE.md")) == sorted([*ROOMS, BESIDE])


def test_the_architecture_names_files_that_are_there() -> None:
    """In the journeys of a hit, a miss and an invalidation, too."""
    named = re.findall(r"`([\w/]+\.py|\w+/)`", (FOLDER / "ARCHITECTURE.md").read_text())
    assert [name for name in named if not (FOLDER / name).exists()] == []


def test_imports_between_rooms_run_one_way() -> None:
    """No room imports what imports it, be it by way of others."""
    edges = {(room_of(each.importer), room_of(each.source)) for each in IMPORTS}
    assert len(order({(first, then) for first, then in edges if first != then})) > len(ROOMS)


def test_there_is_no_circle_of_files() -> None:
    """Nor in a room."""
    edges = {("/".join(each.importer), "/".join(each.source)) for each in IMPORTS}
    assert len(order({(first, then) for first, then in edges if first != then})) > 50


@pytest.mark.parametrize("room", [room for room in ROOMS if room != BACKENDS])
def test_a_room_has_one_door(room: str) -> None:
    """Who is outside imports from the room itself, and what the door hands out."""
    outside = [
        each for each in IMPORTS if room_of(each.source) == room and room_of(each.importer) != room
    ]
    assert [each for each in outside if each.source != (room,)] == []
    door = __import__(f"{NAME}.{room}", fromlist=["__all__"])
    assert {each.name for each in outside} == (set() if room in FOR_USERS else set(door.__all__))


@pytest.mark.parametrize("room", [room for room in ROOMS if room != BACKENDS])
def test_nobody_inside_goes_by_the_door(room: str) -> None:
    """A file of a room imports from the files beside it."""
    inside = [each for each in IMPORTS if each.importer[:1] == (room,) and len(each.importer) > 1]
    assert [each for each in inside if each.source == (room,)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_door_says_what_the_room_is_for(room: str) -> None:
    """In a few lines, and what it never does."""
    says = ast.get_docstring(ast.parse((FOLDER / room / "__init__.py").read_text()))
    assert says is not None
    assert len(says.splitlines()) <= 4
