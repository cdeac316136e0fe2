"""Two people ask one endpoint, in turn and at once, and must not see each other's answer."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, Final

from .asking import asked, insist, told

ROUNDS: Final = 2
_REMEDY: Final = (
    "make what tells them apart an argument of the endpoint, or name it in vary= of cache_response"
)


def assert_isolated(
    client: Any, path: str, as_user_a: Mapping[str, Any], as_user_b: Mapping[str, Any]
) -> str:
    """Assert that each of two people gets an answer of his own from an endpoint, again and again.

    `client` is a client of `httpx`, or FastAPI's `TestClient`.

    `as_user_a` and `as_user_b` are what `client.request` is given besides the path: `headers`,
    `cookies`, `json`; `method` is "GET" unless it is among them. The answers to the two have to
    differ: an endpoint that says the same to both is shared on purpose, or leaks.

    Return what became of the last round: "own entry", "not stored", or "uncached", as far as
    `Cache-Status` tells, and "refused" where both got an error.
    """
    __tracebackhide__ = True
    people = {"a": as_user_a, "b": as_user_b}
    answers: dict[str, Any] = {}
    for turn in range(ROUNDS):
        for name, options in people.items():
            answer = asked(client, path, options)
            expected = answers.setdefault(name, answer)
            insist(
                told(answer) == told(expected),
                f"user {name} got another answer in round {turn + 1} of {path}: {told(answer)} "
                f"instead of {told(expected)}; if it is the other one's, {_REMEDY}; if it changes "
                f"with each request, ask an endpoint whose answer depends only on who asks",
            )
    insist(
        told(answers["a"]) != told(answers["b"]),
        f"both people got {told(answers['a'])} from {path}: one of them got the other's answer, or "
        f"the answer does not depend on who asks; {_REMEDY}, or give two people who should get "
        f"different answers",
    )
    _assert_isolated_at_once(client, path, people, answers)
    return _outcome([asked(client, path, options) for options in people.values()])


def _assert_isolated_at_once(
    client: Any, path: str, people: Mapping[str, Mapping[str, Any]], answers: Mapping[str, Any]
) -> None:
    """Assert the same of people who ask at the same moment."""
    __tracebackhide__ = True
    names = [*people] * ROUNDS
    barrier = Barrier(len(names))

    def ask(name: str) -> tuple[str, Any]:
        barrier.wait(30)
        return name, asked(client, path, people[name])

    with ThreadPoolExecutor(len(names)) as threads:
        for name, answer in threads.map(ask, names):
            insist(
                told(answer) == told(answers[name]),
                f"user {name}, who asked at the same moment as others, got {told(answer)} from "
                f"{path} instead of {told(answers[name])}; {_REMEDY}",
            )


def _outcome(responses: list[Any]) -> str:
    """Return what the cache did, by the header of RFC 9211."""
    if all(response.is_error for response in responses):
        return "refused"
    said = {response.headers.get("cache-status", "; ").split("; ")[1] for response in responses}
    if said == {"hit"}:
        return "own entry"
    return "uncached" if said <= {"", "fwd=bypass"} else "not stored"
