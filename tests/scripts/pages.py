"""The README and the pages beside the files that they are about: their fenced blocks and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = "README.md"
PAGES = (
    README,
    *sorted(
        str(path.relative_to(ROOT))
        for pattern in ("jobs/README.md", "jobs/configs/README.md", "ray_autointerp/*/README.md")
        for path in ROOT.glob(pattern)
    ),
)
EXTENSIONS = ("ray_autointerp/prompts/README.md", "ray_autointerp/stages/README.md")
"""Pages whose blocks are files and changes of the package."""

_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_FILE = re.compile(r"`(ray_autointerp/[\w./]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    file: str | None
    """The file that the paragraph before it begins with, or before the blocks that it follows."""

    @property
    def place(self) -> str:
        """Where it stands, for a test's name."""
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    """A page's Markdown."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str, *languages: str) -> Iterator[Block]:
    """The page's blocks in these languages, or all, in their order."""
    text, end, file = text_of(page), 0, None
    for found in _FENCED.finditer(text):
        before = text[end : found.start()].strip()
        if before:
            named = _FILE.match(before.rpartition("\n\n")[2])
            file = named[1] if named else None
        end = found.end()
        if not languages or found[1] in languages:
            line = text.count("\n", 0, found.start()) + 1
            yield Block(page, line, found[1], found[2], file)


def all_blocks(*languages: str) -> list[Block]:
    """The blocks of every page."""
    return [block for page in PAGES for block in blocks_of(page, *languages)]


def anchors(page: str) -> set[str]:
    """The ids that a page's headings get, as GitHub makes them."""
    text = _FENCED.sub("", text_of(page))
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
