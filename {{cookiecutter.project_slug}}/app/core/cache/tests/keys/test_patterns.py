"""Patterns: what they cover here, and that Redis reads them the same way."""

import itertools
import uuid

import pytest
from redis import Redis

from ...keys.patterns import KeyPattern


@pytest.mark.parametrize(
    ("pattern", "covered", "not_covered"),
    [
        ("user", ["user"], ["user:1", "use", ""]),
        ("user*", ["user", "user:1"], ["use", "a user"]),
        ("*user", ["user", "a user"], ["user:1"]),
        ("a*b*c", ["abc", "a1b2c", "abbcc"], ["acb", "ab", "ac"]),
        ("ab*ba", ["abba", "abxba"], ["aba", "ab", "ba"]),
        ("*aa*aa*", ["aaaa", "xaayaaz"], ["aaa"]),
        ("x*ab*b", ["xabb"], ["xab"]),
        ("*", ["", "anything"], []),
        ("**", ["", "anything"], []),
        ("a?[b]\\", ["a?[b]\\"], ["axb", "a?b\\"]),
        ("*\n*", ["one\ntwo"], ["one two"]),
    ],
)
def test_a_pattern_covers(pattern: str, covered: list[str], not_covered: list[str]) -> None:
    """`*` stands for any run of characters, an empty one included, and nothing else is special."""
    matches = KeyPattern.parse(pattern).matches
    assert [key for key in covered if not matches(key)] == []
    assert [key for key in not_covered if matches(key)] == []


def test_nothing_in_a_prefix_is_a_wildcard() -> None:
    """A prefix with a `*` in it covers only itself."""
    pattern = KeyPattern.parse("user*", prefix="app*:")
    assert pattern.matches("app*:user:1")
    assert not pattern.matches("app2:user:1")
    assert pattern.redis_glob() == "app\\*:user*"


def test_many_wildcards_take_no_time() -> None:
    """A pattern made to be slow is not: it is matched in one pass for each literal."""
    assert not KeyPattern.parse("*a" * 500 + "*b").matches("a" * 5000)
    assert KeyPattern.parse("a" + "*" * 1000).redis_glob() == "a*"


def test_redis_agrees(redis_client: Redis) -> None:
    """For all short patterns and keys over the special characters, SCAN finds what we match."""
    prefix = f"test-{uuid.uuid4().hex}:"
    characters = ["a", "*", "?", "[", "]", "\\", "^", "-"]
    texts = ["".join(text) for n in (1, 2) for text in itertools.product(characters, repeat=n)]
    keys = [prefix + text for text in texts]
    redis_client.mset(dict.fromkeys(keys, "1"))
    try:
        for text in texts:
            pattern = KeyPattern.parse(text, prefix=prefix)
            found = {key.decode() for key in redis_client.scan_iter(pattern.redis_glob(), 1000)}
            assert found == {key for key in keys if pattern.matches(key)}, text
    finally:
        redis_client.unlink(*keys)
