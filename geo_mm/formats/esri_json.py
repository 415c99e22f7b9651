"""Esri's JSON of models and training sets, read defensively.

Templates of its tools are met as files: ``"e.g. 256"`` stands where a number should,
classes lack a value, colours are -1.
"""

import json
import math
from typing import Any

from geo_mm.classes import Colour


def parsed(content: bytes) -> dict:
    """The object in a JSON file; empty if there is none, or none that can be read."""
    try:
        data = json.loads(content.decode('utf-8-sig', errors='replace'))
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def as_list(value: Any) -> list:
    return value if isinstance(value, list) else []


def as_dicts(value: Any) -> list[dict]:
    return [item for item in as_list(value) if isinstance(item, dict)]


def as_number(value: Any) -> float | None:
    """A finite number, also one that is written as text."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def as_integer(value: Any) -> int | None:
    """The same without its fraction."""
    found = as_number(value)
    return None if found is None else int(found)


def as_text(value: Any) -> str:
    """A text that is filled in, without control characters; else ''."""
    if not isinstance(value, str) or value.startswith('e.g.'):
        return ''
    return ''.join(sign for sign in value if sign.isprintable()).strip()


def classes_of(*documents: dict) -> tuple[dict[int, str], dict[str, Colour]]:
    """Class name of each value, and colours by class name.

    Args:
        documents: Objects with ``Classes``, of which the last counts where they differ.
    """
    names: dict[int, str] = {}
    colours: dict[str, Colour] = {}
    for data in documents:
        for item in as_dicts(data.get('Classes')):
            value = as_integer(item.get('Value', item.get('ClassValue')))
            name = item.get('Name', item.get('ClassName'))
            if value is None:
                continue
            names[value] = str(name).strip() if name not in (None, '') else str(value)
            parts = [as_integer(part) for part in as_list(item.get('Color'))]
            match [part for part in parts if part is not None and 0 <= part < 256]:
                case [red, green, blue]:  # others, such as -1, stand for no colour
                    colours[names[value]] = (red, green, blue)
    return names, colours
