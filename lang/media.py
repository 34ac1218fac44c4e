"""Images and videos inside a prompt, as base64."""

from __future__ import annotations

import base64
import os

from ..errors import UnsupportedContent


def encode_image(source: str | bytes | os.PathLike[str]) -> str:
    """The image's bytes, of a file or given, in base64."""
    if isinstance(source, bytes):
        return base64.b64encode(source).decode()
    with open(source, "rb") as file:
        return base64.b64encode(file.read()).decode()


def encode_video(path: str | os.PathLike[str], num_frames: int) -> str:
    """Frames of a video file. No decoder is part of radixlang: send the frames as images."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"no video file {os.fspath(path)!r}")
    raise UnsupportedContent(
        f"videos cannot be decoded here; extract {num_frames} frames of {os.fspath(path)!r} and append them as images"
    )
