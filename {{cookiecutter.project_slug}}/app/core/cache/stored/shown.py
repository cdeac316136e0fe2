"""Keys and other text that somebody may have made up, as they are shown in a log.

One line of log is one line, whatever a key holds: line breaks, sequences that steer a terminal, half
a character. And it is not long.
"""

_MOST = 100


class Shown:
    """Text that is escaped and cut when a line of log needs it, and not before."""

    __slots__ = ("_most", "_text")

    def __init__(self, text: object, most: int = _MOST) -> None:
        self._text, self._most = text, most

    def __str__(self) -> str:
        text = str(self._text)[: self._most + 1]
        shown = "".join([each if each.isprintable() else ascii(each)[1:-1] for each in text])
        return shown if len(shown) <= self._most else f"{shown[: self._most - 3]}..."
