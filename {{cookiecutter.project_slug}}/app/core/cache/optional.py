"""Files of the cache that may be deleted; README.md has the list."""

from importlib.util import find_spec

from .errors import CacheConfigError


def insist_on_file(file: str, what: str) -> None:
    """Raise `CacheConfigError` if `what`, a class or a setting, needs a file that was deleted.

    `file` is relative to the folder of the cache, as in `http/route.py`.
    """
    module = file.removesuffix(".py").replace("/", ".")
    try:
        found = find_spec(f"{__package__}.{module}")
    except ModuleNotFoundError:  # the file's folder was deleted
        found = None
    if found is None:
        raise CacheConfigError(f"{what} needs the file {file} of the cache, which was deleted")
