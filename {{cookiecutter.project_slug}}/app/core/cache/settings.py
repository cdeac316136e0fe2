"""Settings of the cache, read from the environment."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import AfterValidator, Field, FilePath, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .backends import MemoryBackend, RedisBackend, Tls
from .backends.redis import DEFAULT_NEAR_BYTES, DEFAULT_OPERATION_TIMEOUT, addresses
from .base import DEFAULT_KEY_PREFIX, CacheBackend
from .config import CacheConfigError
from .fence import LOCK_TIMEOUT
from .manager import DEFAULT_MAX_ENTRY_BYTES, DEFAULT_TTL, DEFAULT_TTL_JITTER


def _url(secret: SecretStr) -> SecretStr:
    _read_url(secret)
    return secret


def _addresses(text: str) -> str:
    addresses(text, 0)
    return text


class CacheSettings(BaseSettings):
    """The cache's settings: each field is read from the variable of its name in capitals.

    Variables of the environment come before those of a `.env` file in the working directory. An
    empty one counts as unset.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
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
        default=None, description="the name by which the sentinels know the master"
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

    @classmethod
    def load(cls) -> Self:
        """Read the settings.

        Raises `CacheConfigError`, which names each wrong variable, its value and what is allowed.
        """
        try:
            return cls()
        except ValidationError as error:
            lines = [_complaint(str(each["loc"][0]), each["input"]) for each in error.errors()]
        # Outside the handler, so that no traceback shows what pydantic was given.
        raise CacheConfigError("; ".join(lines))

    @property
    def backend_name(self) -> Literal["redis", "memory"]:
        """The backend that was chosen, or follows from whether an address of Redis is set."""
        if self.cache_backend is not None:
            return self.cache_backend
        addressed = self.model_fields_set & {"redis_host", "redis_url", "redis_sentinels"}
        return "redis" if addressed else "memory"


def _complaint(field: str, value: object) -> str:
    variable = field.upper()
    allowed = CacheSettings.model_fields[field.lower()].description
    if variable == "REDIS_URL":  # which may hold a password
        return f"{variable} has a value that is not allowed; it must be {allowed}"
    return f"{variable}={value!r} is not allowed; it must be {allowed}"


def backend_of(settings: CacheSettings) -> CacheBackend:
    """Make the backend; raises `CacheConfigError` for contradictions and files of no use."""
    if settings.backend_name == "memory":
        return MemoryBackend(key_prefix=settings.cache_key_prefix)
    options = _redis_options(settings)
    try:
        return RedisBackend(**options)
    except OSError as error:  # `ssl.SSLError` is one
        raise CacheConfigError(
            f"REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE or REDIS_TLS_KEY_FILE is no use: {error}"
        ) from None


def _redis_options(settings: CacheSettings) -> dict[str, Any]:
    """Return what `RedisBackend` is made with; raises `CacheConfigError` for contradictions."""
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
    if settings.redis_url is not None:
        options |= _read_url(settings.redis_url)
    if settings.redis_sentinels is not None:
        options["sentinels"] = addresses(settings.redis_sentinels, 26379)
    if settings.redis_tls or options.pop("secure", False):
        options["tls"] = Tls(
            _path(settings.redis_tls_ca_file),
            _path(settings.redis_tls_cert_file),
            _path(settings.redis_tls_key_file),
            settings.redis_tls_check_hostname,
        )
    _refuse_contradictions(settings, options)
    return options


def _refuse_contradictions(settings: CacheSettings, options: dict[str, Any]) -> None:
    sentinels, cluster = "sentinels" in options, settings.redis_cluster
    files = (settings.redis_tls_ca_file, settings.redis_tls_cert_file, settings.redis_tls_key_file)
    listed = settings.redis_url is None and addresses(settings.redis_host, 0) != [
        (settings.redis_host.strip().lower().strip("[]"), 0)
    ]
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
        f"REDIS_HOST={settings.redis_host!r} is a list or has a port: set REDIS_CLUSTER=true if it "
        f"is that of a cluster, else name one host here and its port in REDIS_PORT": (
            listed and not (cluster or sentinels)
        ),
        "REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE or REDIS_TLS_KEY_FILE is set, but TLS is not: set "
        "REDIS_TLS=true, or a REDIS_URL that begins with rediss://": (
            any(files) and "tls" not in options
        ),
        "REDIS_TLS_KEY_FILE is set, but REDIS_TLS_CERT_FILE is not": (
            settings.redis_tls_key_file is not None and settings.redis_tls_cert_file is None
        ),
    }
    complaints = [what for what, is_wrong in wrong.items() if is_wrong]
    if complaints:
        raise CacheConfigError("; ".join(complaints))


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _read_url(url: SecretStr) -> dict[str, Any]:
    """Return what a URL says, by the names of `RedisBackend`, and whether it is `secure`.

    Raises `ValueError`, with no part of it, for what is no such URL.
    """
    parts = urlsplit(url.get_secret_value())
    query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    path = unquote(parts.path)
    options: dict[str, Any]
    if parts.scheme == "unix":
        db, options = query.pop("db", ["0"])[-1], {"unix_socket": path}
    elif parts.scheme in ("redis", "rediss") and parts.hostname:
        db = query.pop("db", [path.removeprefix("/") or "0"])[-1]
        options = {"host": parts.hostname, "secure": parts.scheme == "rediss"}
        if parts.port is not None:
            options["port"] = parts.port
    else:
        raise ValueError("another scheme, or no host")
    if query or parts.fragment or not path.startswith("/" if parts.scheme == "unix" else ""):
        raise ValueError("an option that is unknown")
    options["db"] = int(db)
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    return options
