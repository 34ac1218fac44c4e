"""Workloads as waves of requests: prompts are token ids, lengths are fixed, follow-ups append the server's own ids.

A workload is a generator: it yields waves (lists of `Request`, sent at once), is sent their outputs (lists of ids), and
so does the same token work on every engine. Reusable tokens are counted beside it: what a perfect cache would not
compute again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass


@dataclass
class Request:
    ids: list[int]
    max_tokens: int


Waves = Generator[list[Request], list[list[int]], None]
Workload = Callable[[random.Random], Waves]


def words(rng: random.Random, length: int) -> list[int]:
    """Ids of random common tokens: nothing that an engine could have cached or would draft well."""
    return [rng.randrange(1000, 30000) for _ in range(length)]


def plain(batch: int, prompt: int, output: int) -> Workload:
    """`batch` unrelated requests at once."""

    def waves(rng: random.Random) -> Waves:
        yield [Request(words(rng, prompt), output) for _ in range(batch)]

    return waves


QUESTIONS = (
    "How does a lock on a canal lift a boat?",
    "Write a short letter that asks a neighbour to water my plants.",
    "Explain to a child why the sky is blue.",
    "List five things to check before a long bicycle tour.",
    "What is the difference between a virus and a bacterium?",
    "Write a Python function that counts the words of a text.",
    "Tell a story about a lighthouse keeper and a storm.",
    "How do I make a simple tomato soup?",
)


def questions(rng: random.Random) -> Waves:
    """Real questions in the chat's template, one after another, 128 tokens each: one person who reads along."""
    from radixlang.runtime.store.resolve import resolve_model
    from radixlang.runtime.tokenizer.open import open_tokenizer

    tokenizer = open_tokenizer(resolve_model("smollm2-135m-instruct"))
    for question in rng.sample(QUESTIONS, len(QUESTIONS)):
        chat = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        yield [Request(list(tokenizer.encode(chat)), 128)]


def multi_turn(rng: random.Random) -> Waves:
    """8 chats of 4 turns: each turn brings 64 new tokens and 32 of answer."""
    chats = [words(rng, 96) for _ in range(8)]
    for _ in range(4):
        answers = yield [Request(list(c), 32) for c in chats]
        chats = [c + a + words(rng, 64) for c, a in zip(chats, answers, strict=True)]


def shared_prefix(rng: random.Random) -> Waves:
    """16 questions after one text of 960 tokens."""
    text = words(rng, 960)
    yield [Request(text + words(rng, 64), 1)]
    yield [Request(text + words(rng, 64), 32) for _ in range(16)]


def tree_of_thought(rng: random.Random) -> Waves:
    """Depth 4, two branches a node: 2 + 4 + 8 + 16 calls over one problem of 256 tokens."""
    level = [words(rng, 256)]
    for _ in range(4):
        parents = [p + words(rng, 16) for p in level for _ in range(2)]
        thoughts = yield [Request(p, 32) for p in parents]
        level = [p + t for p, t in zip(parents, thoughts, strict=True)]


def self_consistency(rng: random.Random) -> Waves:
    """4 problems of 512 tokens, 8 answers each; the samples differ by one leading token."""
    problems = [words(rng, 512) for _ in range(4)]
    yield [Request(p + words(rng, 1), 32) for p in problems for _ in range(8)]


def agents(rng: random.Random) -> Waves:
    """8 agents, shared instructions of 512 tokens, 4 tool calls each with an observation of 48 tokens."""
    shared = words(rng, 512)
    histories = [shared + words(rng, 32) for _ in range(8)]
    for _ in range(4):
        calls = yield [Request(list(h), 24) for h in histories]
        histories = [h + c + words(rng, 48) for h, c in zip(histories, calls, strict=True)]


def rag(rng: random.Random) -> Waves:
    """12 questions over 4 passages of 640 tokens, after shared instructions of 128."""
    shared = words(rng, 128)
    passages = [shared + words(rng, 640) for _ in range(4)]
    for _ in range(3):
        yield [Request(p + words(rng, 32), 32) for p in passages]


def judge(rng: random.Random) -> Waves:
    """2 articles of 768 tokens, 6 judges each, then a join of their verdicts and a score of 2 tokens."""
    articles = [words(rng, 768) for _ in range(2)]
    dimensions = [words(rng, 16) for _ in range(6)]
    verdicts = yield [Request(a + d, 32) for a in articles for d in dimensions]
    joined = []
    for index, article in enumerate(articles):
        text = list(article)
        for d, v in zip(dimensions, verdicts[index * 6 : index * 6 + 6], strict=True):
            text += d + v
        joined.append(text)
    yield [Request(t, 2) for t in joined]


REUSE: dict[str, Workload] = {
    "multi_turn": multi_turn,
    "shared_prefix": shared_prefix,
    "tree_of_thought": tree_of_thought,
    "self_consistency": self_consistency,
    "agents": agents,
    "rag": rag,
    "judge": judge,
}


class PerfectCache:
    """Counts the prompt tokens that an unbounded, ideal prefix cache would not compute again."""

    def __init__(self) -> None:
        self._root: dict[int, dict] = {}

    def reusable(self, request: Request, output: list[int]) -> int:
        """Known leading tokens of the prompt; learns prompt and output."""
        node, known, growing = self._root, 0, False
        for token in request.ids + output:
            if not growing and token in node:
                known += 1
            else:
                growing = True
            node = node.setdefault(token, {})
        return min(known, len(request.ids) - 1)
