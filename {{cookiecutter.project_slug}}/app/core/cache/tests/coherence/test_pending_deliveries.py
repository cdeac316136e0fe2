"""What is pending takes one slot, and stays until it has been delivered (promise P6)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection

import pytest

from ...coherence.pending import PendingInvalidations
from ...errors import UnavailableError
from ...keys.patterns import KeyPattern
from ..faults import eventually


class Deliveries:
    """Takes what is delivered, which may fail or be held up."""

    def __init__(self) -> None:
        self.made: list[set[str]] = []
        self.fails = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def take(self, patterns: Collection[KeyPattern]) -> None:
        self.made.append(set(map(str, patterns)))
        await self.go_on.wait()
        if self.fails:
            raise UnavailableError("not now")


def journal_of(deliveries: Deliveries) -> PendingInvalidations:
    """Make a journal that delivers there."""
    return PendingInvalidations(
        deliveries.take,
        KeyPattern(("app:", "")),
        logger=logging.getLogger(__name__),
        listener=lambda _: None,
    )


@pytest.fixture
async def journal() -> AsyncIterator[tuple[PendingInvalidations, Deliveries]]:
    """Lend a journal, and where it delivers to."""
    deliveries = Deliveries()
    journal = journal_of(deliveries)
    yield journal, deliveries
    await journal.close()


async def test_p6_the_same_again_takes_no_second_slot(
    journal: tuple[PendingInvalidations, Deliveries],
) -> None:
    """And is delivered once: all keys together, and each pattern."""
    kept, deliveries = journal
    for _ in range(3):
        kept.add([KeyPattern(("app:a",)), KeyPattern(("app:b",)), KeyPattern(("app:c", ""))])
    assert len(kept) == 3
    await kept.deliver()
    assert deliveries.made == [{"app:a", "app:b"}, {"app:c*"}]
    assert len(kept) == 0


async def test_p6_what_comes_during_a_delivery_is_delivered_after_it(
    journal: tuple[PendingInvalidations, Deliveries],
) -> None:
    """Even if it is the same: the delivery under way may have been too early for it."""
    kept, deliveries = journal
    deliveries.go_on.clear()
    kept.add([KeyPattern(("app:a",))])
    delivering = asyncio.create_task(kept.deliver())
    await eventually(lambda: deliveries.made)
    kept.add([KeyPattern(("app:a",))])
    deliveries.go_on.set()
    await delivering
    assert deliveries.made == [{"app:a"}] * 2
    assert len(kept) == 0


async def test_p6_what_was_not_delivered_stays(
    journal: tuple[PendingInvalidations, Deliveries],
) -> None:
    """It is tried again by itself until it is."""
    kept, deliveries = journal
    deliveries.fails = True
    kept.add([KeyPattern(("app:a",))])
    await eventually(lambda: len(deliveries.made) == 2)
    assert kept.covers("app:a")
    assert not kept.covers("app:b")
    deliveries.fails = False
    await eventually(lambda: not kept.covers("app:a"))


def test_p6_a_loop_that_ends_loses_nothing() -> None:
    """Another one delivers it as soon as somebody asks."""
    deliveries = Deliveries()
    kept = journal_of(deliveries)

    async def add() -> None:
        kept.add([KeyPattern(("app:a",))])

    async def ask() -> None:
        await eventually(lambda: not kept.covers("app:a"))

    asyncio.run(add())
    asyncio.run(ask())
    assert deliveries.made == [{"app:a"}]
