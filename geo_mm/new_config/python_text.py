"""Python text of configs: values and nested settings, laid out as ruff formats them."""

import re
from collections.abc import Mapping
from typing import Any

LINE = 100
"""Longest line of a config."""

_WORD = re.compile(r'[A-Za-z_]\w*')


class Code(str):
    """A piece of Python that stands in a config as it is, such as ``len(bands)``."""


def assignment(name: str, value: Any, why: str = '') -> str:
    """A line ``name = value  # why``; the reason stands above what does not fit into a line."""
    text = f'{name} = {literal(value, used=len(name) + 3)}'
    remark = f'  # {why}' if why else ''
    if '\n' not in text and len(text + remark) <= LINE:
        return f'{text}{remark}\n'
    return f'{comment(why)}{text}\n'


def comment(text: str) -> str:
    """Lines of a comment; none for no text."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) + 3 <= LINE:
            lines[-1] += f' {word}'
        else:
            lines.append(word)
    return ''.join(f'# {line}\n' for line in lines)


def literal(value: Any, indent: int = 0, used: int = 0) -> str:
    """A value as Python: on one line if it fits, else one item per line.

    Args:
        value: Numbers, texts, :class:`Code`, None, and lists, tuples and
            mappings of such.
        indent: Of the line that it begins on.
        used: Characters on that line before the value, without the indent.
    """
    short = _one_line(value)
    if indent + used + len(short) < LINE or not isinstance(value, Mapping | list | tuple):
        return short
    pad = ' ' * (indent + 4)
    if isinstance(value, Mapping):
        opening, closing = _brackets(value)
        items = [
            f'{label}{literal(item, indent + 4, len(label))}'
            for label, item in ((_label(key, value), item) for key, item in value.items())
        ]
    else:
        opening, closing = '[]' if isinstance(value, list) else '()'
        items = [literal(item, indent + 4) for item in value]
    return f'{opening}\n' + ''.join(f'{pad}{item},\n' for item in items) + ' ' * indent + closing


def _one_line(value: Any) -> str:
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, float):
        return f'{value:.12g}'
    if isinstance(value, Mapping):
        opening, closing = _brackets(value)
        items = [f'{_label(key, value)}{_one_line(item)}' for key, item in value.items()]
        return f'{opening}{", ".join(items)}{closing}'
    if isinstance(value, list | tuple):
        opening, closing = '[]' if isinstance(value, list) else '()'
        comma = ',' if isinstance(value, tuple) and len(value) == 1 else ''
        return f'{opening}{", ".join(map(_one_line, value))}{comma}{closing}'
    return repr(value)


def _brackets(value: Mapping) -> tuple[str, str]:
    """``dict(key=...)`` where all keys are words, as configs are written, else ``{...}``."""
    return ('dict(', ')') if _are_words(value) else ('{', '}')


def _label(key: Any, value: Mapping) -> str:
    return f'{key}=' if _are_words(value) else f'{key!r}: '


def _are_words(value: Mapping) -> bool:
    return bool(value) and all(isinstance(key, str) and _WORD.fullmatch(key) for key in value)
