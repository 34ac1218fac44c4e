"""POST /v1/grammar/check: can a constraint be served, what does it allow, where does a text fail it.

What compiles is imported at the first check: no other route of this process needs it, nor numpy.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from ...constrained.constraint import JsonObject
from ...constrained.fields import FIELD_NAMES, FoundConstraint, find_constraint, locate
from ...errors import GrammarError, RequestError
from .errors import error_object
from .http import Answer, Request, json_response
from .route import Route
from .service import Service

if TYPE_CHECKING:
    from ...constrained.compiler import GrammarCompiler

MAX_SAMPLES = 100
_OWN_FIELDS = frozenset({"model", "text", "explain", "samples", "seed"})


class _Asked(msgspec.Struct):
    """The body beside the constraint."""

    model: str | None = None
    text: str | None = None
    explain: bool = False
    samples: int = 0
    seed: int = 0


CheckBody = msgspec.defstruct("CheckBody", [(name, Any, None) for name in sorted(FIELD_NAMES)], bases=(_Asked,))
"""The whole body, for /openapi.json: one of the constraints' names."""


class Checker:
    """Checks constraints in this process, beside the engine's: with a compiler of its own, built at the first check."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._compiler: GrammarCompiler | None = None

    async def answer(self, request: Request) -> Answer:
        """{"ok": true, "kind", "ignored", …} or {"ok": false, "error": {message, type, param, code, …}}.

        The body holds one constraint under any of the names that generation routes take, and may hold `text` (is it
        accepted, where does it fail), `explain` (the grammar as it is enforced), `samples` with `seed` (random
        members). The constraint is compiled as for a request, with the same limits. Nothing is generated.
        """
        data = await request.json_object()
        asked = _asked({name: data.pop(name) for name in _OWN_FIELDS & data.keys()})
        request.ignored.extend(sorted(data.keys() - FIELD_NAMES))
        self._service.check_fields(request)
        self._service.adapter_of(asked.model)
        try:
            found = find_constraint({name: value for name, value in data.items() if name in FIELD_NAMES})
            if found is None:
                raise RequestError(f"give one of {', '.join(sorted(FIELD_NAMES))}")
            told = await request.guard(asyncio.to_thread(self._check, found, asked))
        except GrammarError as error:
            return json_response({"ok": False, "error": _error(error)})
        return json_response({"ok": True, "kind": type(found.constraint).__name__, **told})

    def _check(self, found: FoundConstraint, asked: _Asked) -> dict[str, Any]:
        from ...constrained.explain import check, explain, samples
        from ...constrained.translate import check_constraint

        try:
            ignored = check_constraint(found.constraint)
            compiler = self._made()
            report = check(found.constraint, compiler, text=asked.text)
            if not report.is_valid:
                compiler.compile(found.constraint)  # raises what the report says
        except GrammarError as error:
            raise locate(error, found.param) from None
        told: dict[str, Any] = msgspec.to_builtins(report)
        told.pop("is_valid")
        told["ignored"] = list(ignored)
        if asked.explain:
            told["grammar"] = explain(found.constraint)
        if asked.samples:
            told["samples"] = samples(
                compiler.compile(found.constraint), compiler.vocabulary, asked.samples, asked.seed
            )
        return told

    def _made(self) -> GrammarCompiler:
        """Two first checks at once build two; one is kept."""
        from ...constrained.compiler import GrammarCompiler
        from ..tokenizer.vocabulary import vocabulary_of

        if self._compiler is None:
            front = self._service.front
            eos = frozenset(front.info.get("eos_token_ids") or front.tokenizer.eos_token_ids)
            compiler = GrammarCompiler(vocabulary_of(front.tokenizer, eos, front.info["vocab_size"]))
            compiler.compile(JsonObject())  # what every first compile waits for is not the asked one's time
            self._compiler = compiler
        return self._compiler


def _asked(own: dict[str, Any]) -> _Asked:
    try:
        asked = msgspec.convert(own, _Asked)
    except msgspec.ValidationError as error:
        raise RequestError(str(error), param=next(iter(own), None)) from None
    if not 0 <= asked.samples <= MAX_SAMPLES:
        raise RequestError(f"samples must be in [0, {MAX_SAMPLES}], found {asked.samples}", param="samples")
    return asked


def _error(error: GrammarError) -> dict[str, Any]:
    """The API's error object, and what else a grammar's error knows."""
    more = {name: value for name in ("keyword", "pointer", "line", "column") if (value := getattr(error, name, None))}
    return {**error_object(error), **more}


async def check_grammar(service: Service, request: Request) -> Answer:
    """See `Checker.answer`."""
    if service.checker is None:
        service.checker = Checker(service)
    return await service.checker.answer(request)


def routes() -> list[Route]:
    return [Route(path="/v1/grammar/check", handler=check_grammar, body=CheckBody, summary="Check a constraint")]
