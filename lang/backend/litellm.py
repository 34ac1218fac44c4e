"""Models behind the litellm package."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ..chat_template import ChatTemplate, get_chat_template_by_model_path
from ..sampling import SglSamplingParams
from .base_backend import BaseBackend

if TYPE_CHECKING:
    from ..stream_executor import StreamExecutor


class LiteLLM(BaseBackend):
    """`model_name` as litellm names it; further keywords go to litellm.completion. Needs the litellm package."""

    is_chat_model = True

    def __init__(self, model_name: str, chat_template: ChatTemplate | None = None, **client_params: Any) -> None:
        super().__init__()
        try:
            import litellm  # type: ignore[import-not-found,unused-ignore]  # an optional package
        except ImportError as error:
            raise ConfigError("LiteLLM needs the litellm package: pip install litellm") from error
        self._completion = litellm.completion  # pyright: ignore[reportAttributeAccessIssue]
        self.model_name = model_name
        self.chat_template = chat_template or get_chat_template_by_model_path(model_name)
        self.client_params = client_params

    def get_model_name(self) -> str:
        return self.model_name

    def _call(self, s: StreamExecutor, params: SglSamplingParams, **more: Any) -> Any:
        messages = list(s.messages_) or [{"role": "user", "content": s.text_}]
        kwargs = params.to_litellm_kwargs()
        return self._completion(model=self.model_name, messages=messages, **kwargs, **self.client_params, **more)

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[Any, dict[str, Any]]:
        answer = self._call(s, sampling_params)
        usage = answer.usage
        counts = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens} if usage else {}
        return answer.choices[0].message.content or "", counts

    def generate_stream(
        self, s: StreamExecutor, sampling_params: SglSamplingParams
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for chunk in self._call(s, sampling_params, stream=True):
            text = chunk.choices[0].delta.content
            if text:
                yield text, {}
