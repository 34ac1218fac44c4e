"""The compiler of constraints, built in a thread at the first of them, or when the engine is idle.

Its libraries, the tokenizer and the vocabulary's trie take half a second and some 50 MiB, which a server that is asked
for plain text never needs, and which no start has to wait for.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING

from ..constrained.constraint import Constraint, Healed
from .heap import give_back_freed

if TYPE_CHECKING:
    from ..constrained.compiler import GrammarCompiler
    from ..constrained.matcher import CompiledGrammar


class LateGrammars:
    """The scheduler's `GrammarCompiler`. Thread-safe."""

    def __init__(self, make: Callable[[], GrammarCompiler]) -> None:
        """`make`: called once, in a thread of its own; what it raises, every constraint is answered with."""
        self._make = make
        self._lock = Lock()
        self._made: Future[GrammarCompiler] | None = None

    def warm(self) -> None:
        """Begins to build the compiler, if nobody did; once it is there, what its first patterns need.

        Returns at once: whoever is idle calls it again and again, and no request meets more than one of the two.
        """
        made = self._compiler()
        if made.done() and made.exception() is None:
            made.result().warm(give_back_freed)

    def submit(self, constraint: Constraint | Healed) -> Future[CompiledGrammar]:
        """As GrammarCompiler.submit."""
        made = self._compiler()
        if made.done() and made.exception() is None:
            return made.result().submit(constraint)
        answer: Future[CompiledGrammar] = Future()
        made.add_done_callback(lambda _: _forward(made, constraint, answer))
        return answer

    @property
    def num_compiles(self) -> int:
        return self._count("num_compiles")

    @property
    def num_cache_hits(self) -> int:
        return self._count("num_cache_hits")

    @property
    def num_timeouts(self) -> int:
        return self._count("num_timeouts")

    def close(self) -> None:
        """Ends the compiler; one that is being built is waited for."""
        with self._lock:
            made = self._made
        if made is not None and made.exception() is None:
            made.result().close()

    def _count(self, name: str) -> int:
        made = self._made
        if made is None or not made.done() or made.exception() is not None:
            return 0
        return int(getattr(made.result(), name))

    def _compiler(self) -> Future[GrammarCompiler]:
        with self._lock:
            if self._made is None:
                self._made = Future()
                Thread(target=self._build, args=(self._made,), name="radixlang-grammars", daemon=True).start()
            return self._made

    def _build(self, made: Future[GrammarCompiler]) -> None:
        try:
            made.set_result(self._make())
        except BaseException as error:  # whoever waits must be answered, whatever went wrong
            made.set_exception(error)


def _forward(made: Future[GrammarCompiler], constraint: Constraint | Healed, answer: Future[CompiledGrammar]) -> None:
    """The compiler's answer, once there is a compiler; a cancelled one is left alone."""

    def copy(found: Future[CompiledGrammar]) -> None:
        with suppress(InvalidStateError):
            if (error := found.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found.result())

    if (error := made.exception()) is not None:
        with suppress(InvalidStateError):
            answer.set_exception(error)
    elif not answer.cancelled():
        made.result().submit(constraint).add_done_callback(copy)
