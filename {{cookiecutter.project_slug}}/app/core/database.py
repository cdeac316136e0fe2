"""The database: its engine, its tables and a session for each request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import CreateTable


class Base(DeclarativeBase):
    """Every table's model derives from this."""


class Database:
    """The database of one application, at `url`. Nothing is opened before `open`."""

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(url, pool_pre_ping=True)
        # What was committed stays readable, so that nothing has to be asked of the database
        # between a commit and the invalidation that follows it.
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Make the tables that the database lacks, and close it at the end.

        Tables are made, never altered. Take a migration tool when the first of them has to change.
        """
        try:
            async with self._engine.begin() as connection:
                # IF NOT EXISTS, not `create_all`: several workers start at the same moment.
                for table in Base.metadata.sorted_tables:
                    await connection.execute(CreateTable(table, if_not_exists=True))
            yield
        finally:
            await self._engine.dispose()

    async def session(self) -> AsyncIterator[AsyncSession]:
        """Lend a session for one request. It connects on first use and commits only when told to.

        A commit here, after the `yield`, would come after the invalidation in the endpoint: a
        reader in between would cache the old row.
        """
        async with self._sessions() as session:
            yield session


async def get_session() -> AsyncIterator[AsyncSession]:
    """Stand for the `session` of the application's own database, which `create_app` puts here.

    It does not take the request: what an endpoint reads of that would have to be in its key.
    """
    raise RuntimeError("No database: set app.dependency_overrides[get_session], as create_app does")
    yield  # which makes it the kind of function that its replacement is


# The function's scope: the connection goes back to the pool before the response is sent.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
