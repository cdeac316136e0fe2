# % if cookiecutter.example_resource
"""How Alembic reaches the database: by the settings of the service, so that there is one address."""

import asyncio
import logging
from typing import Final

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

import app.models  # noqa: F401 - its tables are in the metadata of Base then
from app.core.config import Settings
from app.core.database import Base

LOCKS: Final = {
    "postgresql": "SELECT pg_advisory_xact_lock(7346528)",
    "sqlite": "BEGIN IMMEDIATE",
}
"""What makes two that migrate at the same moment do it one after the other. Other databases lack it."""


def migrate(connection: Connection) -> None:
    """Run what Alembic was told to, in one transaction where the database can do that."""
    if lock := LOCKS.get(connection.dialect.name):
        connection.exec_driver_sql(lock)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters a table by making it anew
    )
    with context.begin_transaction():
        context.run_migrations()


async def online(url: str) -> None:
    """Migrate the database at `url`."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


def offline(url: str) -> None:
    """Print the statements for the database at `url`, which is not asked: `upgrade head --sql`."""
    context.configure(url=url, target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.config.cmd_opts:  # on the command line, where nobody else shows what Alembic does
    logging.basicConfig(format="%(message)s")
    told = logging.getLogger("alembic.runtime.migration")
    told.setLevel(logging.INFO)
    told.addFilter(lambda record: record.msg.startswith("Running"))

address = Settings().database_url.get_secret_value()
if context.is_offline_mode():
    offline(address)
else:
    asyncio.run(online(address))
# % else
# Not chosen.
# % endif
