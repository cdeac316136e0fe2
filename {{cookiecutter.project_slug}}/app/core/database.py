"""The database: its engine, its tables and a session for each request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import CreateTable

Sessions = async_sessionmaker[AsyncSession]


class Base(DeclarativeBase):
    """Every table's model derives from this."""


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Sessions]:
    """Open the database at `url`, make the tables it lacks, and close it at the end.

    Tables are made, never altered. Take a migration tool when the first of them has to change.
    """
    engine = create_async_engine(url, pool_pre_ping=True)
    try:
        async with engine.begin() as connection:
            # IF NOT EXISTS, not `create_all`: several workers start at the same moment.
            for table in Base.metadata.sorted_tables:
                await connection.execute(CreateTable(table, if_not_exists=True))
        # What was committed stays readable, so that nothing has to be asked of the database
        # between a commit and the invalidation that follows it.
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()


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
