"""Each use of the inside of another package is known here, with what becomes of it without that.

A name that is gone from the lowest or the newest packages is found by `test_floors.py`.
"""

from typing import Final

from tests.inside import uses

OWN: Final = {
    *("_answers", "_connection_of_cache", "_enqueue", "_has_begun", "_is_due"),
    *("_is_logged", "_is_open", "_is_tagged", "_is_this", "_one", "_response_of_cache", "_routes"),
    *("_send_soon", "_server", "_set_timer", "_timer_at", "_topology", "_unix_socket", "_unsent"),
    *("_waits", "_watch", "_FAST"),
}
"""Names that another file of the module defines."""
OF_OURS: Final = {
    ("backends/wire/multiplexed.py", name) for name in ("_loop", "_send", "_transport")
}

FLOOR: Final = "it is there from the floor on, which is insisted on; nothing stands for it"
EMPTY: Final = "it is looked up by its name, and counts as absent where it is not there"
NOTED: Final = "a name that is not there is never asked for; what is unknown counts as read"
NO_IDENTITY: Final = (
    "an attribute that is not known makes the value one without identity: not cached"
)
PYTHON: Final = "CPython has it, from 3.11 on; the tests run on each version"

INSIDE: Final = {
    ("backends/topologies/cluster.py", "redis.crc.key_slot"): FLOOR,
    ("backends/wire/connections.py", "_close"): "a failure is suppressed",
    ("backends/wire/connections.py", "_parser"): FLOOR,
    ("backends/wire/connections.py", "_ssl_protocol"): EMPTY,
    ("backends/wire/connections.py", "_transport"): "a failure is suppressed; the loop closes it",
    **{
        ("backends/wire/connections.py", f"redis.asyncio.connection.{name}"): FLOOR
        for name in (
            *("AbstractConnection", "Connection", "RedisSSLContext", "SSLConnection"),
            "UnixDomainSocketConnection",
        )
    },
    ("backends/wire/multiplexed.py", "_get_running_loop"): PYTHON,
    ("backends/wire/pipeline.py", "redis._parsers.BaseParser"): FLOOR,
    ("calls/checks.py", "fastapi.dependencies.models.Dependant"): FLOOR,
    ("calls/dependencies.py", "fastapi.dependencies.utils.get_dependant"): FLOOR,
    ("calls/dependencies.py", "fastapi.security.base.SecurityBase"): FLOOR,
    ("calls/holdings.py", "_params"): FLOOR,
    ("calls/holdings.py", "fastapi.security.base.SecurityBase"): FLOOR,
    ("http/middleware.py", "starlette.middleware.exceptions.ExceptionMiddleware"): FLOOR,
    ("keys/checks.py", "_is_protocol"): EMPTY,
    ("loops.py", "_get_running_loop"): PYTHON,
    ("ops/keys_of_paths.py", "_params"): FLOOR,
    ("ops/types_kept.py", "_is_protocol"): EMPTY,
    ("reads/hidden.py", "_getframe"): PYTHON,
    **{
        ("reads/requests.py", name): NOTED
        for name in (
            *("_body", "_cookies", "_form", "_is_disconnected", "_json", "_query_params"),
            *("_receive", "_send", "_state", "_stream_consumed"),
        )
    },
    ("reads/watching.py", "_get_running_loop"): PYTHON,
    ("reads/watching.py", "_getframe"): PYTHON,
    ("stored/responses.py", "_headers"): "more attributes than these make a response not stored",
    ("stored/responses.py", "_is_protocol"): EMPTY,
    ("stored/sent.py", "_TemplateResponse"): EMPTY,
    ("stored/sent.py", "fastapi.utils.is_body_allowed_for_status_code"): FLOOR,
    ("values/canonical.py", "_secret_value"): NO_IDENTITY,
    ("values/canonical.py", "_url"): NO_IDENTITY,
    ("values/captures.py", "_attributes_set"): EMPTY,
    ("values/captures.py", "_thread"): "a module of locks; other locks have no identity",
    ("values/captures.py", "fastapi.security.base.SecurityBase"): FLOOR,
    ("values/remedies.py", "_sa_class_manager"): EMPTY,
    ("values/remedies.py", "_sa_instance_state"): EMPTY,
    ("values/state.py", "_sa_class_manager"): EMPTY,
    ("values/state.py", "_sa_instance_state"): EMPTY,
    ("values/texts.py", "_url"): "a value with more attributes than these is not stored",
    ("workers.py", "_current_frames"): PYTHON,
}
"""Where a use is, what it is, and the fallback or the error that it has."""


def test_every_use_is_known() -> None:
    """A new one has to be put into the table, with what becomes of it where it is missing."""
    found = {use for use in uses() if use[1] not in OWN} - OF_OURS
    assert sorted(found - INSIDE.keys()) == []
    assert sorted(INSIDE.keys() - found) == []
