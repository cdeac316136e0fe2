"""How long an entry is fresh, how long it is served after that, and who computes it again.

An entry lives for `expire`, less a little jitter, so that not all entries expire at once. With
`stale` it stays for that much longer: it is served at once while one caller computes it again
(stale-while-revalidate), and if that fails, it is still served (stale-if-error); see RFC 5861. With
early refresh, one caller computes a hot entry again a little before it expires; the longer the
function takes, the earlier. See Vattani et al., "Optimal Probabilistic Cache Stampede Prevention",
VLDB 2015.
"""

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..expiry import Expire, milliseconds
from ..stored import Stated

BACK_OFF_MS = 2000
"""After a refresh has failed, no other one begins for so long."""

_UNTIL, _COST = "until", "cost"
_LATEST = 2**53  # milliseconds


@dataclass(slots=True, eq=False, repr=False)
class Freshness:
    """How the entries of one function age, in milliseconds.

    `expire` is shortened at random by up to its share `jitter`. `early` is the factor of early
    refresh, 0 for none. `now` returns the time in seconds.
    """

    expire: int
    stale: int = 0
    jitter: float = 0.0
    early: float = 0.0
    now: Callable[[], float] = time.time

    def stamp(self, cost: float) -> tuple[dict[str, Any], int]:
        """Return what a record says of its freshness, and its time to live in milliseconds.

        `cost` is how long it took to compute, in seconds.
        """
        fresh = math.ceil(self.expire * (1 - self.jitter * random.random()))
        if not self.stale and not self.early:
            return {}, fresh
        until = int(self.now() * 1000) + fresh
        return {_UNTIL: until, _COST: math.ceil(cost * 1000)}, fresh + self.stale

    def limited(self, about: dict[str, Any], ms: int, said: Stated) -> int:
        """Return for how many milliseconds, instead of `ms`, an entry may live by its response.

        It is fresh no longer than the response says, and served stale only if the response allows.
        """
        until = about.get(_UNTIL)
        fresh = ms if until is None else max(0, until - int(self.now() * 1000))
        if said.fresh_for is not None and said.fresh_for * 1000 < fresh:
            fresh = int(said.fresh_for * 1000)
            ms = fresh if until is None else fresh + self.stale
            if until is not None:
                about[_UNTIL] = int(self.now() * 1000) + fresh
        return ms if said.may_be_stale else min(ms, fresh)

    def times(self, about: Mapping[str, Any], ms: int) -> tuple[int, int]:
        """Return the time now, and until when an entry is fresh, in milliseconds since 1970.

        `about` and `ms` are those of `stamp` and `limited`.
        """
        now = int(self.now() * 1000)
        return now, max(now, about.get(_UNTIL, now + ms))

    def is_due(self, about: Mapping[str, Any]) -> bool:
        """Whether a record should be computed again: it is stale, or chosen for early refresh.

        Raises `ValueError` or `KeyError` for a record with wrong or missing times.
        """
        if _UNTIL not in about:
            return False
        until, cost = about[_UNTIL], about[_COST]
        if not all(type(each) is int and 0 <= each <= _LATEST for each in (until, cost)):
            raise ValueError("the times of a record are none")
        ahead = self.early * cost * -math.log(1 - random.random())
        return bool(self.now() * 1000 + ahead >= until)


def freshness_of(expire: Expire, stale: Expire | None, *, jitter: float, early: float) -> Freshness:
    """Read what a caller gave; raises `TypeError` or `ValueError` for what is no time."""
    try:
        return _freshness_of(expire, stale, jitter, early)
    except TypeError:  # also for a value without a hash
        return _freshness_of.__wrapped__(expire, stale, jitter, early)


@lru_cache(maxsize=1024, typed=True)  # `get_or_set` is called with the same few
def _freshness_of(expire: Expire, stale: Expire | None, jitter: float, early: float) -> Freshness:
    return Freshness(milliseconds(expire), milliseconds(stale or 0), jitter, early)


def is_answer(error: BaseException) -> bool:
    """Whether an exception is an answer to this caller (a status below 500), and no failure."""
    return isinstance(error, HTTPException) and not is_of_the_server(error.status_code)


def is_failure(value: object) -> bool:
    """Whether a result is a failure: a response with a status of 500 or more."""
    return isinstance(value, Response) and is_of_the_server(value.status_code)


def is_of_the_server(status: int) -> bool:
    """Whether a status says that the server has failed."""
    return status >= 500
