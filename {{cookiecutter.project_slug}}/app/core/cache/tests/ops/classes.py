"""Classes of arguments and results that are audited."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Generic, NamedTuple, NewType, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, EmailStr, SecretStr
from typing_extensions import TypedDict

T = TypeVar("T")


class Client:
    """Something without an identity."""


class State:
    """What an ORM keeps with each row: the session, and what was loaded."""


class Row:
    """A row as an ORM makes it."""

    id: int

    def __init__(self, number: int = 0) -> None:
        self.id, self._state = number, State()


@dataclass
class DataRow:
    """A row of an ORM that is a dataclass."""

    id: int = 0
    state: State = field(default_factory=State, repr=False, compare=False)


class Keyed:
    """Something that says what it is."""

    def __cache_key__(self) -> str:
        return "keyed"


class Model(BaseModel):
    name: str = ""


class Holding(BaseModel):
    """A model with a client in it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    client: Client


class Secret(BaseModel):
    word: SecretStr


class Mail(BaseModel):
    to: EmailStr
    at: datetime | None = None


@dataclass
class Point:
    x: int = 0


@dataclass
class Pair(Generic[T]):
    one: T
    two: T


@dataclass
class Tree:
    """A class that holds others of its kind."""

    children: list["Tree"]


class Colour(Enum):
    RED = 1


class Named(NamedTuple):
    row: Row


class Typed(TypedDict):
    client: Client


class Plain(TypedDict):
    name: str


class Abstract(ABC):
    @abstractmethod
    def it(self) -> int: ...


class Like(Protocol):
    name: str


class Text(str):
    """A text of its own."""


UserId = NewType("UserId", int)
