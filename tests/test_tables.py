"""The tables of a service, changed by its owner as its README says: its own tests still pass."""

import re
from typing import Final

from tests.baked import Bake

MODELS: Final = "app/models.py"
EMAIL: Final = "    email: Mapped"
COLUMN: Final = f"    phone: Mapped[str | None]\n{EMAIL}"
MORE: Final = f"""    team_id: Mapped[int | None] = mapped_column(ForeignKey("teams.id"))
    nickname: Mapped[str | None] = mapped_column(String(50), unique=True)
    points: Mapped[int] = mapped_column(server_default="0", index=True)
{EMAIL}"""
"""SQLite makes the table anew for these."""
TEAM: Final = '''

class Team(Base):
    """Several users."""

    __tablename__ = "teams"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True)
'''


def test_no_test_has_to_change_with_the_models(bake: Bake) -> None:
    """A column more, then a table and more: what the README says makes the migrations."""
    project = bake()
    section = project.read("README.md").partition("\n## Migrations\n")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block
    assert "revision --autogenerate" in block[1]
    project.run("make", "migrate")
    models = project.read(MODELS)
    assert models.count(EMAIL) == 1
    column = models.replace(EMAIL, COLUMN)
    more = column.replace(EMAIL, MORE).replace("import String", "import ForeignKey, String") + TEAM
    for changed in (column, more):
        (project.path / MODELS).write_text(changed)
        project.run("sh", "-euc", block[1])
        project.run("uv", "run", "pytest", "-q", "tests/test_migrations.py", "tests/test_users.py")
