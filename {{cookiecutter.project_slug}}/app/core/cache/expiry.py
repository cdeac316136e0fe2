"""The time to live of entries, from the form that callers give to milliseconds."""

from datetime import timedelta

# Redis counts in milliseconds and refuses numbers that are too large; 100 years are for ever.
_LONGEST_MS = 100 * 365 * 24 * 60 * 60 * 1000


def milliseconds(expire: int | timedelta) -> int:
    """Return `expire`, given in seconds or as a timedelta, in whole milliseconds.

    Zero and less mean "do not store" and come back as zero. The most is 100 years.
    Raises `TypeError` for any other type, also for `bool` and `float`.
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
