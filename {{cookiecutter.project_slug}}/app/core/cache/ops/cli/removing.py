"""`invalidate`, `tag` and `clear`: what removes entries, after a question."""

import asyncio
import signal
import sys

from ...coherence import Removal
from ...errors import UnavailableError
from ..content import visible
from .looking import argument
from .output import ENTRIES, number_of
from .refused import RefusedError
from .session import DONE, NOT_DONE, Session

_STEP = 500  # keys between two words of progress


async def invalidate(session: Session, *, pattern: str, yes: bool) -> int:
    """Remove the entries whose keys a pattern matches."""
    pattern = argument(pattern)
    shown = f"{session.manager.key_prefix}:{pattern}"
    if not yes:
        insist_on_terminal()
        number = await _counted(session, pattern)
        if not _is_wanted(session, f"Remove {number_of(number, *ENTRIES)} that match {shown}?"):
            return NOT_DONE
    with session.out.progress(f"removing {shown}"):
        removal = await session.manager.invalidate(pattern)
    if not removal.done:
        await _away(session)
    return _done(
        session, f"removed {_removed(removal, *ENTRIES)} that match {shown}", removal.number
    )


async def tag(session: Session, *, name: str, yes: bool) -> int:
    """Invalidate the entries that have a tag."""
    name = argument(name)
    if not yes:
        insist_on_terminal()
        if not _is_wanted(session, f"Invalidate all entries with the tag {name}?"):
            return NOT_DONE
    if not await session.manager.invalidate_tags(name):
        await _away(session)
    return _done(session, f"invalidated all entries with the tag {name}", None)


async def clear(session: Session, *, yes: bool) -> int:
    """Remove all entries."""
    shown = f"{session.manager.key_prefix}:*"
    if not yes:
        insist_on_terminal()
        number = await _counted(session, "*")
        if not _is_wanted(
            session, f"Remove {number_of(number, *ENTRIES)}, all of {shown}, in {session.where}?"
        ):
            return NOT_DONE
    with session.out.progress(f"removing {shown}"):
        removal = await session.manager.invalidate("*")
    if not removal.done:
        await _away(session)
    return _done(session, f"removed {_removed(removal, 'key')}, all of {shown}", removal.number)


def _removed(removal: Removal, *words: str) -> str:
    return "all" if removal.number is None else number_of(removal.number, *words)


def insist_on_terminal() -> None:
    """Raise `RefusedError` if nobody can answer a question."""
    if not sys.stdin.isatty():
        raise RefusedError("this removes entries, and nobody can be asked here: say --yes")


async def _counted(session: Session, pattern: str) -> int:
    number, shown = 0, f"counting {session.manager.key_prefix}:{pattern}"
    with session.out.progress(shown) as progress:
        async for _ in session.manager.keys(pattern):
            number += 1
            if number % _STEP == 0:
                progress.tell(f"{shown}: {number}")
    return number


def _is_wanted(session: Session, question: str) -> bool:
    """Ask a question on stderr; only `y` and `yes` are a yes."""
    # The event loop is held up meanwhile, and so would be its way to end a task at Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise KeyboardInterrupt
        session.out.errors.print(visible(f"{question} [y/N] "), end="")
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, before)


async def _away(session: Session) -> None:
    """Raise `UnavailableError`, with what the server says."""
    await session.insist_on_server()
    raise UnavailableError("it was not done, and this process keeps nothing for later")


def _done(session: Session, text: str, removed: int | None) -> int:
    session.out.line(text)
    session.out.json(is_done=True, removed=removed)
    return DONE
