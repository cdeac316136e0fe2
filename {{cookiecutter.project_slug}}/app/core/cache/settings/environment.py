"""Reads the variables of the environment, and of a `.env` file.

An application may use `REDIS_HOST` for another Redis. So each variable of Redis may have the prefix
`CACHE_`, and with the prefix it comes first. Variables that are not used are not read.
"""

import logging
from collections.abc import Collection

from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource

from ..errors import CacheConfigError

logger = logging.getLogger(__name__)

ADDRESSES = ("redis_url", "redis_host", "redis_sentinels")
"""If one of these is set, the backend is Redis."""
_FOR_REDIS = ("redis_", "cache_near_", "cache_operation_timeout")


def read_variables(fields: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the values of the settings that are set, and the names of their variables.

    Raises `CacheConfigError` if the `.env` file cannot be read, and for `REDIS_SSL`.
    """
    values, names = _by_setting(_found())
    reason, unused = _unused(values, names)
    left = [names.pop(each) for each in list(names) if each.startswith(unused)]
    if reason and left:
        logger.info("%s: %s not read", reason, ", ".join(left))
    if "redis_ssl" in names:
        _refuse_unencrypted(values, names["redis_ssl"])
    return {field: values[field] for field in fields if field in names}, names


def _found() -> dict[str, str]:
    """Return all variables that are not empty, by their names in lower case."""
    try:
        file = DotEnvSettingsSource(BaseSettings, env_file=".env", env_ignore_empty=True)
        environment = EnvSettingsSource(BaseSettings, env_ignore_empty=True)
        found = {**file.env_vars, **environment.env_vars}
        return {name: value for name, value in found.items() if value}
    except (OSError, ValueError) as error:  # its message may hold the whole file
        why = type(error).__name__
    raise CacheConfigError(f"the file .env cannot be read ({why}): it must be a text in UTF-8")


def _by_setting(found: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the values, and the names of the variables, by the names of settings."""
    own = {name.removeprefix("cache_"): name for name in found if name.startswith("cache_redis_")}
    others = {name: name for name in found if name not in own.values()}
    if not own.keys().isdisjoint(ADDRESSES):
        # The others may be for another Redis, whose password must not be sent to this one.
        others = {name: name for name in others if not name.startswith("redis_")}
    names = {**others, **own}
    values = {setting: found[name] for setting, name in names.items()}
    return values, {setting: name.upper() for setting, name in names.items()}


def _unused(values: dict[str, str], names: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the reason to log, and the prefixes of the names that are not used."""
    addressed = not values.keys().isdisjoint(ADDRESSES)
    if values.get("cache_backend", "redis" if addressed else "memory") != "redis":
        return "", _FOR_REDIS
    if "redis_url" in values:
        return f"{names['redis_url']} is set", ("redis_host", "redis_port", "redis_db")
    if "redis_sentinels" in values:
        return f"{names['redis_sentinels']} is set", ("redis_host", "redis_port")
    return "", ()


def _refuse_unencrypted(values: dict[str, str], name: str) -> None:
    is_wanted = values["redis_ssl"].strip().lower() not in ("false", "0", "no", "off")
    is_secure = values.get("redis_url", "").strip().lower().startswith("rediss:")
    if is_wanted and not is_secure and "redis_tls" not in values:
        raise CacheConfigError(
            f"{name} is set, but is no setting of the cache: set REDIS_TLS=true for TLS; "
            f"REDIS_TLS=false says that the connections are not to be encrypted"
        )
