"""Logging of the service."""

import logging


def configure_logging(level: str) -> None:
    """Show the loggers below `app` from `level` on, and those of libraries from WARNING on.

    Handlers that are there already, a server's or a test's, are left alone.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("app").setLevel(level)
