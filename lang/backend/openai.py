"""Any OpenAI-compatible API: chat and completion models. No SDK is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, ProgramError, RequestError
from ..chat_template import ChatTemplate, get_chat_template_by_model_path
from ..choices import ChoicesDecision, ChoicesSamplingMethod, mean_logprob, sample_option, token_length_normalized
from ..sampling import SglSamplingParams
from .http_backend import TIMEOUT_S, HttpBackend, TokenUsage

if TYPE_CHECKING:
    from ..stream_executor import StreamExecutor

__all__ = ["INSTRUCT_MODEL_NAMES", "OpenAI", "TokenUsage"]

INSTRUCT_MODEL_NAMES = ["gpt-3.5-turbo-instruct"]
AZURE_API_VERSION = "2024-10-21"

_PLACE = (
    "a gen on a chat model must come right after assistant_begin, because the API continues no text; "
    "@function(num_api_spec_tokens=...) allows text and several gens in one assistant block"
)


class OpenAI(HttpBackend):
    """The model `model_name` at `base_url` (default: OPENAI_BASE_URL, then api.openai.com).

    api_key: default OPENAI_API_KEY. is_chat_model: None guesses by name. is_azure: `azure_endpoint` (or
    AZURE_OPENAI_ENDPOINT) and `api_version` say where; model_name is the deployment. `token_usage` sums the tokens.
    """

    def __init__(
        self,
        model_name: str,
        is_chat_model: bool | None = None,
        chat_template: ChatTemplate | None = None,
        is_azure: bool = False,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        azure_endpoint: str | None = None,
        api_version: str = AZURE_API_VERSION,
        timeout: float = TIMEOUT_S,
        default_headers: dict[str, str] | None = None,
    ) -> None:
        params: dict[str, str] = {}
        headers = dict(default_headers or {})
        if is_azure:
            endpoint = azure_endpoint or os.environ.get("AZURE_OPENAI_ENDPOINT")
            if not endpoint:
                raise ConfigError("is_azure needs azure_endpoint, or AZURE_OPENAI_ENDPOINT", param="azure_endpoint")
            url = f"{endpoint.rstrip('/')}/openai/deployments/{model_name}"
            params["api-version"] = api_version
            headers["api-key"] = _key(api_key, "AZURE_OPENAI_API_KEY")
        else:
            url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
            headers["Authorization"] = f"Bearer {_key(api_key, 'OPENAI_API_KEY')}"
            if organization:
                headers["OpenAI-Organization"] = organization
        super().__init__(url, headers, params, timeout)
        self.model_name = model_name
        self.is_chat_model = model_name not in INSTRUCT_MODEL_NAMES if is_chat_model is None else is_chat_model
        self.chat_template = chat_template or get_chat_template_by_model_path(model_name)
        self.chat_prefix = self.chat_template.role_prefix_and_suffix["assistant"][0]

    def get_model_name(self) -> str:
        return self.model_name

    # -- generation

    def _request(self, s: StreamExecutor, params: SglSamplingParams) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model_name, **params.to_openai_kwargs(), "n": params.n or 1}
        if not body["stop"]:
            del body["stop"]
        if params.seed is not None:
            body["seed"] = params.seed
        if params.min_new_tokens:  # OpenAI's own API refuses it, and others obey: nobody drops it
            body["min_tokens"] = params.min_new_tokens
        if params.logit_bias:
            body["logit_bias"] = {str(token): bias for token, bias in params.logit_bias.items()}
        if self.is_chat_model:
            if not s.text_.endswith(self.chat_prefix):
                raise RequestError(_PLACE)
            body["messages"] = list(s.messages_)
        else:
            body["prompt"] = s.text_
        self._constrain(body, params)
        return body

    def _constrain(self, body: dict[str, Any], params: SglSamplingParams) -> None:
        if params.json_schema is not None:  # OpenAI's completions refuse it, and others obey: nobody drops it
            import json

            schema = {"name": "answer", "schema": json.loads(params.json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        for name in ("regex", "ebnf", "structural_tag", "constraint", "dtype"):
            value = getattr(params, name)
            if value is None or (name == "dtype" and not self.is_chat_model and value in (str, int, "str", "int")):
                continue
            # SGLang ignores a regex here with a warning; an answer that was to be constrained is not given without.
            message = f"{name} is not part of OpenAI's API; take json_schema, or RuntimeEndpoint on a radixlang server"
            raise RequestError(message, param=name)

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[Any, dict[str, Any]]:
        body = self._request(s, sampling_params)
        dtype = sampling_params.dtype
        quote = dtype in (str, "str")
        if quote:
            body["prompt"], body["stop"] = s.text_ + '"', ['"']
        elif dtype in (int, "int"):
            body["stop"] = [" ", "\n"]
        answer = self.post("/chat/completions" if self.is_chat_model else "/completions", body)
        texts = [_text_of(choice) for choice in answer["choices"]]
        if quote:
            texts = [f'"{text}"' for text in texts]
        meta = self._meta(answer, answer["choices"][0].get("finish_reason"))
        return (texts if (sampling_params.n or 1) > 1 else texts[0]), meta

    def generate_stream(
        self, s: StreamExecutor, sampling_params: SglSamplingParams
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        if sampling_params.dtype is not None:
            raise RequestError("dtype cannot be streamed from OpenAI's API", param="dtype")
        body = self._request(s, sampling_params)
        body.update(stream=True, stream_options={"include_usage": True})
        reason = None
        for event in self.post_stream("/chat/completions" if self.is_chat_model else "/completions", body):
            for choice in event.get("choices") or ():
                if choice.get("index", 0) == 0:
                    reason = choice.get("finish_reason") or reason
                    text = _text_of(choice)
                    if text:
                        yield text, {}
            if event.get("usage"):
                yield "", self._meta(event, reason)

    def _meta(self, answer: dict[str, Any], reason: str | None) -> dict[str, Any]:
        usage = answer.get("usage") or {}
        counts = self.count(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        return {
            "id": answer.get("id"),
            "finish_reason": {"type": reason} if reason else None,
            **counts,
            **({"cached_tokens": cached} if cached is not None else {}),
        }

    # -- select

    def select(
        self,
        s: StreamExecutor,
        choices: list[str],
        temperature: float,
        choices_method: ChoicesSamplingMethod | None = None,
    ) -> ChoicesDecision:
        """By the log-probabilities of the options behind the prompt, which completion APIs echo."""
        if self.is_chat_model:
            raise RequestError(
                "select needs a completion model (is_chat_model=False): chat APIs score no given text. "
                "Use gen and compare its answer"
            )
        method = choices_method or token_length_normalized
        scored = [self._echo(s.text_, option) for option in choices]
        alone = [self._echo("", option) for option in choices] if method.requires_unconditional_logprobs else None
        if alone is not None:  # tokenized alone, an option may have other tokens: compare as many as both have
            lengths = [min(len(a), len(b)) for a, b in zip(scored, alone, strict=True)]
            alone = [tokens[-n:] for tokens, n in zip(alone, lengths, strict=True)]
            scored = [tokens[-n:] for tokens, n in zip(scored, lengths, strict=True)]
        decision = method(
            choices=choices,
            normalized_prompt_logprobs=[mean_logprob(tokens) for tokens in scored],
            input_token_logprobs=scored,
            output_token_logprobs=[[] for _ in scored],
            unconditional_token_logprobs=alone,
        )
        if temperature > 1e-5:
            totals = [sum(float(token[0] or 0.0) for token in tokens) for tokens in scored]
            decision.decision = choices[sample_option(totals, temperature, None)]
        return decision

    def _echo(self, prompt: str, option: str) -> list[list[Any]]:
        """[logprob, None, text] of each token that reaches into `option`, behind `prompt`."""
        body = {"model": self.model_name, "prompt": prompt + option, "max_tokens": 0, "echo": True, "logprobs": 0}
        answer = self.post("/completions", body)
        self._meta(answer, None)
        found = answer["choices"][0].get("logprobs") or {}
        if not found.get("token_logprobs"):
            raise ProgramError(f"{self.base_url} reports no log-probabilities of a prompt, which select needs")
        rows: list[list[Any]] = []
        begin = 0
        for logprob, text in zip(found["token_logprobs"], found["tokens"], strict=True):
            begin += len(text)
            if begin > len(prompt):
                rows.append([logprob, None, text])
        return rows


def _key(given: str | None, variable: str) -> str:
    key = given or os.environ.get(variable)
    if not key:
        raise ConfigError(f"no API key: pass api_key, or set {variable}", param="api_key")
    return key


def _text_of(choice: dict[str, Any]) -> str:
    if "text" in choice:
        return str(choice["text"] or "")
    return str((choice.get("message") or choice.get("delta") or {}).get("content") or "")
