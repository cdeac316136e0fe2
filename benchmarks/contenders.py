"""Who does the work: a class for each library, used as its documentation shows.

    name        as it stands in the results
    package     what is installed, whose version stands there, too
    group       its dependency group, if it needs an environment of its own
    imports     how its users import it
    cached      the function, decorated: a hit needs no run of it
    app         an application with the endpoint at the path `route` names, cached
    key         what builds the key of a call of the function

What a library has no documented way to do raises `CannotError`. Libraries are imported where they
are used, so that the rest can be measured without them.
"""

import json
from collections.abc import Awaitable, Callable
from functools import wraps
from hashlib import blake2b
from typing import Any, ClassVar, cast

import redis.asyncio
from fastapi import Depends, FastAPI, Request, Response
from pydantic import BaseModel
from redis_server import RedisServer

from . import payloads

TTL = 600
"""Seconds. What is left on a server that is not the benchmark's own goes by itself."""

Function = Callable[..., Awaitable[Any]]


def route(endpoint: Function) -> str:
    """Return the path of an endpoint: one of its own, which some take for the key."""
    return f"/{endpoint.__name__}/{{number}}"


class CannotError(Exception):
    """A contender cannot do a work, and why."""


class Contender:
    """One way to cache, and a server to cache in. The defaults are those of a decorator."""

    name: ClassVar[str]
    package: ClassVar[str] = ""
    group: ClassVar[str] = ""
    imports: ClassVar[str] = ""

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    def cached(self, function: Function) -> Function:
        raise CannotError("it has no decorator for functions")

    def app(self, endpoint: Function) -> FastAPI:
        app = FastAPI()
        app.get(route(endpoint))(self.cached(endpoint))
        return app

    def key(self, function: Function) -> Callable[..., object]:
        raise CannotError("it builds no key from the arguments of a function")

    async def close(self) -> None:
        """Close what is connected."""


class Ours(Contender):
    """The module of this template."""

    name = "this module"
    imports = "from app.core.cache import CacheManager, RedisBackend, cache_response"

    near_size: ClassVar[int] = 0
    has_tag: ClassVar[bool] = True
    """Whether it is asked with the entity tag of the response that it sent."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server)
        from app.core.cache import CacheManager, RedisBackend

        options = {"key_prefix": "benchmark", "near_size": self.near_size}
        self.manager = CacheManager(RedisBackend(**_address(server), **options))

    def cached(self, function: Function) -> Function:
        return cast("Function", self._decorated(function))

    def app(self, endpoint: Function) -> FastAPI:
        app = _behind_the_middleware()
        self.add(app, endpoint)
        return app

    def add(self, app: FastAPI, endpoint: Function) -> None:
        """Add the endpoint to an application."""
        app.get(route(endpoint))(self.cached(endpoint))

    def key(self, function: Function) -> Callable[..., object]:
        return cast("Callable[..., object]", self._decorated(function).cache_key)

    def _decorated(self, function: Function) -> Any:
        from app.core.cache import cache_response

        return cache_response(self.manager, "ours", TTL)(function)

    async def close(self) -> None:
        await self.manager.close()


class OursNear(Ours):
    """The same with the near cache."""

    name = "this module, near"
    near_size = 10_000


class OursRouted(Ours):
    """The same where no hit may come before routing, because the route has a class of its own."""

    name = "this module, routed"

    def add(self, app: FastAPI, endpoint: Function) -> None:
        from app.core.cache import CachedRoute

        app.router.route_class = type("Route", (CachedRoute,), {})
        super().add(app, endpoint)


class OursRoutedNear(OursRouted, OursNear):
    """The same with the near cache."""

    name = "this module, near, routed"


class OursWhole(Ours):
    """The module, asked for the whole response where another is asked whether it has changed."""

    name = "the whole response"
    has_tag = False


OURS = (Ours, OursNear, OursRouted, OursRoutedNear)


def _behind_the_middleware() -> FastAPI:
    from app.core.cache import CacheMiddleware

    app = FastAPI()
    app.add_middleware(CacheMiddleware)
    return app


# --- by hand: the measures of the others -------------------------------------------------------


class ByHand(Contender):
    """GET and SET of redis-py, with orjson, written down without a library."""

    name = "redis-py + orjson"
    package = "redis"

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server)
        self.client = redis.asyncio.Redis(**_address(server))

    def cached(self, function: Function) -> Function:
        import orjson

        client = self.client

        @wraps(function)
        async def cached(*args: Any, **kwargs: Any) -> Any:
            key = f"by-hand:{function.__name__}:{args}:{kwargs}"
            found = await client.get(key)
            if found is not None:
                return orjson.loads(found)
            value = await function(*args, **kwargs)
            await client.set(key, orjson.dumps(value), ex=TTL)
            return value

        return cached

    async def close(self) -> None:
        await self.client.aclose()


class PoolOfTen(ByHand):
    """The same with orjson on ten connections, for which callers wait in line."""

    name = "redis-py, pool of 10"

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server)
        pool = redis.asyncio.BlockingConnectionPool(max_connections=10, **_address(server))
        self.client = redis.asyncio.Redis.from_pool(pool)


class OneGet(ByHand):
    """An endpoint that sends what one GET returns, as it is."""

    name = "the bytes of one GET"

    def app(self, endpoint: Function) -> FastAPI:
        app, client = FastAPI(), self.client

        @app.get(route(endpoint))
        async def get(number: int) -> Response:
            key = f"one-get:{endpoint.__name__}:{number}"
            found = await client.get(key)
            if found is None:
                found = payloads.body(await endpoint(number))
                await client.set(key, found, ex=TTL)
            return Response(found, media_type="application/json")

        return app


class Prebuilt(Contender):
    """An endpoint that returns a response which was made before, without any cache."""

    name = "a prebuilt response"

    def app(self, endpoint: Function) -> FastAPI:
        return self.with_endpoint(FastAPI(), endpoint)

    def with_endpoint(self, app: FastAPI, endpoint: Function) -> FastAPI:
        """Return an application with the endpoint."""
        response = Response(payloads.body_of(endpoint), media_type="application/json")

        @app.get(route(endpoint))
        async def get(number: int) -> Response:
            return response

        return app


class PrebuiltBehind(Prebuilt):
    """The same behind the middleware of this module: what it costs on other routes."""

    name = "a prebuilt response, behind the middleware"

    def app(self, endpoint: Function) -> FastAPI:
        return self.with_endpoint(_behind_the_middleware(), endpoint)


class Memo(Contender):
    """A dictionary in the process: no Redis, no expiry, no other process."""

    name = "a dict"

    def cached(self, function: Function) -> Function:
        known: dict[Any, Any] = {}

        async def cached(*args: Any, **kwargs: Any) -> Any:
            key = (args, tuple(kwargs.items()))
            if key not in known:
                known[key] = await function(*args, **kwargs)
            return known[key]

        return cached


class KeyByHand(Contender):
    """A digest of the function's name and its arguments as JSON."""

    name = "json and BLAKE2b"

    def key(self, function: Function) -> Callable[..., object]:
        name = f"{function.__module__}.{function.__qualname__}"

        def key(*args: Any, **kwargs: Any) -> str:
            data = json.dumps([name, args, kwargs], default=_as_json)
            return blake2b(data.encode(), digest_size=16).hexdigest()

        return key


class Foundation(Contender):
    """What every contender stands on, for the works that import."""

    name = "FastAPI and redis-py"
    imports = "import fastapi, redis.asyncio"


# --- the peers ---------------------------------------------------------------------------------


class Aiocache(Contender):
    """The decorator `cached` on a Redis cache with the serializer that it has by default, JSON."""

    name = package = "aiocache"
    imports = "from aiocache import Cache, cached; from aiocache.backends.redis import RedisCache"

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server)
        self._caches: list[Any] = []

    def cached(self, function: Function) -> Function:
        decorated: Any = self._decorator()(function)
        self._caches.append(decorated.cache)
        return cast("Function", decorated)

    def key(self, function: Function) -> Callable[..., object]:
        decorator = self._decorator()
        return lambda *args, **kwargs: decorator.get_cache_key(function, args, kwargs)

    def _decorator(self) -> Any:
        from aiocache import Cache, cached

        where = {**_address(self.server), "endpoint": self.server.host}
        del where["host"]
        return cached(ttl=TTL, cache=Cache.REDIS, namespace="aiocache", **where)

    async def close(self) -> None:
        for cache in self._caches:
            await cache.close()


class Cashews(Contender):
    """A cache that is set up with a URL, and its decorator with the key that it makes itself."""

    name = package = "cashews"
    imports = "from cashews import Cache, cache; import cashews.backends.redis.backend"
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server)
        from cashews import Cache

        self._cache = Cache()
        self._cache.setup(server.url, **self.options)

    def cached(self, function: Function) -> Function:
        return self._cache(ttl=TTL)(function)

    def key(self, function: Function) -> Callable[..., object]:
        from cashews import get_cache_key_template
        from cashews.key import get_cache_key

        template = get_cache_key_template(function)
        return lambda *args, **kwargs: get_cache_key(function, template, args, kwargs)

    async def close(self) -> None:
        await self._cache.close()


class CashewsNear(Cashews):
    """The same with what it calls client side cache, which Redis keeps up to date, too."""

    name = "cashews, client side"
    options: ClassVar[dict[str, Any]] = {"client_side": True}


class FastapiCache2(Contender):
    """`FastAPICache.init` with a client of the redis-py that it asks for, and its decorator."""

    name = package = group = "fastapi-cache2"
    imports = (
        "from fastapi_cache import FastAPICache; from fastapi_cache.decorator import cache; "
        "from fastapi_cache.backends.redis import RedisBackend"
    )

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server)
        from fastapi_cache import FastAPICache
        from fastapi_cache.backends.redis import RedisBackend

        self._client = redis.asyncio.from_url(server.url)
        FastAPICache.reset()
        FastAPICache.init(RedisBackend(self._client), prefix="fastapi-cache")

    def cached(self, function: Function) -> Function:
        from fastapi_cache.decorator import cache

        return cache(expire=TTL)(function)

    def key(self, function: Function) -> Callable[..., object]:
        from fastapi_cache import default_key_builder

        def key(*args: Any, **kwargs: Any) -> str:
            return default_key_builder(function, "fastapi-cache:", args=args, kwargs=kwargs)

        return key

    async def close(self) -> None:
        await self._client.close()


class FastapiCacheX(Contender):
    """Its backend for Redis; `cached` for functions, `cache` for endpoints."""

    name = "FastAPI-CacheX"
    package = "fastapi-cachex"
    imports = (
        "from fastapi_cachex import BackendProxy, cache, cached; "
        "from fastapi_cachex.backends import AsyncRedisCacheBackend"
    )

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server)
        from fastapi_cachex import BackendProxy
        from fastapi_cachex.backends import AsyncRedisCacheBackend

        self._backend = AsyncRedisCacheBackend(**_address(server))
        BackendProxy.set(self._backend)

    def cached(self, function: Function) -> Function:
        from fastapi_cachex import CacheManager, cached

        return cached(ttl=TTL, manager=CacheManager(self._backend))(function)

    def app(self, endpoint: Function) -> FastAPI:
        from fastapi_cachex import cache

        app = FastAPI()
        app.get(route(endpoint))(cache(ttl=TTL)(endpoint))
        return app

    def key(self, function: Function) -> Callable[..., object]:
        from fastapi_cachex import cached

        builder: Callable[..., object] = cached(ttl=TTL)(function).cache_key
        return builder

    async def close(self) -> None:
        await self._backend.aclose()


class FastapiRedisSdk(Contender):
    """A dependency for endpoints. For values, get and set of its backend, called by hand."""

    name = package = "fastapi-redis-sdk"
    imports = "from redis_fastapi import CacheBackend, FastAPIRedis, cache"

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server)
        from redis_fastapi import get_settings

        get_settings().url = server.url
        self._client = redis.asyncio.from_url(server.url)

    def cached(self, function: Function) -> Function:
        from redis_fastapi import CacheBackend

        backend = CacheBackend(self._client)

        async def cached(*args: Any, **kwargs: Any) -> Any:
            key = f"{function.__name__}:{args}:{kwargs}"
            value = await backend.get(key)
            if value is None:
                value = await function(*args, **kwargs)
                await backend.set(key, value, ttl=TTL)
            return value

        return cached

    def app(self, endpoint: Function) -> FastAPI:
        from redis_fastapi import FastAPIRedis, cache

        app = FastAPI()
        FastAPIRedis(app).lifespan().caching()
        app.get(route(endpoint), dependencies=[Depends(cache(ttl=TTL))])(endpoint)
        return app

    def key(self, function: Function) -> Callable[..., object]:
        raise CannotError("it builds keys from requests, not from the arguments of a function")

    async def close(self) -> None:
        await self._client.aclose()


PEERS = (Aiocache, Cashews, FastapiCache2, FastapiCacheX, FastapiRedisSdk)


def _address(server: RedisServer) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": server.port,
        "db": server.db,
        "password": server.password,
    }


def _as_json(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Request):
        return [value.method, value.url.path, value.query_params.multi_items()]
    raise TypeError(f"{type(value).__name__} is not known here")
