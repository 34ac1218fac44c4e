"""Models of the Hugging Face hub; the library is an extra and is imported when a hub id is asked for."""

from __future__ import annotations

from pathlib import Path

from ...errors import ModelError, ModelNotFound
from ..weights.part_names import names_of_parts

_WANTED = ["*.json", "*.safetensors", "*.jinja"]
"""What is read of a repository; pickled weights are left where they are."""


def fetch_from_hub(repository: str, file: str | None = None, *, progress: bool = True) -> Path:
    """The local snapshot of a repository, or the one GGUF file that is named, with all parts of its model.

    HF_HUB_OFFLINE and the other variables of huggingface_hub are honoured. Raises ModelError without the library or the
    network, ModelNotFound for an unknown repository or file, or a repository of GGUF files of which none is named.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        raise ModelError(
            f"{repository} is a hub id, for which huggingface_hub is needed: pip install 'radixlang[hf]'"
        ) from None
    unknown = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError)
    if not progress:
        disable_progress_bars()
    try:
        if file is not None:
            paths = [huggingface_hub.hf_hub_download(repository, name) for name in names_of_parts(file)]
            return Path(paths[0])
        folder = Path(huggingface_hub.snapshot_download(repository, allow_patterns=_WANTED))
    except errors.LocalEntryNotFoundError as error:  # offline, or no connection
        raise _unreachable(repository, error) from None
    except errors.EntryNotFoundError:
        raise ModelNotFound(f"{repository} has no file {file or 'config.json'} on the hub", param="model") from None
    except unknown:
        raise ModelNotFound(
            f"no model {repository!r} on the hub, or it is not open to you; log in with `hf auth login`", param="model"
        ) from None
    except Exception as error:  # the library's own errors, those of its HTTP client, and a full disk
        raise _unreachable(repository, error) from None
    if not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"{repository} has no config.json; of a repository of GGUF files name one: {repository}/FILE.gguf",
            param="model",
        )
    return folder


def _unreachable(repository: str, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    return ModelError(
        f"{repository} could not be fetched from the hub: {reason.rstrip('.')}. Check the network, or give a local path"
    )
