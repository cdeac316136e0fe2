"""The near cache and the permissions that it needs."""

import pytest

from ...faults import at_once, eventually
from ..test_own_keys import failures
from .scene import AsUser, Own, Source, near_of


async def test_p7_the_near_cache_needs_one_permission_more(
    as_user: AsUser, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """The one that the README names: with it it works, and nothing is refused."""
    manager = as_user("client|tracking")
    own = Own(manager, source)
    await eventually(lambda: is_near(own))
    assert await failures(manager, "key") == []
    assert caplog.records == []


async def is_near(own: Own) -> bool:
    """Whether a read needs nobody."""
    await own.version()
    try:
        at_once(own.version())
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("more", "lacks", "refused"),
    [((), "pttl", "client"), ((), "", "client"), (("client|tracking",), "pttl", "pttl")],
)
async def test_p5_where_the_server_refuses_it_is_off(
    as_user: AsUser,
    caplog: pytest.LogCaptureFixture,
    more: tuple[str, ...],
    lacks: str,
    refused: str,
) -> None:
    """Everything else works, nothing is kept in vain, and the log says so once."""
    manager = as_user(*more, lacks=lacks)
    assert await failures(manager, "key") == ["ttl"] * (lacks == "pttl")
    for _ in range(3):
        assert await manager.get_or_set("key", lambda: 1, tags=["tag"]) == 1
        await manager.set("plain", 1)
        assert await manager.get("plain") == 1
        if refused == "client":
            assert len(near_of(manager)) == 0
        await manager.close()
    told = [record.getMessage() for record in caplog.records]
    about = [line for line in told if f"'{refused}" in line]
    assert len(about) == 1
    assert set(told) - set(about) <= {line for line in told if "'pttl" in line}
