"""What an audit knows of an application by the names in its modules (promise P10)."""

from fastapi import FastAPI

from ... import CacheManager, MemoryBackend, cache_response, invalidate_cache
from . import by_hand, far_away
from .audited import findings


def test_p10_a_function_that_only_its_name_leads_to_is_examined() -> None:
    """Its slips are found; what looks like nothing known may be meant."""
    app = FastAPI()
    app.get("/it")(far_away.endpoint)
    found = {each.where.rpartition(".")[2]: each for each in findings(app)}
    assert {name: each.kind for name, each in found.items()} == {
        "write_far": "pattern",
        "load_far": "result",
        "read_far": "lifetime",
    }
    assert "'far_away:*'" in found["write_far"].mend


def shop(pattern: str, tag: str) -> FastAPI:
    """Make an application that has what it invalidates from other code."""
    app, manager = FastAPI(), CacheManager(MemoryBackend())

    @app.get("/users")
    @cache_response(manager, "users", tags=["users"])
    async def read_users() -> int:
        return 1

    @app.put("/users/{user_id}")
    @invalidate_cache(manager, keys=pattern, tags=[tag])
    async def write_user(user_id: int) -> int:
        return user_id

    return app


def test_p10_what_is_set_by_hand_is_right() -> None:
    """The code gives such a key or tag, or a beginning of it, to `set` or `get_or_set`."""
    for pattern in ("session:{user_id}", "session:*", "session:of:all"):
        for tag in ("team:{user_id}", "all_teams"):
            app = shop(pattern, tag)
            app.get("/session")(by_hand.remember)
            assert [each for each in findings(app) if "write_user" in each.where] == []


def test_p10_what_is_set_elsewhere_is_not_meant() -> None:
    """But nobody knows all keys then: only slips of the pen are told."""
    for pattern, tag, kinds in (
        ("sessions_of:*", "teams:{user_id}", []),
        ("user:*", "user", ["pattern", "tag"]),
    ):
        app = shop(pattern, tag)
        app.get("/session")(by_hand.remember)
        found = [each.kind for each in findings(app) if "write_user" in each.where]
        assert found == kinds


def test_p10_keys_of_constants_and_helpers_are_not_told() -> None:
    """The audit sees that code sets by hand, and not which keys."""
    for pattern in ("settings:all", "profile:{user_id}", "stats:*"):
        app = shop(pattern, "feed")
        app.get("/settings")(by_hand.settings)
        assert [each for each in findings(app) if "write_user" in each.where] == []
