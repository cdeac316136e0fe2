r"""The stored record of a cached call: a header line, then the payload as it will be needed.

    cache/1 <digest of the key> <kind>\n<payload>

The header names the key, so that bytes which belong to another key, be it by a fault of a
connection or of a person, are never taken for an answer. Whatever does not begin with exactly the
expected header is a miss: another version, another tool, a truncated reply.
"""

from dataclasses import dataclass
from hashlib import blake2b

_MAGIC = b"cache/1"
_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored for one call: a kind, which says how to read the payload, and the payload."""

    kind: bytes
    payload: bytes

    def to_bytes(self, key: str) -> bytes:
        """Return the record as it is stored at `key`."""
        return b"%b %b\n%b" % (_start(key), self.kind, self.payload)

    @classmethod
    def from_bytes(cls, key: str, data: bytes) -> "Record | None":
        """Return the record that was stored at `key`, or `None` if `data` is anything else."""
        start = _start(key)
        if not data.startswith(start + b" "):
            return None
        kind, newline, payload = data[len(start) + 1 :].partition(b"\n")
        return cls(kind, payload) if newline else None


def _start(key: str) -> bytes:
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
    return b"%b %b" % (_MAGIC, digest.encode())
