"""What values, their types and their classes are, and a text for each that is the same everywhere.

Nothing here knows of functions, keys or Redis.
"""

from .attributes import annotation_of
from .canonical import (
    UnkeyableError,
    canonical,
    canonical_text,
    encoded,
    has_identity,
    is_named,
    text,
)
from .captures import FILLED_LATER, Captures
from .classes import BY_HAND, NO_CLASSES, Known, KnownClasses
from .hints import RETURN, captured, hints_of, signature_of
from .kinds import from_dependencies, injected, kinds_of
from .names import described
from .remedies import METHODS, attribute_of, kind_of, leave_out, of_parameter, of_text
from .state import (
    ALIAS,
    MODEL_SLOTS,
    StateError,
    has_more,
    has_text,
    is_instrumented,
    is_named_tuple,
)
from .texts import (
    FACTORIES,
    MOST_DIGITS,
    SECRETS,
    TEXTS,
    decimal_from,
    from_text,
    is_bounded,
    pg_uuid,
    text_of,
)

__all__ = [
    "ALIAS",
    "BY_HAND",
    "FACTORIES",
    "FILLED_LATER",
    "METHODS",
    "MODEL_SLOTS",
    "MOST_DIGITS",
    "NO_CLASSES",
    "RETURN",
    "SECRETS",
    "TEXTS",
    "Captures",
    "Known",
    "KnownClasses",
    "StateError",
    "UnkeyableError",
    "annotation_of",
    "attribute_of",
    "canonical",
    "canonical_text",
    "captured",
    "decimal_from",
    "described",
    "encoded",
    "from_dependencies",
    "from_text",
    "has_identity",
    "has_more",
    "has_text",
    "hints_of",
    "injected",
    "is_bounded",
    "is_instrumented",
    "is_named",
    "is_named_tuple",
    "kind_of",
    "kinds_of",
    "leave_out",
    "of_parameter",
    "of_text",
    "pg_uuid",
    "signature_of",
    "text",
    "text_of",
]
