"""From what a user calls a model to where it lies."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import BadCheckpoint, ModelNotFound
from ..weights.part_names import names_of_parts
from .files import folder_of, is_name, is_verified
from .known import KNOWN_MODELS, WheelModel

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_HUB_ID = re.compile(rf"({_PART}/{_PART})(?:/({_PART}\.gguf))?")


def resolve_model(model_path: str, progress: bool = True) -> Path:
    """A GGUF file or a directory with config.json.

    `model_path`: a name of the store (known ones are fetched once), a GGUF file, a Hugging Face directory, a hub id
    ("organisation/model") or a GGUF file of the hub ("organisation/model/file.gguf"). Raises ModelNotFound, or
    ModelError where a model cannot be fetched.
    """
    if model_path in KNOWN_MODELS:
        return _known(KNOWN_MODELS[model_path], progress)
    if is_name(model_path) and folder_of(model_path).is_dir():
        return model_inside(folder_of(model_path))
    try:
        path = Path(model_path).expanduser()
        if path.is_dir():
            return model_inside(path)
        if path.exists():
            return path
    except (OSError, ValueError, RuntimeError) as error:  # too long a name, a NUL in it, no permission, no such ~user
        raise ModelNotFound(f"no model at {model_path[:200]!r}: {error}", param="model") from None
    hub = _HUB_ID.fullmatch(model_path)
    if hub is not None:
        from .hub import fetch_from_hub

        return fetch_from_hub(hub[1], hub[2], progress=progress)
    names = ", ".join(sorted(KNOWN_MODELS))
    raise ModelNotFound(
        f"no model {model_path[:200]!r}: give a name ({names}), a GGUF file, a directory with config.json, or a hub id",
        param="model",
    )


def _known(model: WheelModel, progress: bool) -> Path:
    path = folder_of(model.name) / model.filename
    if is_verified(path, model.size, model.sha256):
        return path
    from .fetch import fetch  # what a download needs is imported for a download

    return fetch(model, progress=progress)


def model_inside(folder: Path) -> Path:
    """The folder itself if it is a Hugging Face one, else the one GGUF file in it, or the first part of one."""
    if (folder / "config.json").is_file():
        return folder
    files = sorted(path for path in folder.glob("*.gguf") if path.is_file())
    if len(files) == 1 or (files and [file.name for file in files] == names_of_parts(files[0].name)):
        return files[0]
    if files:
        raise BadCheckpoint(f"{folder} holds {len(files)} GGUF files; give the path of one of them", param="model")
    raise ModelNotFound(
        f"{folder} holds neither config.json nor a GGUF file; give the folder or file of a model", param="model"
    )
