"""POST /v1/systemone: typed questions about a state, answered by the probabilities of their options.

`noul`: how likely yes is. `choice`: one of some labels. `score`: where on an ordered scale. Every question is one
scoring of single letters behind the same state, which the radix tree computes once: `select` over HTTP.
"""

from __future__ import annotations

import json
import math
import string
from typing import Any, Literal, NamedTuple

import msgspec

from ...errors import RequestError
from ...lang.at_once import at_once
from .generation import WIDTH
from .http import Answer, Request, json_response
from .messages import render
from .route import Route
from .service import Service

MAX_OPTIONS = len(string.ascii_uppercase)
MAX_QUESTIONS = 256


class Question(msgspec.Struct):
    type: Literal["noul", "choice", "score"]
    instructions: Any = None
    criteria: dict[str, Any] | list[str] | None = None
    """choice: label to description or null. score: levels from low to high. noul: what "true" and "false" mean."""


class SystemOneBody(msgspec.Struct):
    state: Any
    questions: dict[str, Question]
    model: str | None = None


async def systemone(service: Service, request: Request) -> Answer:
    """An answer for each question, under its name."""
    body = await request.struct(SystemOneBody)
    service.check_fields(request)
    service.check_model(body.model)
    if not 0 < len(body.questions) <= MAX_QUESTIONS:
        raise RequestError(f"questions must hold 1 to {MAX_QUESTIONS} questions", param="questions")
    state = _text(body.state)
    asked = [(question, _options(question, f"questions.{name}")) for name, question in body.questions.items()]

    found = await score_options(
        service, request, [Asked(state, _instructions(question), options) for question, options in asked]
    )
    answers = {
        name: _answer(question, list(options), shares.probabilities)
        for name, (question, options), shares in zip(body.questions, asked, found, strict=True)
    }
    usage = {"input_tokens": sum(shares.prompt_tokens for shares in found), "output_tokens": 0}
    return json_response({"model": body.model or service.model_name, "answers": answers, "usage": usage})


class Shares(NamedTuple):
    probabilities: list[float]
    """Of the options, in order; their sum is 1."""
    prompt_tokens: int
    cached_tokens: int


class Asked(NamedTuple):
    """One question about a state."""

    state: str
    instructions: str
    options: dict[str, str]
    """Label to description, at most MAX_OPTIONS."""


async def score_options(service: Service, request: Request, asked: list[Asked]) -> list[Shares]:
    """How likely the model names each option of each question; to the queue's bound they are one request."""
    call = service.front.new_id()
    return await request.guard(at_once((_shares(service, request.client, one, call) for one in asked), width=WIDTH))


async def _shares(service: Service, client: str, asked: Asked, call: str) -> Shares:
    letters = string.ascii_uppercase[: len(asked.options)]
    prompt = _prompt(service, *asked)
    scored = await service.front.score_choices([prompt], list(letters), unconditional=False, client=client, call=call)
    sums = [sum(lp for lp, _, _ in c["token_logprobs"] if lp is not None) for c in scored["choices"]]
    weights = [math.exp(s - max(sums)) for s in sums]
    return Shares([w / sum(weights) for w in weights], int(scored["prompt_tokens"]), int(scored["cached_tokens"]))


def confidence(probabilities: list[float]) -> float:
    """1 where one option holds everything, 0 where all are alike: one minus the normalised entropy."""
    entropy = -sum(p * math.log(p) for p in probabilities if p > 0)
    return max(0.0, 1.0 - entropy / math.log(len(probabilities)))


def _instructions(question: Question) -> str:
    return _text(question.instructions) if question.instructions is not None else "Which option fits best?"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _options(question: Question, path: str) -> dict[str, str]:
    """Label to description, in order."""
    given = question.criteria
    if question.type == "noul":
        told = given if isinstance(given, dict) else {}
        return {"yes": _text(told.get("true") or ""), "no": _text(told.get("false") or "")}
    if not given or len(given) < 2:
        raise RequestError(f"a {question.type} needs two or more criteria", param=f"{path}.criteria")
    if len(given) > MAX_OPTIONS:
        raise RequestError(f"at most {MAX_OPTIONS} criteria, found {len(given)}", param=f"{path}.criteria")
    if isinstance(given, dict):
        return {label: "" if told is None else _text(told) for label, told in given.items()}
    if len(set(given)) < len(given):
        raise RequestError("criteria must differ from each other", param=f"{path}.criteria")
    return dict.fromkeys(given, "")


def _prompt(service: Service, state: str, asked: str, options: dict[str, str]) -> str:
    lines = [
        f"{letter}. {label}{': ' + told if told else ''}"
        for letter, (label, told) in zip(string.ascii_uppercase, options.items(), strict=False)
    ]
    text = f"{state}\n\n{asked}\n" + "\n".join(lines) + "\nAnswer with the letter of one option."
    front = service.front
    if front.template is None:
        return text + "\nAnswer: "
    return render(front, [{"role": "user", "content": text}])


def _answer(question: Question, labels: list[str], shares: list[float]) -> dict[str, Any]:
    if question.type == "noul":
        return {"type": "noul", "noul": shares[0]}
    certainty = confidence(shares)
    if question.type == "choice":
        best = labels[max(range(len(shares)), key=shares.__getitem__)]
        probabilities = dict(zip(labels, shares, strict=True))
        return {"type": "choice", "choice": best, "probabilities": probabilities, "confidence": certainty}
    return {
        "type": "score",
        "score": sum(level * p for level, p in enumerate(shares)),
        "legend": {str(level): label for level, label in enumerate(labels)},
        "probabilities": {str(level): p for level, p in enumerate(shares)},
        "confidence": certainty,
    }


def routes() -> list[Route]:
    return [Route(path="/v1/systemone", handler=systemone, body=SystemOneBody, summary="Typed decisions")]
