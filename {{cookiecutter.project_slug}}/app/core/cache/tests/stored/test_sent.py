"""What is stored of a response that was sent, and is damaged (promise P9)."""

import pytest
from fastapi import APIRouter

from ... import (
    CacheManager,
)
from ..endpoints import (
    Endpoint,
    application,
    get,
    one_item,
    sent,
)
from ..forging import resealed

HEAD = b"200\\ncontent-length: 3\\ncontent-type: application/json"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (HEAD, HEAD.replace(b"200", b"20")),
        (HEAD, HEAD.replace(b"200", b"204")),
        (HEAD, HEAD.replace(b"200", b"101")),
        (HEAD, HEAD.replace(b"200", b"9" * 5000)),
        (HEAD, HEAD.replace(b"200", b"x")),
        (HEAD, HEAD.replace(b"length: 3", b"length: 4")),
        (HEAD, HEAD.replace(b"length: 3", b"length: 3\\ncontent-length: 3")),
        (HEAD, HEAD.replace(b"content-length: 3\\n", b"")),
        (HEAD, HEAD + b"\\nset-cookie: a=b"),
        (HEAD, HEAD + b"\\nTransfer-Encoding: chunked"),
        (HEAD, HEAD + b"\\nx y: a"),
        (HEAD, HEAD + b"\\nx: a\\r\\ny: b"),
        (HEAD, HEAD + b"\\nx: \\u0000"),
        (HEAD, HEAD + b"\\nx: \\u20ac"),
        (HEAD, HEAD + b"\\nx"),
        (HEAD, HEAD + b"\\n: x"),
        (b'"' + HEAD + b'"', b"7"),
        (b'"' + HEAD + b'"', b"[]"),
        (b'"head"', b'"hat"'),
        (b'"form":"', b'"form":"0'),
        (b'"form":', b'"form":[],"more":'),
        (b"\n[1]", b"\n[1"),
        (b'{"', b'{"injected":[0,{}],"'),
        (b'{"', b'{"injected":[null,{"x":["a\\r\\nb"]}],"'),
        (b'{"', b'{"injected":[null,{"x y":["a"]}],"'),
        (b'{"', b'{"injected":[null,{"x":7}],"'),
        (b'{"', b'{"injected":[null,7],"'),
        (b'{"', b'{"tags":{"other:key":"1"},"'),
        (b'{"', b'{"tags":{"other:key":{}},"'),
        (b'{"', b'{"tags":[["other:key"],["1"]],"'),
        (b'{"', b'{"tags":7,"'),
        (b'{"', b'{"until":"x","'),
        (b'{"', b'{"until":1,"cost":' + b"9" * 400 + b',"'),
    ],
)
async def test_p9_damage_in_what_was_sent_is_a_miss(
    our_manager: CacheManager, old: bytes, new: bytes
) -> None:
    """The function runs again, and the client sees no error and none of it."""
    endpoint = Endpoint(our_manager)
    app = application(list_one, endpoint)
    expected = sent(await get(app))
    data = await endpoint.stands()
    key = f"{our_manager.key_prefix}:{endpoint.function.cache_key()}"
    assert data is not None
    assert old in data
    await our_manager.backend.set_bytes(key, resealed(data.replace(old, new, 1)))
    for _ in range(2):
        assert sent(await get(app)) == expected
    assert (endpoint.runs, await endpoint.kind()) == (2, "sent")


def list_one(router: APIRouter, endpoint: Endpoint) -> None:
    router.get("/it")(endpoint(one_item))
