"""Links in Markdown: which of them lead nowhere."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

PARSER = MarkdownIt("gfm-like", {"linkify": False})


def dead_links(root: Path, pages: list[Path]) -> list[str]:
    """Relative links of `pages` whose file or heading does not exist below `root`."""
    dead = []
    for page in pages:
        for target in _read(page.read_text(encoding="utf-8"))[0]:
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            path, _, anchor = unquote(target).partition("#")
            linked = (page.parent / path).resolve() if path else page
            inside = linked.is_relative_to(root.resolve()) and not path.startswith("/")
            if not inside or not linked.exists():
                dead.append(f"{page.relative_to(root)}: {target}")
            elif anchor and linked.suffix == ".md" and anchor not in anchors(linked):
                dead.append(f"{page.relative_to(root)}: {target} (no such heading)")
    return dead


def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub and GitLab give to the headings of `page`."""
    return _read(page.read_text(encoding="utf-8"))[1]


@cache
def _read(text: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Targets and anchors of a page: projects share most pages, and each is linked often."""
    tokens = PARSER.parse(text)
    return tuple(_links(tokens)), frozenset(_anchors(tokens))


def _anchors(tokens: list[Token]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for heading, inline in pairwise(tokens):
        if heading.type != "heading_open":
            continue
        text = "".join(part.content for part in inline.children or ())
        slug = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
        yield f"{slug}-{seen[slug]}" if seen[slug] else slug
        seen[slug] += 1


def _links(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        target = token.attrGet("href") or token.attrGet("src")
        if target:
            yield str(target)
        yield from _links(token.children or [])
