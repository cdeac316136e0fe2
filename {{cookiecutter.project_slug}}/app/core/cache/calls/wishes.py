"""What a request wants of the cache, if it has a say in that: RFC 9111, section 5.2.1."""

import time
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from starlette.exceptions import HTTPException

from ..coherence import Fence, Outcome, Result
from ..stored import RenderedResponse, by_name, told_age

if TYPE_CHECKING:
    from .filling import OneCall


class Wish(NamedTuple):
    """What a request wants. An entry may be `oldest` seconds old; with 0, no entry will do."""

    oldest: float = inf
    stores: bool = True
    """Whether its response may be stored."""
    only_if_cached: bool = False
    """Whether it wants an entry, or else nothing."""

    def refuses(self, value: object, *, again: bool) -> bool:
        """Whether an entry is too old, or its age is not known; the age that it tells counts, too.

        The second one of an unknown age will do: it was stored after the request had come.
        """
        if self.oldest == inf:
            return False
        if not isinstance(value, RenderedResponse) or not value.made:
            return not again
        told = 0.0 if again else told_age(by_name(value.lines))
        return time.time() * 1000 - value.made + told * 1000 > self.oldest * 1000


NO_CACHE = Wish(oldest=0)


async def granted(
    wish: Wish, fence: Fence, key: str, tags: tuple[str, ...], call: "OneCall"
) -> Result:
    """Return the result of a call as its request wants it; raises `not_cached` if there is none."""
    if not wish.only_if_cached:
        run = fence.run if wish.oldest else fence.renew_now
        return await run(key, tags, call)
    standing, nonces, _ = await fence.looks.look(key, tags)
    found = None if standing is None or not wish.oldest else call.read(standing, nonces)
    if found is None or (found.tags and await fence.nonces(found.tags) != found.nonces):
        raise not_cached()
    return Result(found.value, Outcome.STALE if found.due else Outcome.HIT)


def not_cached() -> HTTPException:
    """Return the answer to a request that wants nothing but an entry: section 5.2.1.7."""
    return HTTPException(504, "there is no cached response, and the request wants no other one")
