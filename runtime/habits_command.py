"""radixlang habits: lets a model talk to itself and learns what it usually says, so that guesses begin with it.

A model that was trained on conversations asks by itself what users ask, where its template's opening of a user's turn
is all it is given (Magpie, Xu et al. 2024); so no data is needed. Others go on from nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..errors import RequestError
from .store.known import DEFAULT_MODEL

if TYPE_CHECKING:
    from .engine import Engine
    from .speculation.habit_learning import Text

_AT_ONCE = 128
_QUESTION = {"temperature": 1.0, "top_p": 0.95, "max_new_tokens": 64}
_ANSWERS = ({"temperature": 0.0}, {"temperature": 0.7})  # in turn
_TEXTS = ({"temperature": 1.0},)  # of a model without a template
_MOST = 192  # tokens of an answer
_SAID_BEFORE = 5  # tokens that the first of an answer may depend on
_HELD_BACK = 9  # one text of so many tells how good the habits are
_MARK = "QUESTION"


def add_habits_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="name, GGUF file or directory")
    parser.add_argument("--tokens", type=int, default=500_000, help="to learn from; more know more. Default: 500,000")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: where engines look, in the cache folder")


def habits(options: argparse.Namespace) -> int:
    """The command."""
    if options.tokens < 1000:
        raise RequestError(f"--tokens is {options.tokens}; fewer than 1,000 tell nothing", param="tokens")
    from .engine import Engine
    from .speculation.habit_learning import learn_habits, share_right
    from .speculation.habits import habit_file, write_habits

    texts: list[Text] = []
    started, learned = time.perf_counter(), 0
    with Engine(model_path=options.model, speculative_algorithm="none", max_running_requests=_AT_ONCE) as engine:
        path = options.output or habit_file(engine.tokenizer.digest)
        _check_writable(path)  # now, not when minutes have passed
        for text in _texts(engine):
            texts.append(text)
            learned += text.ids_N.size - text.begin
            rate = learned / (time.perf_counter() - started)
            print(f"\r{learned:,} of {options.tokens:,} tokens, {rate:,.0f} a second ", end="", file=sys.stderr)
            if learned >= options.tokens:
                break
    print(file=sys.stderr)
    held_back = texts[::_HELD_BACK]
    tables = learn_habits([text for at, text in enumerate(texts) if at % _HELD_BACK], held_back)
    write_habits(path, tables)
    right = share_right(tables, held_back)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {right:.0%} of the tokens of other answers guessed right")
    return 0


def _check_writable(path: Path) -> None:
    """Raises RequestError where no file can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise PermissionError("it cannot be written")
    except OSError as error:
        raise RequestError(
            f"--output {path}: {error.strerror or error}; name a file that can be", param="output"
        ) from None


def _texts(engine: Engine) -> Iterator[Text]:
    """Without end."""
    from .speculation.habit_learning import Text

    before, after = _turn(engine)
    while True:
        prompts = [before] * _AT_ONCE
        if after:
            asked = _answers(engine, prompts, [_QUESTION] * _AT_ONCE)
            ended = [one for one in asked if one["meta_info"]["finish_reason"]["type"] == "stop"]
            questions = dict.fromkeys(one["text"].strip() for one in ended)
            prompts = [f"{before}{question}{after}" for question in questions if question]
        if not prompts:
            raise RequestError("the model ends no question of its own within 64 tokens; it has no habits to learn")
        ways = list(islice(cycle(_ANSWERS if after else _TEXTS), len(prompts)))
        answers = _answers(engine, prompts, [{**way, "max_new_tokens": _MOST} for way in ways])
        for prompt, way, answer in zip(prompts, ways, answers, strict=True):
            said_before = engine.tokenizer.encode(prompt)[-_SAID_BEFORE:]
            ids = np.array([*said_before, *answer["output_ids"]], np.int32)
            yield Text(ids, len(said_before), greedy=way["temperature"] == 0)


def _turn(engine: Engine) -> tuple[str, str]:
    """What stands before and behind a user's question. Without a template: a line's beginning, and nothing."""
    template = engine.front.template
    if template is None:
        return "\n", ""
    whole = template.render([{"role": "user", "content": _MARK}], add_generation_prompt=True)
    before, mark, after = whole.partition(_MARK)
    return (before, after) if mark else ("\n", "")


def _answers(engine: Engine, prompts: list[str], sampling: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", engine.generate(prompts, sampling))
