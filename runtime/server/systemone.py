"""POST /v1/systemone: typed questions about a state, answered by the probabilities of their options.

`noul`: how likely yes is. `choice`: one of some labels. `score`: where on an ordered scale. Every question is one
scoring of single letters behind the same state, which the radix tree computes once: `select` over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import math
import string
from typing import Any, Literal

import msgspec

from ...errors import RequestError
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
    asked = [(name, question, _options(question, f"questions.{name}")) for name, question in body.questions.items()]
    tokens: list[int] = []

    async def probabilities(question: Question, options: dict[str, str]) -> list[float]:
        letters = string.ascii_uppercase[: len(options)]
        prompt = _prompt(service, state, question, options)
        scored = await service.front.score_choices([prompt], list(letters), unconditional=False, client=request.client)
        tokens.append(int(scored["prompt_tokens"]))
        sums = [sum(lp for lp, _, _ in c["token_logprobs"] if lp is not None) for c in scored["choices"]]
        weights = [math.exp(s - max(sums)) for s in sums]
        return [w / sum(weights) for w in weights]

    work = asyncio.gather(*(probabilities(question, options) for _, question, options in asked))
    found = await request.guard(work)
    answers = {
        name: _answer(question, list(options), shares)
        for (name, question, options), shares in zip(asked, found, strict=True)
    }
    usage = {"input_tokens": sum(tokens), "output_tokens": 0}
    return json_response({"model": body.model or service.model_name, "answers": answers, "usage": usage})


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


def _prompt(service: Service, state: str, question: Question, options: dict[str, str]) -> str:
    asked = _text(question.instructions) if question.instructions is not None else "Which option fits best?"
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
    entropy = -sum(p * math.log(p) for p in shares if p > 0)
    confidence = max(0.0, 1.0 - entropy / math.log(len(shares)))
    if question.type == "choice":
        best = labels[max(range(len(shares)), key=shares.__getitem__)]
        probabilities = dict(zip(labels, shares, strict=True))
        return {"type": "choice", "choice": best, "probabilities": probabilities, "confidence": confidence}
    return {
        "type": "score",
        "score": sum(level * p for level, p in enumerate(shares)),
        "legend": {str(level): label for level, label in enumerate(labels)},
        "probabilities": {str(level): p for level, p in enumerate(shares)},
        "confidence": confidence,
    }


def routes() -> list[Route]:
    return [Route(path="/v1/systemone", handler=systemone, body=SystemOneBody, summary="Typed decisions")]
