"""Build the site of the documents into `.build/site`: `make docs`.

The pages of `docs/` are copied, and the reference that lies beside the code. Links between them are
made links of the site. A link to a file that is no page becomes its text.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TEMPLATE: Final = "{{cookiecutter.project_slug}}"
CACHE: Final = f"{TEMPLATE}/app/core/cache"

Nav = dict[str, "str | Nav"]

NAV: Final[Nav] = {
    "Home": "docs/index.md",
    "Tutorial": "docs/tutorial.md",
    "Questions": {
        "Per user and per tenant": "docs/per-user.md",
        "Tags or patterns": "docs/tags.md",
        "Redis down": "docs/redis-down.md",
        "Stale, early, background": "docs/stale.md",
        "A 404": "docs/not-found.md",
        "A stream": "docs/streams.md",
        "Webhooks and jobs": "docs/jobs.md",
        "Scripts, several caches": "docs/scripts.md",
        "Sentinel, Cluster, TLS": "docs/topologies.md",
        "Testing": "docs/testing.md",
        "A backend of your own": "docs/backends.md",
        "Tuning and cost": "docs/tuning.md",
        "The protocol": "docs/protocol.md",
        "What goes wrong": "docs/faq.md",
    },
    "Adopt": "docs/adopt.md",
    "Migrate": "docs/migrate/*.md",
    "Reference": {
        "The module": f"{CACHE}/README.md",
        "Docstrings": "docs/reference.md",
        "Subjects": f"{CACHE}/docs/*.md",
        "Architecture": f"{CACHE}/ARCHITECTURE.md",
    },
    "Project": {
        "Benchmarks": "benchmarks/results.md",
        "Decisions": "DECISIONS.md",
        "Developing": "DEVELOPING.md",
        "Changes": "CHANGELOG.md",
    },
}
"""What the site has, by its title: a file, or all of a folder. What does not exist is left out."""

_FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(
    r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?:<(?P<inside>[^>]+)>|(?P<bare>[^)\s]+))\)"
)
"""A link of Markdown: its text, and where it leads."""


def main() -> None:
    """Build the site; the first fault ends it with an exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--build", type=Path, default=ROOT / ".build", help="the folder to use")
    build = parser.parse_args().build.resolve()
    for folder in ("docs", "docs-code", "site"):
        shutil.rmtree(build / folder, ignore_errors=True)
    copy_pages(build / "docs")
    # The tool for docstrings cannot be led to a path with braces.
    unwanted = shutil.ignore_patterns("__pycache__", "tests")
    shutil.copytree(ROOT / CACHE, build / "docs-code/app/core/cache", ignore=unwanted)
    config = (ROOT / "docs/zensical.toml").read_text(encoding="utf-8")
    config = config.replace("nav = []", f"nav = {as_toml(list(navigation(NAV)))}", 1)
    (build / "zensical.toml").write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    sys.exit(subprocess.run(command, cwd=build, check=False).returncode)


def pages() -> dict[Path, str]:
    """Return where each page of the repository is in the site."""
    return {ROOT / file: place(file) for file in _files(NAV)}


def _files(nav: Nav) -> Iterator[str]:
    for entry in nav.values():
        if isinstance(entry, str):
            yield from (str(file.relative_to(ROOT)) for file in sorted(ROOT.glob(entry)))
        else:
            yield from _files(entry)


def place(file: str) -> str:
    """Return the name that a file of the repository has in the site."""
    if file.startswith("docs/"):
        return file.removeprefix("docs/")
    if file.startswith(CACHE):
        name = file.removeprefix(f"{CACHE}/").removeprefix("docs/").lower()
        return f"cache/{name.replace('readme.md', 'index.md')}"
    return f"project/{file.replace('/', '-').lower()}"


def navigation(nav: Nav) -> Iterator[dict[str, object] | str]:
    """Yield the navigation, without what does not exist."""
    for title, entry in nav.items():
        if not isinstance(entry, str):
            yield {title: list(navigation(entry))}
            continue
        found = [place(str(file.relative_to(ROOT))) for file in sorted(ROOT.glob(entry))]
        if found:
            yield {title: found if "*" in entry else found[0]}


def as_toml(value: object) -> str:
    """Write lists, dictionaries and texts as TOML."""
    if isinstance(value, dict):
        pairs = [f"{json.dumps(key)} = {as_toml(each)}" for key, each in value.items()]
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    return json.dumps(value)


def copy_pages(to: Path) -> None:
    """Copy all pages, with links of the site, and the pictures in them."""
    known = pages()
    for page, name in known.items():
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = page.read_text(encoding="utf-8")
        target.write_text(with_links(text, page, known, to), encoding="utf-8")
    shutil.copy(ROOT / "docs/site.css", to)


def with_links(text: str, page: Path, known: dict[Path, str], to: Path) -> str:
    """Return the text of a page with its links as the site needs them; code stays as it is."""

    def of_the_site(match: re.Match[str]) -> str:
        link = match["inside"] or match["bare"]
        path, mark, anchor = link.partition("#")
        if "://" in link or not path:
            return match[0]
        file = Path(os.path.normpath(page.parent / path))
        if not file.exists():
            sys.exit(f"{page}: the link to {link} leads nowhere")
        if match["image"]:
            shutil.copy(file, to / file.name)
            name = file.name
        elif file in known:
            name = known[file]
        else:
            return match["text"]
        there = os.path.relpath(name, Path(known[page]).parent)
        return f"{match['image']}[{match['text']}]({there}{mark}{anchor})"

    parts: list[str] = []
    end = 0
    for fence in _FENCE.finditer(text):
        parts += [LINK.sub(of_the_site, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(of_the_site, text[end:])])


if __name__ == "__main__":
    main()
