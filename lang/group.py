"""The branches of a fork."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ..errors import ProgramError
from .ir import SglConcateAndAppend, SglExpr
from .waiting import any_done, settled

if TYPE_CHECKING:
    from .state import ProgramState


class GatheredList(list[Any]):
    """The values of one variable in all branches, in order. A failed branch keeps its place: reading it raises."""

    def __init__(self, values: Sequence[Any], errors: dict[int, BaseException]) -> None:
        super().__init__(values)
        self.errors = errors
        """By index: why a branch has no value."""

    def _check(self, index: int) -> None:
        error = self.errors.get(index + len(self) if index < 0 else index)
        if error is not None:
            raise error

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            self._check(index)
        else:
            for i in range(len(self))[index]:
                self._check(i)
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Any]:
        for i in range(len(self)):
            yield self[i]


class ProgramStateGroup:
    """Branches of one state: a sequence of states. `+=` appends to all of them."""

    def __init__(self, states: Sequence[ProgramState], src_state: ProgramState | None = None) -> None:
        self.states = list(states)
        self.src_state = src_state

    def __getitem__(self, i: int) -> ProgramState:
        return self.states[i]

    def __setitem__(self, i: int, value: ProgramState) -> None:
        assert self.states[i] is value, "branches cannot be exchanged"  # what `group[i] += ...` ends with

    def __len__(self) -> int:
        return len(self.states)

    def __iter__(self) -> Iterator[ProgramState]:
        return iter(self.states)

    def __iadd__(self, other: str | SglExpr | Sequence[str | SglExpr] | Callable[[int], Any]) -> ProgramStateGroup:
        """A string or an expression for all branches, a sequence of one each, or a function of the index."""
        if isinstance(other, (str, SglExpr)):
            parts: list[Any] = [other] * len(self.states)
        elif callable(other):
            parts = [other(i) for i in range(len(self.states))]
        elif isinstance(other, (list, tuple)):
            if len(other) != len(self.states):
                raise ValueError(f"{len(other)} expressions for {len(self.states)} branches")
            parts = list(other)
        else:
            raise TypeError(f"cannot append {type(other).__name__} to the branches of a fork")
        for state, part in zip(self.states, parts, strict=True):
            state += part
        return self

    def join(self, mode: str = "gather_variable") -> None:
        """Ends the branches and gives the parent what they have.

        gather_variable: each name that a branch defined becomes the list of its values in branch order.
        concate_and_append: the text that each branch added is appended to the parent, in branch order.
        """
        if mode == "gather_variable":
            self._gather()
        elif mode == "concate_and_append":
            assert self.src_state is not None
            self.src_state.stream_executor.submit(SglConcateAndAppend(self.states))
        else:
            raise ValueError(f"join knows the modes gather_variable and concate_and_append, not {mode!r}")
        for state in self.states:
            state.stream_executor.end_stream()

    def _gather(self) -> None:
        assert self.src_state is not None
        parent = self.src_state.stream_executor
        for state in self.states:
            state.stream_executor.sync()
        names: dict[str, None] = {}
        for state in self.states:
            branch = state.stream_executor
            own = branch.own_names()
            names.update(dict.fromkeys(own))
        for name in names:
            values: list[Any] = []
            errors: dict[int, BaseException] = {}
            for i, state in enumerate(self.states):
                future = state.stream_executor.value_future(name)
                error = future.exception()
                values.append(None if error is not None else future.result())
                if error is not None:
                    errors[i] = error
            parent.set_var(name, GatheredList(values, errors))

    def first(self, k: int, name: str | None = None) -> list[ProgramState]:
        """The k branches whose `name` is known first, or that have done all they have to, in that order.

        The others are cancelled.

        Branches that fail do not count. ProgramError if fewer than k succeed.
        """
        winners: list[ProgramState] = []
        streams = [state.stream_executor for state in self.states]
        waiting: dict[int, Future[Any]] = {
            i: stream.sync_future() if name is None else stream.value_future(name) for i, stream in enumerate(streams)
        }
        while waiting and len(winners) < k:
            self.states[0].stream_executor.run.wait(any_done(list(waiting.values())))
            for i in [i for i, future in waiting.items() if future.done()]:
                failed = waiting.pop(i).exception() or (streams[i].error_ if name is None else None)
                if failed is None and len(winners) < k:
                    winners.append(self.states[i])
        if len(winners) < k:
            what = "succeeded" if name is None else f"gave {name!r}"
            raise ProgramError(f"only {len(winners)} of {len(self.states)} branches {what}; {k} were wanted")
        for state in self.states:
            if state not in winners:
                state.cancel()
        return winners

    def vote(self, name: str) -> Any:
        """The value of `name` that most branches have; of equals, the one that the lowest branch has.

        Failed branches do not vote. Raises their first error if none has a value.
        """
        futures = [state.stream_executor.value_future(name) for state in self.states]
        for future in futures:
            self.states[0].stream_executor.run.wait(settled(future))
        return most_common(futures, name)


def most_common(futures: Sequence[Future[Any]], name: str) -> Any:
    """The value that most of the settled `futures` have, the earliest of equals; failed ones do not count."""
    values = [future.result() for future in futures if future.exception() is None]
    if not values:
        raise (futures[0].exception() if futures else None) or ProgramError(f"no branch gave {name!r}")
    counts = Counter(values)
    return max(values, key=lambda value: counts[value])
