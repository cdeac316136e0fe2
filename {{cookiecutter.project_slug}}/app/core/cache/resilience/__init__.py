"""What to do while a server is away: a circuit breaker, retries in the background, one log line.

Nothing here knows of keys or values.
"""

from .breaker import Breaker, Use, past_the_breaker
from .outage import Outage, reason
from .retry import BackgroundRetry, BackgroundTasks

__all__ = [
    "BackgroundRetry",
    "BackgroundTasks",
    "Breaker",
    "Outage",
    "Use",
    "past_the_breaker",
    "reason",
]
