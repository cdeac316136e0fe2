"""The bytes of records to store, and their largest size."""

from ..stored import Record, codec
from .reading import Store


def stored_bytes(store: Store, key: str, owner: bytes, record: Record) -> bytes:
    """Return the bytes of a record; raises `UnstorableError` for one that is too large."""
    refuse_large(store, record.payload, key)  # even if compression would make it small enough
    data = record.to_bytes(key, owner, compress_over=store.compress_over)
    refuse_large(store, data, key)
    return data


def refuse_large(store: Store, data: bytes, key: str | None = None) -> None:
    """Raise `UnstorableError` if `data` is too large to be stored; note its key for a while."""
    if len(data) > store.max_entry_bytes:
        if key is not None:
            store.fence.too_large.add(key)
        raise codec.UnstorableError(
            f"it has {len(data)} bytes, more than the {store.max_entry_bytes} of "
            f"CACHE_MAX_ENTRY_BYTES"
        )
