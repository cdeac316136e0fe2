"""The dates of HTTP: RFC 9110, section 5.6.7."""

import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import nan

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_CLOCK, _YEAR = r"[0-9]{2}:[0-9]{2}:[0-9]{2}", r"[1-9][0-9]{3}"
_DATE = (
    rf"{_DAY}, [0-9]{{2}} {_MONTH} {_YEAR} {_CLOCK} GMT"
    rf"|{_DAY} {_MONTH} (?:[0-9]{{2}}| [0-9]) {_CLOCK} {_YEAR}"
    rf"|({_LONG_DAY}, [0-9]{{2}}-{_MONTH}-)([0-9]{{2}} {_CLOCK} GMT)"
)
_FIFTY_YEARS = 50 * 31_556_952  # seconds


def http_date(text: str | None, otherwise: float = 0.0, *, any_case: bool = False) -> float:
    """Return a date in seconds since 1970, or `otherwise` if it is no HTTP-date. Never raises.

    With `any_case`, upper and lower case are the same. A leap second counts as the second before it. A year before
    1000 is the zero of some library, and counts as no date.
    """
    text = (text or "").strip(" \t").replace(":60 ", ":59 ")
    date = re.fullmatch(_DATE, text, re.IGNORECASE if any_case else 0)  # the parser takes more
    if date is None:
        return otherwise
    return _parsed(text, otherwise) if date[1] is None else _of_century(date[1], date[2], otherwise)


def _of_century(before: str, after: str, otherwise: float) -> float:
    """Return a date that lacks its century between these texts.

    It is the latest one that is not more than 50 years ahead.
    """
    now = time.time()
    century = time.gmtime(now).tm_year // 100
    for each in (century + 1, century, century - 1):
        seconds = _parsed(f"{before}{each}{after}", nan)
        if seconds <= now + _FIFTY_YEARS:
            return seconds
    return otherwise


def _parsed(text: str, otherwise: float) -> float:
    try:
        when = parsedate_to_datetime(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except Exception:  # it fails in many ways
        return otherwise
