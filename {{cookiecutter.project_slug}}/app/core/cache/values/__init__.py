"""Values, types and classes, and for each a text that is the same in every process.

Nothing here reads or writes a key, or talks to Redis.
"""

from .attributes import annotation_of
from .canonical import canonical, canonical_text, encoded, has_identity, text
from .captures import FILLED_LATER, Captures
from .classes import BY_HAND, NO_CLASSES, Known, KnownClasses
from .hints import RETURN, captured, hints_of, signature_of
from .kinds import from_dependencies, injected, kinds_of
from .names import described
from .remedies import METHODS, attribute_of, kind_of, leave_out, of_parameter, of_text
from .state import (
    ALIAS,
    MODEL_SLOTS,
    UnkeyableError,
    has_text,
    is_instrumented,
    is_named_tuple,
    refuse_more,
)
from .texts import SECRETS, TEXTS, Text, pg_uuid

__all__ = [
    "ALIAS",
    "BY_HAND",
    "FILLED_LATER",
    "METHODS",
    "MODEL_SLOTS",
    "NO_CLASSES",
    "RETURN",
    "SECRETS",
    "TEXTS",
    "Captures",
    "Known",
    "KnownClasses",
    "Text",
    "UnkeyableError",
    "annotation_of",
    "attribute_of",
    "canonical",
    "canonical_text",
    "captured",
    "described",
    "encoded",
    "from_dependencies",
    "has_identity",
    "has_text",
    "hints_of",
    "injected",
    "is_instrumented",
    "is_named_tuple",
    "kind_of",
    "kinds_of",
    "leave_out",
    "of_parameter",
    "of_text",
    "pg_uuid",
    "refuse_more",
    "signature_of",
    "text",
]
