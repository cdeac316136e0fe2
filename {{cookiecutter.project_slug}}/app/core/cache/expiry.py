"""The time to live of entries, from the forms that callers give to milliseconds."""

import math
import re
from datetime import timedelta

Expire = int | float | str | timedelta
"""Seconds as a number, a `timedelta`, or a text such as "10m", "1h30m" or "2.5s"."""

# Redis counts in milliseconds and refuses numbers that are too large; 100 years are for ever.
_LONGEST_MS = 100 * 365 * 24 * 60 * 60 * 1000
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = r"(\d{1,12}(?:\.\d{1,6})?)(ms|[smhd])"


def milliseconds(expire: Expire, name: str = "expire") -> int:
    """Return a time to live in whole milliseconds.

    Zero and less mean "do not store" and come back as zero. Parts of a millisecond are cut off. The most
    is 100 years. Raises `TypeError` for any other type, also for `bool`, and `ValueError` for a
    number that is not finite and a text of another form.
    """
    if isinstance(expire, timedelta):
        ms = expire // timedelta(milliseconds=1)
    elif isinstance(expire, str):
        ms = _of_text(expire, name)
    elif isinstance(expire, bool) or not isinstance(expire, (int, float)):
        raise TypeError(
            f"{name}={expire!r} is a {type(expire).__name__}; give seconds as a number, a "
            f'timedelta, or a text such as "10m"'
        )
    elif not math.isfinite(expire):
        raise ValueError(f"{name}={expire!r} must be a finite number of seconds")
    else:
        ms = expire * 1000 if isinstance(expire, int) else _whole(min(expire, _LONGEST_MS) * 1000)
    return max(0, min(ms, _LONGEST_MS))


def _whole(ms: float) -> int:
    return math.floor(round(ms, 3))  # 1.001 * 1000 is a little less than 1001


def in_backends_terms(expire: Expire) -> int | timedelta:
    """Return `expire` as backends know it: in seconds, or as a timedelta; raises as `milliseconds`."""
    if isinstance(expire, (str, float, bool)):
        return timedelta(milliseconds=milliseconds(expire))
    return expire


def is_negative(expire: Expire) -> bool:
    """Whether a time to live is less than zero; a text never is."""
    if isinstance(expire, timedelta):
        return expire < timedelta()
    return not isinstance(expire, str) and expire < 0


def _of_text(text: str, name: str) -> int:
    if not re.fullmatch(f"({_PART})+", text):
        raise ValueError(
            f'{name}={text[:80]!r} must be numbers with units, such as "10m", "1h30m" or "2.5s"; the '
            f"units are {', '.join(_UNITS)}"
        )
    return _whole(sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text)))
