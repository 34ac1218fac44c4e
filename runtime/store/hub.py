"""Models of the Hugging Face hub; the library is an extra and is imported when a hub id is asked for."""

from __future__ import annotations

from pathlib import Path

from ...errors import ModelError, ModelNotFound

_WANTED = ["*.json", "*.safetensors", "*.jinja"]
"""What is read of a repository; pickled weights are left where they are."""


def fetch_from_hub(repository: str, *, progress: bool = True) -> Path:
    """The local snapshot of a repository; HF_HUB_OFFLINE and the other variables of huggingface_hub are honoured.

    Raises ModelError without the library or the network, ModelNotFound for an unknown repository.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        raise ModelError(
            f"{repository} is a hub id, for which huggingface_hub is needed: pip install 'radixlang[hf]'"
        ) from None
    if not progress:
        disable_progress_bars()
    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=_WANTED))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        raise ModelNotFound(
            f"no model {repository!r} on the hub, or it is not open to you; log in with `hf auth login`", param="model"
        ) from None
    except Exception as error:  # the library's own errors, those of its HTTP client, and a full disk
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{repository} could not be fetched from the hub: {reason}. Check the network, or give a local path"
        ) from None
