"""Gemini models behind Google's vertexai package."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ..chat_template import get_chat_template
from ..sampling import SglSamplingParams
from .base_backend import BaseBackend

if TYPE_CHECKING:
    from ..stream_executor import StreamExecutor


class VertexAI(BaseBackend):
    """The model `model_name` of the project in GCP_PROJECT_ID. Needs the google-cloud-aiplatform package."""

    is_chat_model = True

    def __init__(self, model_name: str, safety_settings: Any = None) -> None:
        super().__init__()
        try:
            import vertexai  # type: ignore[import-not-found,unused-ignore]  # an optional package
            from vertexai import generative_models  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise ConfigError("VertexAI needs Google's package: pip install google-cloud-aiplatform") from error
        project = os.environ.get("GCP_PROJECT_ID")
        if not project:
            raise ConfigError("VertexAI needs the project's id in GCP_PROJECT_ID", param="GCP_PROJECT_ID")
        location = os.environ.get("GCP_LOCATION")
        vertexai.init(project=project, location=location)  # pyright: ignore[reportAttributeAccessIssue]
        self._models = generative_models
        self.model_name = model_name
        self.safety_settings = safety_settings
        self.chat_template = get_chat_template("default")

    def get_model_name(self) -> str:
        return self.model_name

    def _contents(self, s: StreamExecutor) -> tuple[list[Any], str | None]:
        """The conversation in the package's types, and its system message."""
        part, content = self._models.Part, self._models.Content
        if not s.messages_:
            return [content(role="user", parts=[part.from_text(s.text_)])], None
        system: str | None = None
        contents: list[Any] = []
        for message in s.messages_:
            if message["role"] == "system":
                system = message["content"]
                continue
            pieces = message["content"]
            pieces = [{"type": "text", "text": pieces}] if isinstance(pieces, str) else pieces
            parts = [
                part.from_text(p["text"])
                if p["type"] == "text"
                else part.from_data(base64.b64decode(p["image_url"]["url"].partition(",")[2]), "image/jpeg")
                for p in pieces
            ]
            contents.append(content(role="model" if message["role"] == "assistant" else "user", parts=parts))
        return contents, system

    def _call(self, s: StreamExecutor, params: SglSamplingParams, stream: bool) -> Any:
        contents, system = self._contents(s)
        model = self._models.GenerativeModel(self.model_name, system_instruction=system)
        config = self._models.GenerationConfig(**params.to_vertexai_kwargs())
        return model.generate_content(
            contents, generation_config=config, safety_settings=self.safety_settings, stream=stream
        )

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[Any, dict[str, Any]]:
        return self._call(s, sampling_params, stream=False).text, {}

    def generate_stream(
        self, s: StreamExecutor, sampling_params: SglSamplingParams
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for chunk in self._call(s, sampling_params, stream=True):
            yield chunk.text, {}
