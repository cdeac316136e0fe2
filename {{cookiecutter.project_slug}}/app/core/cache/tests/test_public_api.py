"""The public API is that of the contract; what is added changes no call that the contract allows."""

import importlib
import inspect
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Final, Protocol, Union, get_args, get_origin, get_type_hints

import pytest

from .. import (
    CacheBackend,
    CacheFactory,
    CacheManager,
    CacheSettings,
    cache_response,
    invalidate_cache,
)
from .package import FOLDER, NAME, cache

Expire = int | timedelta | None


class BackendContract(Protocol):
    """What a backend must have."""

    async def get(self, key: str) -> Any | None: ...

    async def set(self, key: str, value: Any, expire: Expire = None) -> bool: ...

    async def delete(self, key: str) -> bool: ...

    async def exists(self, key: str) -> bool: ...

    async def clear(self) -> bool: ...

    async def close(self) -> None: ...


class ManagerContract(BackendContract, Protocol):
    """What a manager has."""

    async def health_check(self) -> bool: ...


class FactoryContract(Protocol):
    """What the factory has, on the class."""

    @classmethod
    def create_cache_manager(cls) -> CacheManager: ...

    @classmethod
    def get_cache_manager(cls) -> CacheManager: ...

    @classmethod
    async def close_cache_manager(cls) -> None: ...

    @classmethod
    async def health_check_cache(cls) -> bool: ...

    @classmethod
    def get_cache_key_prefix(cls) -> str: ...

    @classmethod
    def get_default_ttl(cls) -> int: ...


class ModuleContract(Protocol):
    """What the module has."""

    @staticmethod
    def get_cache_manager() -> CacheManager: ...

    @staticmethod
    def cache_response(
        cache_manager: CacheManager, key_prefix: str, expire: Expire = None
    ) -> Any: ...

    @staticmethod
    def invalidate_cache(cache_manager: CacheManager, keys: str | list[str]) -> Any: ...


CONTRACT: Final = (
    (ManagerContract, CacheManager),
    (BackendContract, CacheBackend),
    (FactoryContract, CacheFactory),
    (ModuleContract, cache),
)
METHODS: Final = [
    pytest.param(getattr(contract, name), getattr(ours, name, None), id=f"{ours.__name__}.{name}")
    for contract, ours in CONTRACT
    for name in dir(contract)
    if not name.startswith("_")
]
ENVIRONMENT: Final[dict[str, object]] = {
    "CACHE_BACKEND": "redis",
    "REDIS_HOST": "redis",
    "REDIS_PORT": 6380,
    "REDIS_DB": 1,
    "REDIS_PASSWORD": "your_password",
    "REDIS_MAX_CONNECTIONS": 11,
    "REDIS_TIMEOUT": 6.0,
    "CACHE_DEFAULT_TTL": 301,
    "CACHE_KEY_PREFIX": "shop",
}


@pytest.mark.parametrize(("contract", "ours"), METHODS)
def test_a_call_of_the_contract_is_one_of_ours(
    contract: Callable[..., Any], ours: Callable[..., Any]
) -> None:
    """The same parameters in the same order, of types as wide; what comes behind has a default."""
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(contract)
    wanted = [*inspect.signature(contract).parameters.values()]
    given = [*inspect.signature(ours).parameters.values()]
    hints, our_hints = hints_of(contract), hints_of(ours)
    for want, have in zip(wanted, given, strict=False):
        assert (have.name, have.kind) == (want.name, want.kind)
        assert want.default in (want.empty, have.default)
        if want.name != "self":
            assert members(hints[want.name]) <= members(our_hints[want.name]) | {Any}
    assert len(given) >= len(wanted)
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for have in given[len(wanted) :]:
        assert have.default is not have.empty or have.kind in optional
    returned = members(our_hints["return"])
    assert Any in members(hints["return"]) | returned or returned <= members(hints["return"])


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function; some names are there for type checkers only."""
    names = {"CacheManager": CacheManager, "CacheSettings": CacheSettings}
    return get_type_hints(function, localns=names)


def members(annotation: Any) -> set[Any]:
    """Return the types that a value may have."""
    union = get_origin(annotation) in (Union, UnionType)
    return {*get_args(annotation)} if union else {annotation}


def test_a_backend_must_have_six_methods_and_no_more() -> None:
    """Who has written one for the contract has written all of it."""
    six = {name for name in dir(BackendContract) if not name.startswith("_")}
    assert CacheBackend.__abstractmethods__ == six


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("", ["get_cache_manager", "cache_response", "invalidate_cache", "CacheManager"]),
        (".base", ["CacheBackend"]),
        (".config", ["CacheFactory", "get_cache_manager"]),
        (".manager", ["CacheManager", "cache_response", "invalidate_cache"]),
        (".backends", ["RedisBackend"]),
        (".backends.redis", ["RedisBackend"]),
    ],
)
def test_names_are_where_the_contract_has_them(module: str, names: list[str]) -> None:
    """The files of its structure, and what each of them is for."""
    found = importlib.import_module(f"{NAME}{module}")
    assert all(hasattr(found, name) for name in names)
    assert (FOLDER / "README.md").exists()


def test_every_variable_of_the_contract_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By its name, from the environment."""
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, str(value))
    settings = CacheSettings.load()
    password = settings.redis_password
    assert password is not None
    read = {name: getattr(settings, name.lower()) for name in ENVIRONMENT}
    assert read | {"REDIS_PASSWORD": password.get_secret_value()} == ENVIRONMENT


@pytest.mark.parametrize("decorator", [cache_response, invalidate_cache])
def test_the_hover_text_lists_each_parameter(decorator: Callable[..., object]) -> None:
    """In the order of the signature, with a sentence about each."""
    text = inspect.getdoc(decorator) or ""
    listed = re.findall(r"^    (\w+): \S+ \S+", text.partition("Args:\n")[2], re.MULTILINE)
    assert listed == [*inspect.signature(decorator).parameters]
