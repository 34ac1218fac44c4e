"""Learns habits from texts of a model: which tokens are worth a place in the tables, and how often they are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...kernels.cpu.predictor import ENTRY, NUM_LEVELS, NUM_ORDERS, NUM_PLACES, HabitTables, context_places

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

_TRY = 0.06
"""What a guess costs that is tried, as a share of a step."""
_MOST_TRIALS = 40.0
"""That a rate is believed as if it came from, so that what is measured later moves it."""
_PRIOR = 4.0


class Text(NamedTuple):
    ids_N: Int32
    begin: int
    """The model wrote ids_N[begin:]."""
    greedy: bool


def learn_habits(texts: Sequence[Text], held_back: Sequence[Text]) -> HabitTables:
    """Of `texts`; rates are counted on texts that were held back.

    Orders are filled from short to long: a longer context gets a place where it knows better than the shorter ones do,
    those that save most steps first.
    """
    seen = _Occurrences(texts)
    entries = np.zeros(NUM_ORDERS * NUM_PLACES, ENTRY)
    entries["token"] = -1
    for order in range(NUM_ORDERS):
        seen.fill(entries, order)
    return HabitTables(entries, _rates(entries, held_back))


class _Occurrences:
    """Every token that the model wrote, with what the tables so far say there."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self.tokens, self.indices, self.tags = _gathered(texts)
        self.said = np.full(self.tokens.size, -1, np.int64)
        """Tokens; -1: nothing."""
        self.sure = np.zeros(self.tokens.size)

    def fill(self, entries: NDArray[np.void], order: int) -> None:
        """The table of this order."""
        (known,) = np.nonzero(self.indices[:, order] >= 0)
        if not known.size:
            return
        contexts, context_of = np.unique(
            self.indices[known, order].astype(np.int64) << 16 | self.tags[known, order], return_inverse=True
        )
        times = np.bincount(context_of)
        best, right = _likeliest(context_of, self.tokens[known], contexts.size)
        sure = (right - 0.5) / (times + 0.5)
        # What shorter contexts say is the same wherever this one occurs.
        said, said_sure = np.full(contexts.size, -1, np.int64), np.zeros(contexts.size)
        said[context_of], said_sure[context_of] = self.said[known], self.sure[known]
        said_right = np.bincount(context_of, weights=self.tokens[known] == self.said[known], minlength=contexts.size)
        gain = np.where(said < 0, right - _TRY * times, right - said_right)
        # The same token, but surer or less sure: longer guesses, or none.
        moved = np.where(sure > said_sure, right * 0.5, times * 0.3) * np.abs(sure - said_sure)
        gain = np.where(said == best, moved, gain)
        chosen = np.argsort(-gain, kind="stable")
        chosen = chosen[(gain[chosen] > 0) & (times[chosen] > 1)]
        _, first = np.unique(contexts[chosen] >> 16, return_index=True)  # of those that share a place
        chosen = chosen[first]
        places = contexts[chosen] >> 16
        entries["token"][places] = best[chosen]
        entries["tag"][places] = contexts[chosen] & 0xFFFF
        entries["level"][places] = _level(sure[chosen])
        kept = np.zeros(contexts.size, bool)
        kept[chosen] = True
        now = kept[context_of]
        self.said[known[now]], self.sure[known[now]] = best[context_of[now]], sure[context_of[now]]


def _gathered(texts: Sequence[Text]) -> tuple[Int64, Int32, NDArray[np.uint16]]:
    """Of all that the model wrote: tokens [N], indices and tags [N, orders]."""
    tokens, indices, tags = [], [], []
    for text in texts:
        index_NO, tag_NO = context_places(text.ids_N)
        tokens.append(text.ids_N[text.begin :].astype(np.int64))
        indices.append(index_NO[text.begin :])
        tags.append(tag_NO[text.begin :])
    return np.concatenate(tokens), np.concatenate(indices), np.concatenate(tags)


def _likeliest(context_of: Int64, tokens: Int64, num_contexts: int) -> tuple[Int64, Int64]:
    """Of each context: the token that followed most often (the lowest of several), and how often."""
    pairs, times = np.unique(context_of << 32 | tokens, return_counts=True)
    order = np.lexsort((pairs, -times, pairs >> 32))  # by context, the most frequent first
    _, first = np.unique(pairs[order] >> 32, return_index=True)
    assert first.size == num_contexts
    return pairs[order][first] & 0xFFFFFFFF, times[order][first]


def _level(sure: Float64) -> NDArray[np.uint16]:
    return np.clip(sure * NUM_LEVELS, 0, NUM_LEVELS - 1).astype(np.uint16)


def share_right(habits: HabitTables, texts: Sequence[Text]) -> float:
    """Of the tokens of these texts, those that the habits alone guess right."""
    tokens, _, _, right = _guesses(habits.entries_N, texts)
    return float(right.sum()) / max(1, tokens.size)


def _guesses(
    entries: NDArray[np.void], texts: Sequence[Text]
) -> tuple[Int64, Int64, NDArray[np.uint16], NDArray[np.bool_]]:
    """[N] of every token that the model wrote: the token, the longest order that speaks (-1: none), its level, and
    whether it is right."""
    tokens, indices, tags = _gathered(texts)
    orders, levels = np.full(tokens.size, -1, np.int64), np.zeros(tokens.size, np.uint16)
    right = np.zeros(tokens.size, bool)
    for order in range(NUM_ORDERS):
        found = entries[indices[:, order]]
        speaks = (indices[:, order] >= 0) & (found["token"] >= 0) & (found["tag"] == tags[:, order])
        orders[speaks], levels[speaks] = order, found["level"][speaks]
        right[speaks] = found["token"][speaks] == tokens[speaks]
    return tokens, orders, levels, right


def _rates(entries: NDArray[np.void], texts: Sequence[Text]) -> Float64:
    """See `HabitTables.rates_SOL2`; of what was tried little, mostly what its level says."""
    likely = (np.arange(NUM_LEVELS) + 0.5) / NUM_LEVELS
    rates = np.zeros((2, NUM_ORDERS, NUM_LEVELS, 2))
    for greedy, less in ((0, 0.6), (1, 0.8)):
        rates[greedy, :, :, 1] = _PRIOR
        rates[greedy, :, :, 0] = _PRIOR * likely * less
        of_kind = [text for text in texts if text.greedy == bool(greedy)]
        if of_kind:
            _, orders, levels, right = _guesses(entries, of_kind)
            speaks = orders >= 0
            at = orders[speaks], levels[speaks]
            np.add.at(rates[greedy, :, :, 1], at, 1)
            np.add.at(rates[greedy, :, :, 0], at, right[speaks])
    rates *= np.minimum(1, _MOST_TRIALS / rates[..., 1:])
    return rates
