"""`version`: the version of this folder, and whether it differs from the release."""

from pathlib import Path

from ..release import differences, version_of
from .session import DONE, NOT_DONE, Session

FOLDER = Path(__file__).resolve().parents[2]


async def version(session: Session) -> int:
    """Tell the version, and the files that differ from those of the release."""
    number, found, out = version_of(FOLDER), differences(FOLDER), session.out
    state = "not a release" if found is None else "differs" if found else "as released"
    out.json(version=number, state=state, **({} if found is None else found._asdict()))
    out.line((number, "bold"), f", {state}")
    if found is None:
        return DONE
    for what, paths in found._asdict().items():
        for path in paths:
            out.line((f"{what:>8}  ", "yellow"), path)
    return NOT_DONE if found else DONE
