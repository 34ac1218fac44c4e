"""Opens a model, whatever its format."""

from __future__ import annotations

from pathlib import Path

from ...errors import BadCheckpoint, ConfigError, ModelNotFound
from .checkpoint import Checkpoint


def open_checkpoint(path: Path, *, dummy: bool = False) -> Checkpoint:
    """A GGUF file, or a Hugging Face directory with config.json and *.safetensors.

    A directory of a family that we do not read is opened for transformers' modelling code. Raises ModelNotFound where
    nothing lies, BadCheckpoint for what is damaged or must not be loaded, UnsupportedModel for what no executor runs.
    dummy: random weights; the directory needs no more than config.json (ConfigError for a file).
    """
    path = Path(path)
    if dummy:
        if path.is_file():
            raise ConfigError(
                f"--load-format dummy needs a directory with config.json, not {path}", param="load_format"
            )
        from .dummy import DummyCheckpoint

        return DummyCheckpoint(path)
    if path.is_dir():
        from ..model.foreign_config import is_foreign
        from .json_files import read_json
        from .safetensors import SafetensorsCheckpoint

        if is_foreign(read_json(path / "config.json")):
            from .foreign import ForeignCheckpoint

            return ForeignCheckpoint(path)
        return SafetensorsCheckpoint(path)
    if not path.is_file():
        raise ModelNotFound(f"no model at {path}; give a GGUF file or a directory with config.json", param="model")
    if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"):
        raise BadCheckpoint(f"{path}: pickled weights can run code and are never loaded; use safetensors or GGUF")
    from .gguf import GgufCheckpoint

    return GgufCheckpoint(path)
