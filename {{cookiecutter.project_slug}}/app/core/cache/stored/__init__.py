"""The format of entries in Redis: records, values as JSON, responses.

Nothing here talks to a server, and no data from Redis is executed.
"""

from ..errors import Shown
from . import codec, raised, responses, sent
from .changes import Changes, snapshot
from .dates import http_date
from .headers import FOR_ONE, by_name, is_name
from .raised import Raised, class_name
from .record import (
    RECORD_HEAD,
    SHORT_KEY,
    Head,
    Record,
    is_of_another_key,
    is_plausible,
    is_record_of,
    names_its_key,
    owner_digest,
    owner_of,
    plain_payload,
    rest_of,
    start_of_record,
)
from .sent import RenderedResponse, entity_tag
from .stated import Stated, directives_of, seconds_of, stated, told_age

__all__ = [
    "FOR_ONE",
    "RECORD_HEAD",
    "SHORT_KEY",
    "Changes",
    "Head",
    "Raised",
    "Record",
    "RenderedResponse",
    "Shown",
    "Stated",
    "by_name",
    "class_name",
    "codec",
    "directives_of",
    "entity_tag",
    "http_date",
    "is_name",
    "is_of_another_key",
    "is_plausible",
    "is_record_of",
    "names_its_key",
    "owner_digest",
    "owner_of",
    "plain_payload",
    "raised",
    "responses",
    "rest_of",
    "seconds_of",
    "sent",
    "snapshot",
    "start_of_record",
    "stated",
    "told_age",
]
