"""What executes programs.

Two kinds: SGLang's, a class with blocking `generate`, `generate_stream` and `select` on the program's text (custom
backends keep working), and radixlang's own `NativeBackend`, an asynchronous one that works on token paths.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..chat_template import ChatTemplate
    from ..choices import ChoicesDecision, ChoicesSamplingMethod
    from ..interpreter import StreamExecutor
    from ..ir import SglSamplingParams


class BaseBackend:
    """SGLang's backend interface. Subclasses implement `generate`; `generate_stream` and `select` where they can."""

    def __init__(self) -> None:
        self.support_concate_and_append = False
        from ..chat_template import get_chat_template

        self.chat_template: ChatTemplate = get_chat_template("default")

    def get_model_name(self) -> str:
        raise NotImplementedError(f"{type(self).__name__} does not tell its model's name")

    def get_chat_template(self) -> ChatTemplate:
        return self.chat_template

    def cache_prefix(self, prefix_str: str) -> None:
        """A hint: this text begins many prompts."""

    def uncache_prefix(self, rid: str) -> None:
        """Takes such a hint back."""

    def end_request(self, rid: str | list[str]) -> None:
        """A request is no longer wanted."""

    def begin_program(self, s: StreamExecutor) -> None:
        """A program's state begins."""

    def end_program(self, s: StreamExecutor | list[StreamExecutor]) -> None:
        """A program's state ends."""

    def commit_lazy_operations(self, s: StreamExecutor) -> None:
        """Text was appended that later calls will share."""

    def fork_program(self, src: StreamExecutor, dst: list[StreamExecutor], position_ids_offset: Any = None) -> None:
        """`dst` begin where `src` is."""

    def fill_image(self, s: StreamExecutor) -> None:
        """An image was appended."""

    def role_end_generate(self, s: StreamExecutor) -> None:
        """A role block that held a gen ends (API speculation)."""

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[Any, dict[str, Any]]:
        """(text, meta_info) that continue `s.text_`."""
        raise NotImplementedError(f"{type(self).__name__} cannot generate")

    def generate_stream(
        self, s: StreamExecutor, sampling_params: SglSamplingParams
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Pieces of it."""
        raise NotImplementedError(f"{type(self).__name__} cannot stream")

    def select(
        self,
        s: StreamExecutor,
        choices: list[str],
        temperature: float,
        choices_method: ChoicesSamplingMethod | None = None,
    ) -> ChoicesDecision:
        """One of `choices` as the continuation of `s.text_`."""
        raise NotImplementedError(f"{type(self).__name__} cannot select")

    def concatenate_and_append(self, src_rids: list[str], dst_rid: str) -> None:
        raise NotImplementedError(f"{type(self).__name__} cannot join by cache")

    def shutdown(self) -> None:
        """Frees what the backend holds."""

    def flush_cache(self) -> bool:
        return True

    def get_server_info(self) -> dict[str, Any]:
        return {}


class NativeBackend(BaseBackend):
    """A radixlang runtime, in this process (`Engine`) or over HTTP (`RuntimeEndpoint`).

    The requests and answers are those of POST /generate (SGLang's shape) as plain dicts, with these additions. Request:
    `prompt_parts` (list of str or list of int: spans of text and spans of token ids, the prompt is their concatenation;
    a text span is tokenized by itself), `stream_deltas` (text and output_ids of a chunk are what is new, not
    cumulative), `constraint` (a dict of constrained.constraint, tagged by "type"), `keep` and `parent` +
    `parent_len` (a path of ids kept by the engine, see runtime.messages; only where `keeps_paths`; an unknown parent
    is an error with the code "unknown_stream"), `group` (the first calls of a fork's branches), `program_id`
    (whose call it is: the run's), `next_use` (calls of the program until it goes on from `keep`), `expects` (dicts of
    `keep`, `prompt_parts` and `next_use`: what later streams of the program begin with, held under a name); the last
    three where the backend `counts_programs`. Answer: `output_ids` always.

    All methods are coroutines of the language's own event loop (lang.loop); leaving `native_generate`'s iterator early
    aborts the request. Errors are radixlang.errors classes.
    """

    keeps_paths = False
    joins_gens = False
    """Serves the constraint "sequence": several constrained gens in one request."""
    counts_programs = False
    """Takes `program_id` with a call, the run that it is of, and what the run's graph says of what comes later."""

    _model_template: ChatTemplate | None = None

    def known_chat_template(self) -> ChatTemplate | None:
        """The template that programs use, if it is known without asking: a named one, or the model's once asked for."""
        return self._model_template

    def get_chat_template(self) -> ChatTemplate:
        """The template that programs use: the model's own. Asks for it at the first call."""
        from ..loop import run

        return self._model_template or run(self.native_chat_template())

    async def native_chat_template(self) -> ChatTemplate:
        """The template that programs use; a backend that tells nothing of its model has the plain default one."""
        if self._model_template is None:
            from ..model_template import template_of_model

            try:
                info = await self.native_model_info()
            except NotImplementedError:
                info = {}
            self._model_template = template_of_model(info)
        return self._model_template

    def cache_prefix(self, prefix_str: str) -> None:
        """Computes `prefix_str`, so that prompts which begin with it find it in the cache."""
        from ..loop import run

        run(self._compute(prefix_str, {}))

    async def _compute(self, text: str, fields: dict[str, Any]) -> None:
        sampling = {"max_new_tokens": 0, "temperature": 0.0}
        named = {"rid": uuid.uuid4().hex, "stream": False}
        request = {**named, "prompt_parts": [text], "sampling_params": sampling, **fields}
        async for _ in self.native_generate(request):
            pass

    def pin_prefix(self, prefix_str: str, ttl_s: float = 300.0) -> str:
        """Computes `prefix_str` and keeps its K and V for `ttl_s` seconds before all that is not pinned.

        The pin's name, for `unpin_prefix`.
        """
        from ..loop import run

        name = f"pin-{uuid.uuid4().hex}"
        run(self._compute(prefix_str, {"keep": name, "keep_s": ttl_s, "pin": True}))
        return name

    def unpin_prefix(self, name: str) -> None:
        """The prefix is ordinary cache again."""
        from ..loop import run

        run(self.native_release([name]))

    def use_chat_template(self, template: ChatTemplate) -> None:
        """Programs use `template` in place of the model's own."""
        self.chat_template = template
        self._model_template = template

    def native_generate(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Chunks {"text", "output_ids", "meta_info"[, "index"]}; the last of each index has a finish_reason."""
        raise NotImplementedError

    async def native_score(
        self,
        prompt_parts: Sequence[str | list[int]],
        choices: Sequence[str],
        *,
        unconditional: bool,
        lora_path: str | None = None,
        program_id: str | None = None,
    ) -> dict[str, Any]:
        """Scores continuations, with the adapter of that name if one is given, as a call of that run.

        {"choices": [{"token_logprobs": [[logprob, id, text], …], "unconditional": [[…]] | None, "token_ids":
        the ids that continue the prompt's, after dropping its last `healed` tokens, "healed": int}, …],
        "prompt_tokens": int, "cached_tokens": int}.
        """
        raise NotImplementedError

    def native_run_program(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Runs a graph where the model is: the body of POST /v1/programs/run in, its events out (runtime.programs).

        Leaving the iterator early cancels the run.
        """
        raise NotImplementedError(f"{type(self).__name__} runs no programs")

    async def native_register_program(self, name: str, graph: dict[str, Any]) -> None:
        """Keeps a graph under a name, for requests that say `name` in place of `graph`."""
        raise NotImplementedError(f"{type(self).__name__} keeps no programs")

    async def native_release(self, paths: list[str]) -> None:
        """Drops kept paths; never raises."""

    async def native_abort(self, rid: str) -> None: ...

    async def native_model_info(self) -> dict[str, Any]:
        """GET /get_model_info: model_path, tokenizer_path, is_generation, chat_template (Jinja source), bos_token,
        eos_token, eos_token_ids, max_context, vocab_size …"""
        raise NotImplementedError

    async def native_flush_cache(self) -> bool:
        raise NotImplementedError

    async def native_server_info(self) -> dict[str, Any]:
        raise NotImplementedError
