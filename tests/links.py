"""The links of Markdown files and of built pages, and the anchors to which they may lead."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

FENCE: Final = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
CODE: Final = re.compile(r"`[^`\n]*`")
INLINE: Final = re.compile(r"\]\((?:<([^>]*)>|([^)\s]*))")
AUTOMATIC: Final = re.compile(r"<(https?:[^>]*)>")
HEADING: Final = re.compile(r"^#{1,6} +(.+?)(?: +#+)?$", re.MULTILINE)
HTML_ANCHOR: Final = re.compile(r'<a (?:id|name)="([^"]+)"')


def links_of(text: str) -> list[str]:
    """Return where the links and pictures of a Markdown file lead."""
    prose = FENCE.sub("", text)
    found = [match[1] or match[2] or "" for match in INLINE.finditer(CODE.sub("``", prose))]
    return [*found, *AUTOMATIC.findall(CODE.sub("``", prose))]


def anchors_of(text: str) -> set[str]:
    """Return the anchors of a Markdown file, as GitHub makes them of its headings."""
    anchors: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in anchors:
            number += 1
        anchors.add(anchor)
    return anchors | set(HTML_ANCHOR.findall(text))


def faults_of(file: Path, root: Path) -> list[str]:
    """Return what is wrong with the links of a Markdown file."""
    text = file.read_text(encoding="utf-8")
    faults = [fault for link in links_of(text) if (fault := _fault(link, file)) is not None]
    return [f"{file.relative_to(root)}: {fault}" for fault in faults]


def _fault(link: str, file: Path) -> str | None:
    parts = urlsplit(link)
    if parts.scheme:
        return None if _has_form(link) else f"{link} is no address"
    target = Path(os.path.normpath(file.parent / unquote(parts.path))) if parts.path else file
    if not target.exists():
        return f"{link} leads nowhere"
    if not parts.fragment:
        return None
    if target.suffix != ".md" or parts.fragment not in anchors_of(target.read_text()):
        return f"{link} leads to no heading"
    return None


def _has_form(link: str) -> bool:
    """Whether an external link could lead somewhere; nobody is asked."""
    parts = urlsplit(link)
    host = parts.hostname or ""
    is_host = host == "localhost" or re.fullmatch(r"[\w-]+(\.[\w-]+)+", host) is not None
    return parts.scheme in ("http", "https") and is_host and not re.search(r"\s", link)


@dataclass
class Page(HTMLParser):
    """A built page: its anchors, where it leads, and what a browser loads for it."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin to read."""
        super().__init__()

    @classmethod
    def of(cls, file: Path) -> "Page":
        """Read a page."""
        page = cls()
        page.feed(file.read_text(encoding="utf-8"))
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag has."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given and tag != "meta"}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(given.get("href", ""))
        elif "src" in given:
            self.loaded.append(given["src"])


def broken_in_site(site: Path) -> Iterator[str]:
    """Yield what is wrong with the links of a built site."""
    pages = {file: Page.of(file) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        if file.name == "404.html":  # its links begin with a slash, as it is served anywhere
            continue
        for link in (*page.links, *page.loaded):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            path = unquote(parts.path)
            target = Path(os.path.normpath(file.parent / path)) if path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                yield f"{file.relative_to(site)}: {link} leads nowhere"
            elif parts.fragment and parts.fragment not in pages[target].anchors | {"__top"}:
                yield f"{file.relative_to(site)}: {link} leads to no anchor"
