"""The variables that settings are read from: those of the environment, and of a `.env` file.

The variables of Redis have names that an application may use for a Redis of its own. So each of them
may also begin with `CACHE_`, which comes first. What the chosen backend does not use is not read.
"""

import logging
import re
from collections.abc import Collection

from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource

from ..errors import CacheConfigError, shown

logger = logging.getLogger(__name__)

ADDRESSES = ("redis_url", "redis_host", "redis_sentinels")
"""Who sets one of these wants Redis."""
_FOR_REDIS = ("redis_", "cache_near_", "cache_operation_timeout")
_MEANT = {
    "redis_user": "redis_username",
    "redis_pass": "redis_password",
    "redis_database": "redis_db",
    "cache_ttl": "cache_default_ttl",
    "cache_prefix": "cache_key_prefix",
}
"""Names that are taken for those of settings."""
_OF_KUBERNETES = re.compile(r"tcp://\[?([0-9a-fA-F.:]+)\]?:(\d+)")


class Variables:
    """The variables of `fields`: `values` and the `names` they were read from, by field.

    Raises `CacheConfigError` for what cannot be read, or is meant for somebody else.
    """

    def __init__(self, fields: Collection[str]) -> None:
        found = _found()
        self.values: dict[str, str] = {}
        self.names: dict[str, str] = {}
        if any(f"cache_{address}" in found for address in ADDRESSES):
            # Those of a Redis of the application's own: its password is nobody else's business.
            found = {name: each for name, each in found.items() if not name.startswith("redis_")}
        for each in fields:
            self._take(each, found)
        addressed = not self.values.keys().isdisjoint(ADDRESSES)
        is_redis = self.values.get("cache_backend", "redis" if addressed else "memory") == "redis"
        if is_redis:
            self._leave_out_what_the_address_says()
            self._read_port()
            self._refuse_unencrypted(found)
        else:
            self._leave(_FOR_REDIS)
        for name, meant in _MEANT.items():
            used = is_redis or not meant.startswith(_FOR_REDIS)
            if used and name in found and meant not in self.values:
                logger.warning("%s is not read: did you mean %s?", name.upper(), meant.upper())

    def _take(self, field: str, found: dict[str, str]) -> None:
        own = [f"cache_{field}"] if field.startswith("redis_") else []
        for name in (*own, field):
            if name in found:
                self.values[field], self.names[field] = found[name], name.upper()
                return

    def _leave(self, beginnings: tuple[str, ...]) -> list[str]:
        left = [field for field in self.values if field.startswith(beginnings)]
        for field in left:
            del self.values[field]
        return [self.names.pop(field) for field in left]

    def _leave_out_what_the_address_says(self) -> None:
        for address, said in (
            ("redis_url", ("redis_host", "redis_port", "redis_db")),
            ("redis_sentinels", ("redis_host", "redis_port")),
        ):
            left = self._leave(said) if address in self.values else []
            if left:
                logger.info("%s is set: %s not read", self.names[address], ", ".join(left))

    def _read_port(self) -> None:
        """Take the port from what Kubernetes sets for a service of this name, `tcp://address:port`."""
        injected = _OF_KUBERNETES.fullmatch(self.values.get("redis_port", ""))
        if injected is None:
            return
        name, host = self.names["redis_port"], self.values.get("redis_host", "")
        service = name.removesuffix("_PORT").replace("_", "-").lower()
        if host.partition(".")[0] != service and host != injected[1]:
            raise CacheConfigError(
                f"{name}={shown(self.values['redis_port'])} is no port, but what Kubernetes sets "
                f"for a service called {service!r}: set CACHE_REDIS_PORT, which comes before it, or "
                f"enableServiceLinks: false in the pod"
            )
        self.values["redis_port"] = injected[2]

    def _refuse_unencrypted(self, found: dict[str, str]) -> None:
        name = next((each for each in ("cache_redis_ssl", "redis_ssl") if each in found), None)
        if name is None or found[name].strip().lower() in ("false", "0", "no", "off"):
            return
        is_secure = self.values.get("redis_url", "").strip().lower().startswith("rediss:")
        if "redis_tls" not in self.values and not is_secure:
            raise CacheConfigError(
                f"{name.upper()} is set, but is no setting of the cache: set REDIS_TLS=true for "
                f"TLS; REDIS_TLS=false says that the connections are not to be encrypted"
            )


def _found() -> dict[str, str]:
    """Return all variables that are not empty, by their names in small letters."""
    try:
        sources = (
            DotEnvSettingsSource(BaseSettings, env_file=".env", env_ignore_empty=True),
            EnvSettingsSource(BaseSettings, env_ignore_empty=True),
        )
        return {
            name: value
            for source in sources
            for name, value in source.env_vars.items()
            if value is not None
        }
    except (OSError, ValueError) as error:  # which may hold the whole file
        why = type(error).__name__
    raise CacheConfigError(f"the file .env cannot be read ({why}): it must be a text in UTF-8")
