"""Scenes from the life of processes, threads and event loops that share one cache manager.

The scene that is named on the command line is played in an installed project, whose settings say
where Redis is. It prints what it has seen as JSON, in a line.
"""

import asyncio
import gc
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from importlib import import_module
from typing import Any, Final

from app.core.cache import (  # type: ignore[import-not-found] # of the project that it runs in
    cache_response,
    get_cache_manager,
)
from app.main import app  # type: ignore[import-not-found]
from redis import Redis

CLIENTS: Final = import_module("fastapi.testclient")  # of the project, too
CACHE: Final = get_cache_manager()
"""Made when this was imported, before there was an event loop or a fork."""
CALLERS: Final = 8
CALLS: Final = 40
PATIENCE: Final = 20.0
FORK: Final = multiprocessing.get_context("fork")

runs: list[str] = []


@cache_response(CACHE, "life", key="{name}")  # type: ignore[untyped-decorator]
async def computed(name: str) -> str:
    """Return what a name stands for, and note that it was computed here."""
    runs.append(name)
    return f"computed for {name}"


def connected() -> int:
    """Return how many connections the server has, besides the one that asks."""
    with Redis(host=os.environ["REDIS_HOST"], port=int(os.environ["REDIS_PORT"])) as client:
        return len(client.client_list()) - 1


async def use(name: str) -> list[str]:
    """Use the cache with many calls at once, on keys of this name; return what was wrong."""
    wrong: list[str] = []

    async def call(caller: int) -> None:
        for number in range(CALLS):
            key = f"{name}:{caller}:{number}"
            if not await CACHE.set(key, key):
                wrong.append(f"{key} was not set")
            found = await CACHE.get(key)
            if found != key:
                wrong.append(f"{key} is {found}")
            if await computed(key) != f"computed for {key}" or await computed(key) is None:
                wrong.append(f"{key} was computed to something else")

    await asyncio.gather(*(call(caller) for caller in range(CALLERS)))
    if len(runs) != len(set(runs)):
        wrong.append("something was computed twice")
    return wrong


async def use_and_close(name: str) -> list[str]:
    """Do that, and close the cache."""
    wrong = await use(name)
    await CACHE.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    return wrong + [f"a task was left: {task}" for task in left]


async def is_well() -> None:
    """Wait until the cache stores something, and holds nothing back."""
    async with asyncio.timeout(PATIENCE):
        while not await CACHE.set("well", "yes") or CACHE.invalidations.pending:  # noqa: ASYNC110 - Redis gives no event for this
            await asyncio.sleep(0.05)


def say(text: str) -> None:
    """Tell the test something, in a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def ask(what: str) -> None:
    """Have the test do something."""
    say(what)
    sys.stdin.readline()


def child(work: Callable[[], Coroutine[Any, Any, list[str]]]) -> Callable[[], list[str]]:
    """Start a fork that does this; return what waits for it and returns what was wrong."""
    answers: Any = FORK.SimpleQueue()

    def do() -> None:
        answers.put(asyncio.run(work())[:10])

    process = FORK.Process(target=do)
    process.start()

    def end() -> list[str]:
        process.join(PATIENCE)
        if process.exitcode != 0:
            process.kill()
            return [f"a child ended with {process.exitcode}"]
        wrong: list[str] = answers.get()
        return wrong

    return end


def forks_after_import() -> list[str]:
    """Fork before anything was used, as a server does that loads the application first."""
    children = [child(partial(use_and_close, f"child {number}")) for number in range(2)]
    wrong = asyncio.run(use_and_close("parent"))
    for end in children:
        wrong += end()
    return wrong + asyncio.run(use_and_close("parent again"))


def forks_while_it_is_used() -> list[str]:
    """Fork in the middle of calls: the child has copies of connections that are in use."""

    async def parent() -> list[str]:
        await use("before")
        using = asyncio.create_task(use("meanwhile"))
        await asyncio.sleep(0)
        ends = [child(partial(use_and_close, f"child {number}")) for number in range(2)]
        wrong = await using
        for end in ends:
            wrong += await asyncio.to_thread(end)
        return wrong + await use_and_close("afterwards")

    return asyncio.run(parent())


def forks_while_redis_is_away() -> list[str]:
    """Fork while the circuit breaker is open and an invalidation waits to be delivered."""

    async def parent() -> list[str]:
        await is_well()
        await asyncio.to_thread(ask, "kill Redis")
        for _ in range(5):
            await CACHE.delete("key")
        end = child(recovered)
        await asyncio.to_thread(ask, "start Redis")
        wrong = await asyncio.to_thread(end)
        return wrong + await recovered()

    async def recovered() -> list[str]:
        await is_well()
        return await use_and_close(f"process {os.getpid()}")

    return asyncio.run(parent())


def loops_one_after_another() -> list[str]:
    """Use it from one event loop after the other, and close it each time."""
    wrong = []
    for number in range(10):
        wrong += asyncio.run(use_and_close(f"loop {number}"))
    return wrong


def loops_that_end_without_a_word() -> list[str]:
    """Use it from one event loop after the other, and never close it but in the last."""
    wrong = []
    for number in range(10):
        wrong += asyncio.run(use(f"loop {number}"))
    wrong += asyncio.run(use_and_close("the last"))
    gc.collect()  # which connections of the others are by now
    return wrong


def loops_in_threads() -> list[str]:
    """Use it from event loops in several threads at once."""
    wrong: list[str] = []

    def do(number: int) -> None:
        wrong.extend(asyncio.run(use_and_close(f"thread {number}")))

    threads = [threading.Thread(target=do, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def clients_one_after_another() -> list[str]:
    """Start and stop the application, with an event loop of its own each time."""
    wrong = []
    for number in range(3):
        with CLIENTS.TestClient(app) as client:
            user = {"name": "Ada", "email": f"ada-{number}@example.com"}
            path = f"/users/{client.post('/users', json=user).json()['id']}"
            seen = [client.get(path).headers["Cache-Status"] for _ in range(2)]
            if not (seen[0].endswith("; fwd=miss; stored") and "; hit; ttl=" in seen[1]):
                wrong.append(f"time {number}: {seen}")
        if connected():
            wrong.append(f"time {number}: {connected()} connections are left")
    return wrong


SCENES: Final = {
    scene.__name__: scene
    for scene in (
        *(forks_after_import, forks_while_it_is_used, forks_while_redis_is_away),
        *(loops_one_after_another, loops_that_end_without_a_word, loops_in_threads),
        clients_one_after_another,
    )
}


if __name__ == "__main__":
    wrong = SCENES[sys.argv[1]]()
    say(json.dumps({"wrong": wrong, "connected": connected()}))
