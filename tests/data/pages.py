"""Fenced blocks of Markdown pages, and the commands in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the line that stands before it."""

    page: Path
    line: int
    language: str
    text: str
    before: str

    def __str__(self) -> str:
        return f'{self.page.relative_to(ROOT)}:{self.line}'


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding='utf-8')
    found = []
    for match in re.finditer(r'^( *)```(\w+)\n(.*?)^\1```$', text, re.DOTALL | re.MULTILINE):
        line = text.count('\n', 0, match.start()) + 1
        before = text[: match.start()].splitlines(keepends=True)[-1:]
        found.append(Block(page, line, match[2], match[3], ''.join(before)))
    return found


def commands(text: str) -> list[str]:
    """The commands of a bash block, those of several lines (``\\``, ``for``) as one string."""
    lines = re.findall(r'^for .*?^done$|^(?:[^\n]*\\\n)*[^\n]*$', text, re.DOTALL | re.MULTILINE)
    joined = (re.sub(r'\s*\\\n\s*', ' ', line) for line in lines)
    plain = (re.sub(r'(^|\s+)#\s.*', '', line) for line in joined)
    return [line for line in plain if line.strip()]
