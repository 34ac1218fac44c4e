"""JSON of a model's directory, which comes from strangers: its size, its depth and its keys are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import BadCheckpoint, ModelNotFound
from .pages import unreadable

MAX_JSON = 1 << 24
"""Bytes of config.json and of a shard index."""


def read_json(path: Path) -> dict[str, object]:
    """A JSON object of a model's directory. Raises ModelNotFound where there is none, BadCheckpoint for a bad one."""
    found = read_json_if_there(path)
    if found is None:
        raise ModelNotFound(f"{path.parent} has no {path.name}: not a model's directory", param="model")
    return found


def read_json_if_there(path: Path) -> dict[str, object] | None:
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > MAX_JSON:
            raise bad(path, f"more than {MAX_JSON} bytes")
        return parse_json(path, path.read_bytes(), path.name)
    except OSError as error:
        raise unreadable(path, error) from None


def bad(path: Path, what: str) -> BadCheckpoint:
    return BadCheckpoint(f"{path}: {what}. The file is damaged or not a model; download it again")


def parse_json(path: Path, text: bytes, what: str) -> dict[str, Any]:
    """A JSON object in UTF-8 without repeated keys and half surrogate pairs; BadCheckpoint for anything else, however
    deep."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise bad(path, f"{what} names a key twice")
        return found

    try:
        found = json.loads(str(text, "utf-8-sig"), object_pairs_hook=unique)
        if b"\\ud" in text or b"\\uD" in text:
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise bad(path, f"{what} is nested too deeply") from None
    except ValueError as error:
        raise bad(path, f"{what} is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise bad(path, f"{what} is not an object")
    return found
