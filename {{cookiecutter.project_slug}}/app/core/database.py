# % if cookiecutter.example_resource
"""The database: its engine and a session for each request. Its tables are made by `migrations`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

from fastapi import Depends, Request
from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

Sessions = async_sessionmaker[AsyncSession]


NAMES: Final = {
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "pk": "%(table_name)s_pkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
}
"""What constraints are called, so that a migration can drop them: as PostgreSQL itself calls them."""


class Base(DeclarativeBase):
    """Every table's model derives from this."""

    metadata = MetaData(naming_convention=NAMES)


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Sessions]:
    """Open the database at `url`, and close it at the end. `RuntimeError` if it lacks a table.

    Tables are made by `make migrate`, not here: several workers start at the same moment.
    """
    engine = create_async_engine(url, pool_pre_ping=True)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_find_tables)
        # What was committed stays readable, so that nothing has to be asked of the database
        # between a commit and the invalidation that follows it.
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()


def _find_tables(connection: Connection) -> None:
    found = inspect(connection)
    missing = [
        key
        for key, table in Base.metadata.tables.items()
        if not found.has_table(table.name, table.schema)
    ]
    if missing:
        raise RuntimeError(
            f"The database lacks the tables {missing}. "
            "They are made by: make migrate (or: alembic upgrade head)"
        )


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """Lend a session for one request. It connects on first use and commits only when told to.

    Of the request it reads `request.app` alone: what else it read would have to be in the key of a
    cached endpoint.

    A commit here, after the `yield`, would come after the invalidation in the endpoint: a reader
    in between would cache the old row.
    """
    sessions: Sessions = request.app.state.sessions
    async with sessions() as session:
        yield session


# The function's scope: the connection goes back to the pool before the response is sent.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
# % else
# Not chosen.
# % endif
