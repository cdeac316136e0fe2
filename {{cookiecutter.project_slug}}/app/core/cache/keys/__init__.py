"""Makes the key of a call, and the keys of its tags, from the function and the arguments.

Nothing here reads or writes an entry.
"""

from .builder import KeyBuilder, connection_among
from .by_hand import listed, pattern_below, tag_keys_of, whole_key
from .checks import check_key_prefix, may_have_identity
from .families import expect_keys, tell_of_void
from .functions import KeyFunction
from .identity import MOST_OF_A_NAME, Identity, OfFunctions
from .parameters import Parameters
from .patterns import KeyPattern
from .tags import MOST_TAGS, Tag, Tags, all_tags_key, checked_tag_keys, is_tag_key, templates_of
from .templates import Template, is_written
from .vary import Vary, Varying, name_of

__all__ = [
    "MOST_OF_A_NAME",
    "MOST_TAGS",
    "Identity",
    "KeyBuilder",
    "KeyFunction",
    "KeyPattern",
    "OfFunctions",
    "Parameters",
    "Tag",
    "Tags",
    "Template",
    "Vary",
    "Varying",
    "all_tags_key",
    "check_key_prefix",
    "checked_tag_keys",
    "connection_among",
    "expect_keys",
    "is_tag_key",
    "is_written",
    "listed",
    "may_have_identity",
    "name_of",
    "pattern_below",
    "tag_keys_of",
    "tell_of_void",
    "templates_of",
    "whole_key",
]
