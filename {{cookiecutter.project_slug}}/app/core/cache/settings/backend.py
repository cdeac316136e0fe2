"""The backend that the settings describe."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..backends.addresses import addresses
from ..backends.memory import MemoryBackend
from ..backends.none import NoBackend
from ..base import CacheBackend
from ..errors import CacheConfigError, shown
from .model import CacheSettings


def backend_of(settings: CacheSettings) -> CacheBackend:
    """Return the backend. Raises `CacheConfigError` for contradictions and for unusable files."""
    if settings.backend_name == "memory":
        return MemoryBackend(key_prefix=settings.cache_key_prefix)
    if settings.backend_name == "none":
        return NoBackend(settings.cache_key_prefix)
    from ..backends import RedisBackend  # noqa: PLC0415 - memory needs no redis-py

    contradictions = "; ".join(_contradictions(settings))
    if contradictions:
        raise CacheConfigError(contradictions)
    options = _redis_options(settings)
    try:
        return RedisBackend(**options)
    except OSError as error:  # `ssl.SSLError` is one
        why = str(error)
    raise CacheConfigError(
        f"REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE or REDIS_TLS_KEY_FILE cannot be used: {why}"
    )


def _redis_options(settings: CacheSettings) -> dict[str, Any]:
    """Return the arguments of `RedisBackend`."""
    from ..backends import Tls  # noqa: PLC0415 - memory needs no redis-py

    host, port = settings.redis_host, settings.redis_port
    if not settings.redis_cluster:
        host, port = addresses(host, port)[0]
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "db": settings.redis_db,
        "username": settings.redis_username,
        "password": settings.redis_password,
        "max_connections": settings.redis_max_connections,
        "timeout": settings.redis_timeout,
        "operation_timeout": settings.cache_operation_timeout,
        "key_prefix": settings.cache_key_prefix,
        "unix_socket": settings._unix_socket,
        "cluster": settings.redis_cluster,
        "near_size": settings.cache_near_size,
        "near_bytes": settings.cache_near_bytes,
        "sentinels": addresses(settings.redis_sentinels, 26379) if settings.redis_sentinels else (),
        "sentinel_master": settings.redis_sentinel_master,
        "sentinel_username": settings.redis_sentinel_username,
        "sentinel_password": settings.redis_sentinel_password,
    }
    if settings.redis_tls:
        options["tls"] = Tls(
            ca_file=_text(settings.redis_tls_ca_file),
            cert_file=_text(settings.redis_tls_cert_file),
            key_file=_text(settings.redis_tls_key_file),
            check_hostname=settings.redis_tls_check_hostname,
        )
    return options


def _contradictions(settings: CacheSettings) -> Iterator[str]:
    """Yield a message for each group of settings that do not fit together."""
    host, port, cluster = settings.redis_host, settings.redis_port, settings.redis_cluster
    sentinels, socket = settings.redis_sentinels, settings._unix_socket
    listed = addresses(host, 0)
    if len(listed) > 1 and not (cluster or sentinels):
        yield (
            "REDIS_HOST or REDIS_URL names several servers: set REDIS_CLUSTER=true if they are a "
            "cluster, else name one"
        )
    two_ports = listed[0][1] not in (0, port) and "redis_port" in settings.model_fields_set
    if two_ports and not cluster:
        yield f"REDIS_HOST={shown(host)} and REDIS_PORT={port} name two ports: unset one of them"
    if (sentinels is None) != (settings.redis_sentinel_master is None):
        yield (
            "REDIS_SENTINELS and REDIS_SENTINEL_MASTER, the name by which the sentinels know the "
            "master, need each other"
        )
    if sentinels and cluster:
        yield "REDIS_SENTINELS and REDIS_CLUSTER exclude each other: unset one of them"
    if cluster and settings.redis_db:
        yield f"REDIS_CLUSTER=true, and database {settings.redis_db}: a cluster has only database 0"
    if socket and (cluster or sentinels):
        yield "REDIS_URL is that of a Unix socket, where REDIS_CLUSTER or REDIS_SENTINELS is set"
    if socket and settings.redis_tls:
        yield "REDIS_TLS=true, and REDIS_URL is that of a Unix socket, which has no TLS"
    cert, key = settings.redis_tls_cert_file, settings.redis_tls_key_file
    if (settings.redis_tls_ca_file or cert or key) and not settings.redis_tls:
        yield (
            "REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE or REDIS_TLS_KEY_FILE is set, but TLS is not: "
            "set REDIS_TLS=true, or a REDIS_URL that begins with rediss://"
        )
    if key and not cert:
        yield "REDIS_TLS_KEY_FILE is set, but REDIS_TLS_CERT_FILE is not"


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
