"""Finds out what a function reads besides its arguments: the request, and context variables.

It says what was read. Other rooms decide what follows from that.
"""

from . import handed, requests
from .hidden import CONNECTION, RESPONSE, SignatureForFastAPI, steps, taken, without_hidden
from .observed import Reads, Variable, note
from .requests import HOST, IN_IDENTITY, SCHEME, changed, header, identity, watched
from .uses import function_of, looked_up, may_read_all, nested, only_reads, parameters_used
from .variables import context_variables
from .watching import Watching, during, follow, in_thread, run_watched

__all__ = [
    "CONNECTION",
    "HOST",
    "IN_IDENTITY",
    "RESPONSE",
    "SCHEME",
    "Reads",
    "SignatureForFastAPI",
    "Variable",
    "Watching",
    "changed",
    "context_variables",
    "during",
    "follow",
    "function_of",
    "handed",
    "header",
    "identity",
    "in_thread",
    "looked_up",
    "may_read_all",
    "nested",
    "note",
    "only_reads",
    "parameters_used",
    "requests",
    "run_watched",
    "steps",
    "taken",
    "watched",
    "without_hidden",
]
