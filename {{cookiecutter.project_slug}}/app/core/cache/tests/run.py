"""How the tests run: as they need it, whatever pytest's settings are, and in no way of others' tests."""

import inspect
import os
from collections.abc import Iterator

import pytest

from .logs import unconfigured

SLOW = "slow: takes seconds; `-m 'not slow'` leaves these tests out"
_NO_ANYIO = (
    "the cache's tests need the pytest plugin of AnyIO, which comes with FastAPI: run pytest without "
    "`-p no:anyio`, and without PYTEST_DISABLE_PLUGIN_AUTOLOAD or with `-p anyio`"
)


def pytest_configure(config: pytest.Config) -> None:
    """Tell of the marker of slow tests."""
    config.addinivalue_line("markers", SLOW)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> None:
    """Let AnyIO run asynchronous tests, also where its `anyio_mode` is not "auto"."""
    if collector.istestfunction(obj, name):
        test = obj.hypothesis.inner_test if hasattr(obj, "hypothesis") else obj
        if inspect.iscoroutinefunction(test):
            pytest.mark.usefixtures("anyio_backend")(obj)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, as servers do."""
    return "asyncio"


@pytest.fixture(scope="package", autouse=True)
def _alone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Have no settings of an application: of the environment, of a `.env` file, of its logging."""
    if not request.config.pluginmanager.has_plugin("anyio"):
        pytest.fail(_NO_ANYIO, pytrace=False)
    with unconfigured(), pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.upper().startswith(("CACHE_", "REDIS_")):
                patch.delenv(name)
        patch.chdir(tmp_path_factory.mktemp("empty"))
        yield
