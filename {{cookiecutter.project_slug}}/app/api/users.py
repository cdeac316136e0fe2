# % if cookiecutter.example_resource
"""Users: an example of cached reads, and of writes after which no read is stale.

A write commits, then invalidates, then responds, in this order. The endpoint commits, and
`invalidate_cache`, which is around it, does the rest.
"""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, status
from pydantic import BaseModel, ConfigDict, EmailStr, Field, StringConstraints
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.exc import StaleDataError

from app.core.cache import cache_response, get_cache_manager, invalidate_cache
from app.core.database import SessionDep
from app.models import User

router = APIRouter(prefix="/users", tags=["users"])
cache = get_cache_manager()
# By "no-cache" clients keep what they got, and ask each time: so they, too, see a write at once.
cached = cache_response(
    cache, "users", tags=["users"], ignore=("session",), cache_control="no-cache"
)

LARGEST_INTEGER = 2**31 - 1  # of a database
UserId = Annotated[int, Path(ge=1, le=LARGEST_INTEGER)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class UserIn(BaseModel):
    """What a client sends."""

    name: Name
    email: Annotated[EmailStr, Field(max_length=254)]


class UserOut(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    email: str


@router.get("")
@cached
async def list_users(
    session: SessionDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    offset: Annotated[int, Query(ge=0, le=LARGEST_INTEGER)] = 0,
) -> list[UserOut]:
    """List users in the order in which they were created."""
    users = await session.scalars(select(User).order_by(User.id).limit(limit).offset(offset))
    return [UserOut.model_validate(user) for user in users]


@router.get("/{user_id}")
@cached
async def read_user(user_id: UserId, session: SessionDep) -> UserOut:
    """Return one user. A 404 is not cached: it is an exception, not a result."""
    return UserOut.model_validate(await find(user_id, session))


@router.post("", status_code=status.HTTP_201_CREATED)
@invalidate_cache(cache, tags=["users"])
async def create_user(data: UserIn, session: SessionDep) -> UserOut:
    """Create a user."""
    user = User(name=data.name, email=data.email)
    session.add(user)
    await commit(session)
    return UserOut.model_validate(user)


@router.put("/{user_id}")
@invalidate_cache(cache, tags=["users"])
async def update_user(user_id: UserId, data: UserIn, session: SessionDep) -> UserOut:
    """Replace a user's data."""
    user = await find(user_id, session)
    user.name, user.email = data.name, data.email
    await commit(session)
    return UserOut.model_validate(user)


@router.delete("/{user_id}", status_code=status.HTTP_204_NO_CONTENT)
@invalidate_cache(cache, tags=["users"])
async def delete_user(user_id: UserId, session: SessionDep) -> None:
    """Delete a user."""
    await session.delete(await find(user_id, session))
    await commit(session)


async def find(user_id: int, session: AsyncSession) -> User:
    """Return the user or answer 404."""
    user = await session.get(User, user_id)
    if user is None:
        raise no_such_user()
    return user


def no_such_user() -> HTTPException:
    """Make the answer for a user who is not there, or not any more."""
    return HTTPException(status.HTTP_404_NOT_FOUND, "There is no such user.")


async def commit(session: AsyncSession) -> None:
    """Commit, or answer 409 if the e-mail address is another user's, 404 if this one is gone."""
    try:
        await session.commit()
    except IntegrityError as error:
        raise HTTPException(
            status.HTTP_409_CONFLICT, "Another user has this e-mail address."
        ) from error
    except StaleDataError as error:  # deleted by another request since it was read
        raise no_such_user() from error
# % else
# Not chosen.
# % endif
