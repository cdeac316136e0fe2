# % if cookiecutter.example_resource
"""`migrations`: what they make is what the models say, from nothing and from older databases.

Nothing here has to change with the models. What is about the first migration stops at it.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.runtime.migration import HeadMaintainer
from alembic.util import CommandError
from fastapi.testclient import TestClient

from app.core.config import Settings
from app.core.database import Base
from app.main import create_app
from tests.conftest import MIGRATIONS

# As services made it that had no migrations yet.
OLDER = """
CREATE TABLE IF NOT EXISTS users (
    id INTEGER NOT NULL,
    name VARCHAR(200) NOT NULL,
    email VARCHAR(254) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (email)
)
"""


def rows(database: Path, statement: str) -> list[tuple[object, ...]]:
    """Run a statement on the database, commit, and return what it found."""
    with closing(sqlite3.connect(database)) as connection, connection:
        return connection.execute(statement).fetchall()


def tables(database: Path) -> set[object]:
    """Return the names of the tables, without that of Alembic and those of SQLite itself."""
    asked = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
    found = rows(database, asked)
    return {name for (name,) in found} - {"alembic_version"}


@pytest.fixture
def nothing(settings: Settings, database: Path) -> Path:
    """Return where the database is to be, which does not exist."""
    database.unlink()
    return database


@pytest.mark.usefixtures("settings")
def test_models_and_migrations_agree() -> None:
    """A database with all migrations has what the models say, and needs no other one."""
    command.check(MIGRATIONS)


def test_migrations_go_from_nothing_to_all_and_back(nothing: Path) -> None:
    """Each upgrade can be taken back, and done again."""
    command.upgrade(MIGRATIONS, "head")
    made = tables(nothing)
    command.downgrade(MIGRATIONS, "base")
    assert tables(nothing) == set()
    command.upgrade(MIGRATIONS, "head")
    assert tables(nothing) == made
    command.check(MIGRATIONS)


def test_a_database_without_migrations_is_taken_over(nothing: Path) -> None:
    """What an older service has stored is kept, and is like any other from then on."""
    rows(nothing, OLDER)
    rows(nothing, "INSERT INTO users (name, email) VALUES ('Ada', 'ada@example.com')")
    command.upgrade(MIGRATIONS, "0001")
    assert rows(nothing, "SELECT * FROM users") == [(1, "Ada", "ada@example.com")]
    command.upgrade(MIGRATIONS, "head")
    command.check(MIGRATIONS)


@pytest.mark.parametrize(
    ("old", "new", "more", "named"),
    [
        ("id INTEGER NOT NULL", "id INTEGER PRIMARY KEY AUTOINCREMENT", "", "AUTOINCREMENT"),
        ("email VARCHAR(254)", "email VARCHAR(254) COLLATE NOCASE", "", "COLLATE NOCASE"),
        ("UNIQUE (email)", "UNIQUE (email), CHECK (name <> '')", "", "CHECK (name <> '')"),
        ("UNIQUE (email)", "UNIQUE (email), UNIQUE (name)", "", "UNIQUE (name)"),
        ("id INTEGER", "age INTEGER, id INTEGER", "", "age INTEGER"),
        ("email VARCHAR(254)", "email VARCHAR(254) DEFAULT 'E'", "", "DEFAULT 'E'"),
        ("", "", "CREATE INDEX mine ON users (lower(name))", "the index mine"),
        ("", "", "CREATE INDEX mine ON Users (name)", "the index mine"),
        (
            "",
            "",
            "CREATE TRIGGER mine AFTER DELETE ON users BEGIN SELECT 1; END",
            "the trigger mine",
        ),
    ],
)
def test_a_table_that_somebody_has_changed_is_left(
    nothing: Path, old: str, new: str, more: str, named: str
) -> None:
    """What was added to it would be lost when it is made anew, so it is named, and stays."""
    table = OLDER.replace(old, new)
    if "AUTOINCREMENT" in new:
        table = table.replace("PRIMARY KEY (id),", "")
    rows(nothing, table)
    rows(nothing, "INSERT INTO users (id, name, email) VALUES (1, 'Ada', 'ada@example.com')")
    rows(nothing, more)
    asked = "SELECT type, name, sql FROM sqlite_schema WHERE name <> 'alembic_version'"
    before = rows(nothing, asked)
    with pytest.raises(CommandError) as refused:
        command.upgrade(MIGRATIONS, "head")
    assert named in str(refused.value)
    assert "Nothing was changed" in str(refused.value)
    assert rows(nothing, asked) == before
    assert rows(nothing, "SELECT name FROM users") == [("Ada",)]


def test_a_table_with_named_constraints_is_taken_over(nothing: Path) -> None:
    """It has the form of the first migration already, although nothing says so."""
    command.upgrade(MIGRATIONS, "0001")
    rows(nothing, "DROP TABLE alembic_version")
    command.upgrade(MIGRATIONS, "head")
    command.check(MIGRATIONS)


def test_a_failed_migration_leaves_the_database_as_it_was(
    nothing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Migrations are one transaction, for which others wait: there is no half of one."""

    def refuse(*_: object) -> None:
        with (
            pytest.raises(sqlite3.OperationalError, match="locked"),
            closing(sqlite3.connect(nothing, timeout=0)) as other,
        ):
            other.execute("BEGIN IMMEDIATE")
        raise RuntimeError("stopped")

    monkeypatch.setattr(HeadMaintainer, "update_to_step", refuse)
    with pytest.raises(RuntimeError, match="stopped"):
        command.upgrade(MIGRATIONS, "head")
    assert tables(nothing) == set()


def test_the_statements_can_be_read_before(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """`alembic upgrade 0001 --sql` prints them and asks no database.

    A later migration may have to: SQLite alters most of a table by making it anew.
    """
    command.upgrade(MIGRATIONS, "0001", sql=True)
    assert "CREATE TABLE IF NOT EXISTS users" in capsys.readouterr().out


def test_a_service_without_its_tables_says_what_to_do(nothing: Path, settings: Settings) -> None:
    """It does not start, and names what is missing and the command that makes it."""
    app = create_app(settings)
    missing = re.escape(str([*Base.metadata.tables]))
    with pytest.raises(RuntimeError, match=rf"lacks the tables {missing}.*make migrate"):
        TestClient(app).__enter__()
# % else
# Not chosen.
# % endif
