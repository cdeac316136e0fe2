"""Packages that are too old: told when a manager is made, with the version found and wanted."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from .. import (
    CacheConfigError,
    CacheFactory,
    CacheSettings,
    MemoryBackend,
    RedisBackend,
    floors,
)
from ..backends.wire.connections import Connector
from .package import FOLDER, cache

OF_REDIS = ["redis", "hiredis"]
OF_ALL = [
    ("fastapi", "0.100.0", "0.100.1"),
    ("pydantic", "2.6.4", "2.7"),
    ("pydantic_settings", "2.1.0", "2.2"),
]


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Have the versions looked at anew."""
    for check in (floors.insist_on_redis_py, floors.insist_on_the_rest):
        check.cache_clear()
    yield
    for check in (floors.insist_on_redis_py, floors.insist_on_the_rest):
        check.cache_clear()


def set_version(patch: pytest.MonkeyPatch, package: str, version: str) -> ModuleType:
    """Let an installed package say that it has another version."""
    module = import_module(package)
    patch.setattr(module, "__version__", version)
    return module


@pytest.mark.parametrize("package", OF_REDIS)
@pytest.mark.parametrize("version", ["0.1", "3.1.0", "2", "1.99.99"])
def test_a_client_that_is_too_old_is_told(
    package: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the factory, by the name that is imported, and by a backend that is made by hand."""
    set_version(monkeypatch, package, version)
    settings = CacheSettings(cache_backend="redis")
    wanted = rf"package {package} \d.\d or newer, and {version} is installed: pip install"
    with pytest.raises(CacheConfigError, match=wanted):
        CacheFactory.create_cache_manager(settings)
    with pytest.raises(CacheConfigError, match=wanted):
        RedisBackend()
    with pytest.raises(CacheConfigError, match=wanted):
        Connector(timeout=1)


@pytest.mark.parametrize("version", ["5.3.1", "6.4.0", "7.2.2", "7.4.1", "7.99"])
def test_redis_py_below_8_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections take other options: each would fail, and look like an outage."""
    set_version(monkeypatch, "redis", version)
    with pytest.raises(CacheConfigError, match=f"redis 8.0 or newer, and {version}"):
        CacheFactory.create_cache_manager(CacheSettings(cache_backend="redis"))


@pytest.mark.parametrize("version", ["8.0.0", "8.0", "8.1.0b1", "10.0", "99.99.99"])
def test_a_newer_one_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are compared, not texts; of an early version, its numbers count."""
    set_version(monkeypatch, "redis", version)
    manager = CacheFactory.create_cache_manager(CacheSettings(cache_backend="redis"))
    assert isinstance(manager.backend, RedisBackend)


@pytest.mark.parametrize(("package", "old", "floor"), OF_ALL)
def test_what_both_backends_need_is_looked_at(
    package: str, old: str, floor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For memory, too."""
    set_version(monkeypatch, package, old)
    with pytest.raises(
        CacheConfigError, match=f"{package} {floor} or newer, and {old} is installed"
    ):
        CacheFactory.create_cache_manager(CacheSettings())
    set_version(monkeypatch, package, floor)
    manager = CacheFactory.create_cache_manager(CacheSettings())
    assert isinstance(manager.backend, MemoryBackend)


def test_a_folder_of_that_name_is_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be imported, and has no version."""
    monkeypatch.delattr(import_module("redis"), "__version__")
    with pytest.raises(CacheConfigError, match=r"redis 8.0 or newer, and it is not installed"):
        CacheFactory.create_cache_manager(CacheSettings(cache_backend="redis"))


def test_the_module_knows_its_own_version() -> None:
    """It is the text of version.txt, which a release writes."""
    text = (FOLDER / "version.txt").read_text()
    assert f"{cache.__version__}\n" == text


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_a_copy_without_a_version_works(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is missing or empty."""
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "__init__.py"))
    if text is not None:
        (tmp_path / "version.txt").write_text(text)
    assert cache.__version__ == "unknown"
