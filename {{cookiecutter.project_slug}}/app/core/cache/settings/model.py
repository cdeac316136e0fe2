"""The settings of the cache, with their defaults and checks."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    PrivateAttr,
    SecretStr,
    ValidationError,
)

from ..backends.addresses import addresses
from ..defaults import (
    CACHE_CONTROLS,
    DEFAULT_CACHE_CONTROL,
    DEFAULT_KEY_PREFIX,
    DEFAULT_LOCK_TIMEOUT,
    DEFAULT_MAX_ENTRY_BYTES,
    DEFAULT_NEAR_BYTES,
    DEFAULT_OPERATION_TIMEOUT,
    DEFAULT_TTL,
    DEFAULT_TTL_JITTER,
    CacheControl,
)
from ..errors import CacheConfigError, shown
from .environment import ADDRESSES, read_variables
from .redis_url import RedisUrlError, read_url

_SECRETS = {"redis_url", "redis_password", "redis_sentinel_password"}


def _addresses(text: str) -> str:
    addresses(text, 0)
    return text


class CacheSettings(BaseModel):
    """The cache's settings. `CacheSettings(cache_backend="memory")` reads no environment.

    `CacheSettings.load()` reads each setting from the variable with its name in upper case. Both
    raise `CacheConfigError`. It names each wrong setting and what is allowed, and shows the value
    unless it may hold a password. The parts of a `redis_url` replace the settings for the same.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,  # so that an import takes less time
    )

    cache_backend: Literal["redis", "memory", "none"] | None = Field(
        default=None,
        description="redis, memory or none; unset, it is redis if an address of Redis is set, else "
        "memory",
    )
    cache_enabled: bool = Field(default=True, description="true or false")
    redis_url: SecretStr | None = Field(
        default=None,
        description="redis://[user:password@]host[:port][/db], the same with rediss:// for TLS, or "
        "unix://[user:password@]/path[?db=0]",
    )
    redis_host: Annotated[str, AfterValidator(_addresses)] = Field(
        default="localhost",
        description="a host name or address, or host:port with a port from 1 to 65535; with "
        "REDIS_CLUSTER also host:port,host:port",
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
        pattern=r"^[A-Za-z0-9._-]+$",  # the same rule as in Sentinel
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
        default=DEFAULT_TTL_JITTER,
        ge=0,
        le=0.5,
        description="a share of the time to live, 0 to 0.5",
    )

    cache_lock_timeout: float = Field(
        default=DEFAULT_LOCK_TIMEOUT,
        gt=0,
        le=3600,
        description="seconds, more than 0, at most 3600",
    )

    cache_control: CacheControl = Field(
        default=DEFAULT_CACHE_CONTROL, description=", ".join(CACHE_CONTROLS)
    )
    cache_client_control: bool = Field(default=False, description="true or false")

    _unix_socket: str | None = PrivateAttr(None)

    def __init__(self, *, _names: Any = None, **given: Any) -> None:
        names = _names or {}
        try:
            given, unix_socket, hidden = _with_url(given)
            super().__init__(**given)
        except RedisUrlError as error:
            name, must = names.get("redis_url", "redis_url"), _must_be("redis_url")
            complaints = [f"{name} is not allowed: {error}; {must}"]
        except ValidationError as error:
            complaints = [_complaint(each, names, hidden) for each in error.errors()]  # pyright: ignore[reportPossiblyUnboundVariable]
        else:
            self._unix_socket = unix_socket
            return
        # Outside the handler, so that no traceback shows what pydantic was given.
        raise CacheConfigError("; ".join(complaints))

    @classmethod
    def load(cls) -> Self:
        """Read the settings from the environment, and from a `.env` file in the working directory.

        A variable of the environment comes before one of the file. An empty variable counts as
        unset. `CACHE_REDIS_HOST` comes before `REDIS_HOST`, and so on. Variables of Redis are not
        read for the memory backend. Host, port and database are not read if `REDIS_URL` is set.
        Raises `CacheConfigError`.
        """
        values, names = read_variables(cls.model_fields)
        return cls(_names=names, **values)

    @property
    def backend_name(self) -> Literal["redis", "memory", "none"]:
        """The chosen backend. If none was chosen: Redis if an address of Redis is set, else memory."""
        if self.cache_backend is not None:
            return self.cache_backend
        return "redis" if self.model_fields_set.intersection(ADDRESSES) else "memory"


def _with_url(given: dict[str, Any]) -> tuple[dict[str, Any], str | None, AbstractSet[str]]:
    """Return the settings with those of `redis_url`, its Unix socket, and the secret settings."""
    url = given.get("redis_url")
    if not isinstance(url, str | SecretStr):
        return given, None, _SECRETS
    said, unix_socket = read_url(url if isinstance(url, str) else url.get_secret_value())
    replaced = ("redis_host", "redis_port", "redis_db")
    kept = {name: value for name, value in given.items() if name not in replaced}
    return {**kept, **said}, unix_socket, _SECRETS.union(said)


def _complaint(error: Any, names: Mapping[str, str], hidden: AbstractSet[str]) -> str:
    """Return the message for an error of pydantic. Values of `hidden` settings are not shown."""
    setting = str(error["loc"][0])
    if setting not in CacheSettings.model_fields:
        return f"{setting} is no setting of the cache; there are {', '.join(CacheSettings.model_fields)}"
    name, value, must = names.get(setting, setting), str(error["input"]), _must_be(setting)
    if setting in hidden - _SECRETS:
        name = f"the {setting} of {names.get('redis_url', 'redis_url')}"
    if setting in hidden:
        return f"{name} has a value that is not allowed; {must}"
    if setting == "redis_host" and "://" in value:
        return f"{name} is a URL: set REDIS_URL instead; {must}"
    if setting == "redis_port" and value.startswith("tcp://"):
        must += (
            ". Kubernetes sets this variable for a service: set CACHE_REDIS_PORT, which comes before "
            "it, or enableServiceLinks: false in the pod"
        )
    return f"{name}={shown(error['input'])} is not allowed; {must}"


def _must_be(setting: str) -> str:
    return f"it must be {CacheSettings.model_fields[setting].description}"
