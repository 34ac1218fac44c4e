"""The file names of a GGUF model in parts: NAME-00001-of-00003.gguf and so on. Source: llama.cpp, tools/gguf-split."""

from __future__ import annotations

import re

_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_MAX_PARTS = 1024


def names_of_parts(name: str) -> list[str]:
    """Of all parts of the model that the file `name` is a part of; itself alone where it is none."""
    match = _NAME.fullmatch(name)
    if match is None or not 1 <= int(match[2]) <= int(match[3]) <= _MAX_PARTS:
        return [name]
    return [f"{match[1]}-{number:05d}-of-{match[3]}.gguf" for number in range(1, int(match[3]) + 1)]
