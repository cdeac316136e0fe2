"""What the header `Cache-Control` of a request wants: RFC 9111, section 5.2.1.

`no-cache`, `no-store`, `max-age` and `only-if-cached` count. `min-fresh` and `max-stale` are left
out, as is whatever is not known; a cache may ignore them.
"""

from collections.abc import Iterable
from math import inf

from ..calls import Wish
from ..stored import by_name, directives_of, seconds_of

_NAMES = (b"cache-control", b"pragma")


def wish_of(lines: Iterable[tuple[bytes, bytes]]) -> Wish | None:
    """Return what the header lines of a request want; `None` for nothing. Never raises.

    `Pragma: no-cache` counts if there is no `Cache-Control`. A header that cannot be parsed counts
    for nothing, and so does a `max-age` that is no number of seconds. Of several the shortest counts.
    """
    given = [line for line in lines if line[0] in _NAMES]
    if not given:
        return None
    asked = by_name(given)
    is_new = "cache-control" in asked
    told = directives_of(asked["cache-control" if is_new else "pragma"]) or {}
    if not is_new:
        told = {name: told[name] for name in told if name == "no-cache"}
    oldest = min([seconds_of(value, inf) for value in told.get("max-age", [])], default=inf)
    oldest = 0 if "no-cache" in told else oldest
    wish = Wish(oldest, "no-store" not in told, "only-if-cached" in told)
    return None if wish == Wish() else wish
