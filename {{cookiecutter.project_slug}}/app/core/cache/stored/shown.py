"""How the log shows keys and other text that a user may have sent.

Line breaks, terminal escape sequences and lone surrogates are escaped, so that a log line stays one
line. Long text is cut.
"""

_MOST = 100


class Shown:
    """Text that is escaped and cut only if the log line is really written."""

    __slots__ = ("_most", "_text")

    def __init__(self, text: object, most: int = _MOST) -> None:
        self._text, self._most = text, most

    def __str__(self) -> str:
        text = str(self._text)[: self._most + 1]
        shown = "".join([each if each.isprintable() else ascii(each)[1:-1] for each in text])
        return shown if len(shown) <= self._most else f"{shown[: self._most - 3]}..."
