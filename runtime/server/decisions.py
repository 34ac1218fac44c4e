"""POST /v1/decisions: OpenAI's shape of typed questions about an input; the scoring is that of /v1/systemone."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ...errors import RequestError
from .http import Answer, Request, json_response
from .openai_fields import text_of_parts
from .route import Route
from .service import Service
from .systemone import MAX_OPTIONS, Asked, Shares, confidence, score_options

MAX_QUESTIONS = 400


class DecisionChoice(msgspec.Struct):
    value: str | bool
    description: str | None = None


class DecisionLevel(msgspec.Struct):
    label: str
    description: str | None = None


class Predicate(msgspec.Struct, tag="predicate"):
    """How likely a statement is true."""

    instructions: Any
    name: str | None = None


class ChoiceQuestion(msgspec.Struct, tag="choice"):
    """One of some values."""

    instructions: Any
    choices: list[DecisionChoice]
    name: str | None = None


class ScoreQuestion(msgspec.Struct, tag="score"):
    """Where on a scale of levels, lowest first."""

    instructions: Any
    levels: list[DecisionLevel]
    name: str | None = None


class DecisionsBody(msgspec.Struct):
    """OpenAI's body."""

    input: str | list[Any]
    questions: list[Predicate | ChoiceQuestion | ScoreQuestion]
    model: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


async def decisions(service: Service, request: Request) -> Answer:
    """The answers, in the order of the questions."""
    body = await request.struct(DecisionsBody)
    service.check_fields(request)
    service.check_model(body.model)
    if not 0 < len(body.questions) <= MAX_QUESTIONS:
        raise RequestError(f"questions must hold 1 to {MAX_QUESTIONS} questions", param="questions")
    state = _state(body.input)
    asked = [
        (question, text_of_parts(question.instructions, f"questions.{i}.instructions"), _options(question, i))
        for i, question in enumerate(body.questions)
    ]
    shares = await score_options(service, request, [Asked(state, told, options) for _, told, options in asked])
    answers = [_answer(question, s) for (question, _, _), s in zip(asked, shares, strict=True)]
    tokens = sum(s.prompt_tokens for s in shares)
    usage = {
        "input_tokens": tokens,
        "input_tokens_details": {"cached_tokens": sum(s.cached_tokens for s in shares), "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens,
    }
    return json_response({"model": body.model or service.model_name, "answers": answers, "usage": usage})


def _state(given: str | list[Any]) -> str:
    """The input as one text: what each message says, after its role; other items as JSON."""
    if isinstance(given, str):
        return given
    lines = []
    for index, item in enumerate(given):
        if not isinstance(item, dict):
            raise RequestError(f"input.{index} must be an object", param=f"input.{index}")
        if item.get("type", "message") == "message":
            text = text_of_parts(item.get("content"), f"input.{index}.content")
            lines.append(text if len(given) == 1 else f"{item.get('role')}: {text}")
        else:
            lines.append(json.dumps(item, ensure_ascii=False))
    if not lines:
        raise RequestError("input must not be empty", param="input")
    return "\n".join(lines)


def _options(question: Predicate | ChoiceQuestion | ScoreQuestion, index: int) -> dict[str, str]:
    """Label to description. Raises RequestError for too few, too many or equal ones."""
    if isinstance(question, Predicate):
        return {"true": "", "false": ""}
    if isinstance(question, ChoiceQuestion):
        field, pairs = "choices", [(_label(c.value), c.description or "") for c in question.choices]
    else:
        field, pairs = "levels", [(level.label, level.description or "") for level in question.levels]
    path = f"questions.{index}.{field}"
    if not 2 <= len(pairs) <= MAX_OPTIONS:
        raise RequestError(f"{path} must hold 2 to {MAX_OPTIONS}, found {len(pairs)}", param=path)
    options = dict(pairs)
    if len(options) < len(pairs):
        raise RequestError(f"{path} must differ from each other", param=path)
    return options


def _label(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _answer(question: Predicate | ChoiceQuestion | ScoreQuestion, shares: Shares) -> dict[str, Any]:
    found = shares.probabilities
    if isinstance(question, Predicate):
        return {"type": "predicate", "name": question.name, "probability": found[0]}
    if isinstance(question, ChoiceQuestion):
        best = question.choices[max(range(len(found)), key=found.__getitem__)].value
        told = [{"value": c.value, "probability": p} for c, p in zip(question.choices, found, strict=True)]
        more: dict[str, Any] = {"choice": best, "probabilities": told}
        return {"type": "choice", "name": question.name, **more, "confidence": confidence(found)}
    levels = [
        {"value": i, "label": level.label, "probability": p}
        for i, (level, p) in enumerate(zip(question.levels, found, strict=True))
    ]
    expected = sum(i * p for i, p in enumerate(found))
    more = {"score": expected, "probabilities": levels, "confidence": confidence(found)}
    return {"type": "score", "name": question.name, **more}


def routes() -> list[Route]:
    return [Route(path="/v1/decisions", handler=decisions, body=DecisionsBody, summary="Typed decisions (OpenAI)")]
