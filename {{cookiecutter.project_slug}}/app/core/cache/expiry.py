"""How long entries live, as callers give it."""

from datetime import timedelta

# Redis counts in milliseconds and refuses what does not fit; a hundred years are for ever.
_LONGEST_MS = 100 * 365 * 24 * 60 * 60 * 1000


def milliseconds(expire: int | timedelta) -> int:
    """Return `expire`, given in seconds or as a timedelta, in whole milliseconds.

    Zero and less mean "do not store" and come back as zero; times beyond a hundred years are cut.
    Raises `TypeError` for anything that is neither, `bool` and `float` included.
    """
    if isinstance(expire, timedelta):
        ms = expire // timedelta(milliseconds=1)
    elif isinstance(expire, int) and not isinstance(expire, bool):
        ms = expire * 1000
    else:
        raise TypeError(
            f"expire={expire!r} is a {type(expire).__name__}; give whole seconds as an int, or a "
            f"timedelta, e.g. timedelta(seconds=1.5)"
        )
    return max(0, min(ms, _LONGEST_MS))
