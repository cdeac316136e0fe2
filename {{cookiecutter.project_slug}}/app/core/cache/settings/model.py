"""Settings of the cache: a value for each, checked, and the backend that is made of them."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
)

from ..backends.addresses import addresses
from ..backends.memory import MemoryBackend
from ..base import DEFAULT_KEY_PREFIX, DEFAULT_NEAR_BYTES, DEFAULT_OPERATION_TIMEOUT, CacheBackend
from ..coherence import LOCK_TIMEOUT
from ..errors import CacheConfigError, shown
from ..manager import DEFAULT_MAX_ENTRY_BYTES, DEFAULT_TTL, DEFAULT_TTL_JITTER
from .environment import ADDRESSES, Variables
from .redis_url import RedisUrlError, read_url

logger = logging.getLogger(__name__)

_SECRETS = ("redis_url", "redis_password", "redis_sentinel_password")


def _url(secret: SecretStr) -> SecretStr:
    read_url(secret.get_secret_value())
    return secret


def _addresses(text: str) -> str:
    addresses(text, 0)
    return text


class CacheSettings(BaseModel):
    """The cache's settings. Made by hand they read nothing: `CacheSettings(cache_backend="memory")`.

    `CacheSettings.load()` reads each from the variable of its name in capitals. Raises
    `CacheConfigError`, which names each setting with a wrong value, that value, unless it may hold a
    password, and what is allowed.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,  # until they are read, which an import does not
    )

    cache_backend: Literal["redis", "memory"] | None = Field(
        default=None,
        description="redis or memory; unset, it is redis where an address of Redis is set, else memory",
    )
    redis_url: Annotated[SecretStr, AfterValidator(_url)] | None = Field(
        default=None,
        description="redis://[user:password@]host[:port][/db], the same with rediss:// for TLS, or "
        "unix://[user:password@]/path[?db=0]",
    )
    redis_host: Annotated[str, AfterValidator(_addresses)] = Field(
        default="localhost",
        description="a host name or address; with REDIS_CLUSTER also host:port,host:port",
    )
    redis_port: int = Field(default=6379, ge=1, le=65535, description="a port, 1 to 65535")
    redis_db: int = Field(default=0, ge=0, description="the number of a database, 0 or more")
    redis_username: str | None = Field(default=None, description="the name of an ACL user")
    redis_password: SecretStr | None = Field(default=None, description="a password")
    redis_max_connections: int = Field(
        default=10, ge=1, le=10_000, description="connections of each process, 1 to 10000"
    )
    redis_timeout: float = Field(
        default=5.0, gt=0, le=3600, description="seconds, more than 0, at most 3600"
    )
    redis_tls: bool = Field(default=False, description="true or false")
    redis_tls_ca_file: FilePath | None = Field(default=None, description="the path of a PEM file")
    redis_tls_cert_file: FilePath | None = Field(default=None, description="the path of a PEM file")
    redis_tls_key_file: FilePath | None = Field(default=None, description="the path of a PEM file")
    redis_tls_check_hostname: bool = Field(default=True, description="true or false")
    redis_sentinels: Annotated[str, AfterValidator(_addresses)] | None = Field(
        default=None, description="host:port,host:port"
    )
    redis_sentinel_master: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]+$",  # as Sentinel itself has it
        description="the name by which the sentinels know the master: letters, digits, . _ and -",
    )
    redis_sentinel_username: str | None = Field(default=None, description="a name")
    redis_sentinel_password: SecretStr | None = Field(default=None, description="a password")
    redis_cluster: bool = Field(default=False, description="true or false")
    cache_default_ttl: int = Field(
        default=DEFAULT_TTL, ge=1, le=2**31 - 1, description="whole seconds, 1 or more"
    )
    cache_key_prefix: str = Field(
        default=DEFAULT_KEY_PREFIX,
        pattern=r"^[!-~]{1,100}$",
        description="1 to 100 visible ASCII characters, no spaces",
    )

    cache_operation_timeout: float = Field(
        default=DEFAULT_OPERATION_TIMEOUT,
        gt=0,
        le=60,
        description="seconds, more than 0, at most 60",
    )
    cache_max_entry_bytes: int = Field(
        default=DEFAULT_MAX_ENTRY_BYTES, ge=1, description="a number of bytes, 1 or more"
    )
    cache_compress_over: int = Field(
        default=0, ge=0, description="a number of bytes, or 0 for no compression"
    )

    cache_near_size: int = Field(
        default=0, ge=0, description="a number of entries, or 0 for no near cache"
    )
    cache_near_bytes: int = Field(
        default=DEFAULT_NEAR_BYTES, ge=0, description="a number of bytes, or 0 for no near cache"
    )

    cache_ttl_jitter: float = Field(
        default=DEFAULT_TTL_JITTER, ge=0, le=0.5, description="a part of the time to live, 0 to 0.5"
    )

    cache_lock_timeout: float = Field(
        default=LOCK_TIMEOUT, gt=0, le=3600, description="seconds, more than 0, at most 3600"
    )

    def __init__(self, *, _names: Any = None, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            complaints = [_complaint(each, _names or {}) for each in error.errors()]
        else:
            return
        # Outside the handler, so that no traceback shows what pydantic was given.
        raise CacheConfigError("; ".join(complaints))

    @classmethod
    def load(cls) -> Self:
        """Read the settings from the environment, and from a `.env` file in the working directory.

        A variable of the environment comes before one of the file, and an empty one counts as
        unset. One that begins with `CACHE_REDIS_` comes before that which begins with `REDIS_`. For
        the memory backend nothing is read that is for Redis only; where `REDIS_URL` is set, neither
        are host, port and number. Raises `CacheConfigError`.
        """
        variables = Variables(cls.model_fields)
        return cls(_names=variables.names, **variables.values)

    @property
    def backend_name(self) -> Literal["redis", "memory"]:
        """The backend that was chosen, or follows from whether an address of Redis is set."""
        if self.cache_backend is not None:
            return self.cache_backend
        return "redis" if self.model_fields_set.intersection(ADDRESSES) else "memory"


def _complaint(error: Any, names: Mapping[str, str]) -> str:
    """Return what to tell of an error of pydantic: it may hold a password, this does not."""
    setting = str(error["loc"][0])
    field = CacheSettings.model_fields.get(setting)
    if field is None:
        return f"{setting} is no setting of the cache; there are {', '.join(CacheSettings.model_fields)}"
    name, reason = names.get(setting, setting), error.get("ctx", {}).get("error")
    must = f"it must be {field.description}"
    if isinstance(reason, RedisUrlError):
        return f"{name} has a value that is not allowed: {reason}; {must}"
    if setting in _SECRETS:
        return f"{name} has a value that is not allowed; {must}"
    if setting == "redis_host" and "://" in str(error["input"]):
        return f"{name} is a URL: set REDIS_URL instead; {must}"
    return f"{name}={shown(error['input'])} is not allowed; {must}"


def backend_of(settings: CacheSettings) -> CacheBackend:
    """Make the backend; raises `CacheConfigError` for contradictions and files of no use."""
    if settings.backend_name == "memory":
        return MemoryBackend(key_prefix=settings.cache_key_prefix)
    from ..backends import RedisBackend  # noqa: PLC0415 - memory needs no redis-py

    options = _redis_options(settings)
    try:
        return RedisBackend(**options)
    except OSError as error:  # `ssl.SSLError` is one
        why = str(error)
    raise CacheConfigError(
        f"REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE or REDIS_TLS_KEY_FILE is no use: {why}"
    )


def _redis_options(settings: CacheSettings) -> dict[str, Any]:
    """Return what `RedisBackend` is made with; raises `CacheConfigError` for contradictions."""
    from ..backends import Tls  # noqa: PLC0415 - memory needs no redis-py

    options: dict[str, Any] = {
        "host": settings.redis_host,
        "port": settings.redis_port,
        "db": settings.redis_db,
        "username": settings.redis_username,
        "password": settings.redis_password,
        "max_connections": settings.redis_max_connections,
        "timeout": settings.redis_timeout,
        "operation_timeout": settings.cache_operation_timeout,
        "key_prefix": settings.cache_key_prefix,
        "cluster": settings.redis_cluster,
        "near_size": settings.cache_near_size,
        "near_bytes": settings.cache_near_bytes,
        "sentinel_master": settings.redis_sentinel_master,
        "sentinel_username": settings.redis_sentinel_username,
        "sentinel_password": settings.redis_sentinel_password,
    }
    tls: dict[str, Any] = {
        "ca_file": _path(settings.redis_tls_ca_file),
        "cert_file": _path(settings.redis_tls_cert_file),
        "key_file": _path(settings.redis_tls_key_file),
        "check_hostname": settings.redis_tls_check_hostname,
    }
    secure = settings.redis_tls
    if settings.redis_url is not None:
        url = read_url(settings.redis_url.get_secret_value())
        secure = secure or url.secure
        options |= url.options
        tls |= url.tls
        if url.unused:
            logger.warning(
                "options of REDIS_URL that are of no use here: %s", ", ".join(url.unused)
            )
    elif not settings.redis_cluster:
        options |= _one_address(settings)
    if settings.redis_sentinels is not None:
        options["sentinels"] = addresses(settings.redis_sentinels, 26379)
    _refuse_contradictions(settings, options, tls, secure=secure)
    if secure:
        options["tls"] = Tls(**tls)
    return options


def _one_address(settings: CacheSettings) -> dict[str, Any]:
    """Return host and port of one server, where `REDIS_HOST` may have both."""
    listed = addresses(settings.redis_host, 0)
    host, port = listed[0]
    if len(listed) > 1 and settings.redis_sentinels is None:
        raise CacheConfigError(
            f"REDIS_HOST={shown(settings.redis_host)} is a list: set REDIS_CLUSTER=true if it is "
            f"that of a cluster, else name one host"
        )
    if port and port != settings.redis_port and "redis_port" in settings.model_fields_set:
        raise CacheConfigError(
            f"REDIS_HOST={shown(settings.redis_host)} and REDIS_PORT={settings.redis_port} name two "
            f"ports: unset one of them"
        )
    return {"host": host, "port": port or settings.redis_port}


def _refuse_contradictions(
    settings: CacheSettings, options: dict[str, Any], tls: dict[str, Any], *, secure: bool
) -> None:
    sentinels, cluster = "sentinels" in options, settings.redis_cluster
    files = (tls["ca_file"], tls["cert_file"], tls["key_file"])
    wrong = {
        "REDIS_SENTINELS and REDIS_SENTINEL_MASTER, the name by which the sentinels know the "
        "master, need each other": sentinels != (settings.redis_sentinel_master is not None),
        "REDIS_SENTINELS and REDIS_CLUSTER exclude each other: unset one of them": (
            sentinels and cluster
        ),
        f"REDIS_CLUSTER=true, and database {options['db']}: a cluster has only database 0": (
            cluster and options["db"] != 0
        ),
        "REDIS_URL is that of a Unix socket, where REDIS_CLUSTER or REDIS_SENTINELS is set": (
            (cluster or sentinels) and "unix_socket" in options
        ),
        "REDIS_TLS=true, and REDIS_URL is that of a Unix socket, which has no TLS": (
            secure and "unix_socket" in options
        ),
        "REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE or REDIS_TLS_KEY_FILE is set, but TLS is not: set "
        "REDIS_TLS=true, or a REDIS_URL that begins with rediss://": any(files) and not secure,
        "REDIS_TLS_KEY_FILE is set, but REDIS_TLS_CERT_FILE is not": (
            tls["key_file"] is not None and tls["cert_file"] is None
        ),
    }
    complaints = [what for what, is_wrong in wrong.items() if is_wrong]
    if complaints:
        raise CacheConfigError("; ".join(complaints))


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)
