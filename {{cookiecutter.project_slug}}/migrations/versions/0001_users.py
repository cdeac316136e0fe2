# % if cookiecutter.example_resource
"""Make the table of the users."""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

COLUMNS = "id INTEGER NOT NULL, name VARCHAR(200) NOT NULL, email VARCHAR(254) NOT NULL"
OLDER = f"CREATE TABLE users ({COLUMNS}, PRIMARY KEY (id), UNIQUE (email))"
NAMED = (
    f"CREATE TABLE users ({COLUMNS}, CONSTRAINT users_pkey PRIMARY KEY (id),"
    " CONSTRAINT users_email_key UNIQUE (email))"
)


def upgrade() -> None:
    """Make the table, or take over the one that a service without migrations has made."""
    context = op.get_context()
    older = context.dialect.name == "sqlite" and not context.as_sql and is_older()
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
        sa.UniqueConstraint("email", name=op.f("users_email_key")),
        if_not_exists=True,
    )
    if older:
        # Its constraint has no name there. It gets one: a later migration may drop it.
        names = {"uq": "%(table_name)s_%(column_0_name)s_key"}
        with op.batch_alter_table("users", recreate="always", naming_convention=names):
            pass


def is_older() -> bool:
    """Return whether SQLite has the table of an older service; refuse one that is of neither form.

    SQLite can only make such a table anew, and what somebody has added to it would be lost.
    """
    asked = (
        "SELECT type, name, sql FROM sqlite_schema WHERE lower(tbl_name) = 'users' AND sql <> ''"
    )
    found = op.get_bind().execute(sa.text(asked)).all()
    if not found or [plain(sql) for _, _, sql in found] == [plain(NAMED)]:
        return False
    if [plain(sql) for _, _, sql in found] == [plain(OLDER)]:
        return True
    more = [f"the {kind} {name}" for kind, name, _ in found if name.lower() != "users"]
    made = [" ".join(sql.split()) for _, name, sql in found if name.lower() == "users"]
    raise CommandError(
        f"The table users is not as this service makes it. Nothing was changed. It should be "
        f"{OLDER}. It is {made[0]}{''.join(f', with {each}' for each in more)}. Take out what differs, "
        "migrate, and add it again; or leave all as it is and say that this is done: alembic stamp 0001"
    )


def plain(statement: str) -> str:
    """Return a statement without what makes no difference: spaces, quotes of names, and case."""
    return "".join(statement.replace('"', "").split()).lower()


def downgrade() -> None:
    """Drop the table and what it holds."""
    op.drop_table("users")
# % else
# Not chosen.
# % endif
