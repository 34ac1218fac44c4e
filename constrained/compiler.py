"""Constraint to compiled grammar: one cache, one bounded pool, limits in time and memory.

Compiling never runs on the scheduler's thread. Identical compiles that run at once share one; what failed is
remembered for a while, so that a hostile grammar sent again and again costs once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from ..errors import GrammarError, GrammarSyntaxError, GrammarTooLarge, InternalError
from .constraint import Constraint, Healed, Regex
from .first_steps import check_first_steps
from .fsm.charset import category, ignore_case
from .guidance import tokenizer_for
from .matcher import CompiledGrammar
from .pool import CompilePool, Deadline
from .translate import check_constraint, compile_constraint
from .trial import TrialChild, is_suspect
from .vocabulary import Vocabulary

MiB = 1024 * 1024
REMEMBERED_FAILURES = 256


class GrammarCompiler:
    """Compiles constraints for one vocabulary. Thread-safe."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        timeout_s: float = 2.0,
        max_bytes: int = 256 * MiB,
        cache_bytes: int = 256 * MiB,
        num_workers: int = 2,
    ) -> None:
        """`timeout_s` and `max_bytes` bound one compile; `cache_bytes` what is kept of finished ones."""
        self.vocabulary = vocabulary
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes
        self.cache_bytes = cache_bytes
        self._pool = CompilePool(num_workers)
        self._suspects = CompilePool(1)
        """For what the child tries first, one at a time: others do not wait behind it."""
        self._trial = TrialChild(timeout_s=timeout_s, max_bytes=max_bytes)
        self._pool.submit(partial(tokenizer_for, vocabulary))
        self._is_warm = False
        self._lock = threading.Lock()
        self._done: OrderedDict[Constraint | Healed, CompiledGrammar] = OrderedDict()
        self._failed: OrderedDict[Constraint | Healed, GrammarError] = OrderedDict()
        self._running: dict[Constraint | Healed, list[Future[CompiledGrammar]]] = {}
        self._held_bytes = 0
        self.num_compiles = 0
        self.num_cache_hits = 0
        self.num_timeouts = 0

    def submit(self, constraint: Constraint | Healed) -> Future[CompiledGrammar]:
        """The grammar, when it is compiled; its exception is a GrammarError. Cancelling affects this caller only."""
        answer: Future[CompiledGrammar] = Future()
        with self._lock:
            known = self._done.get(constraint)
            failure = self._failed.get(constraint)
            if known is not None:
                self._done.move_to_end(constraint)
                self.num_cache_hits += 1
            elif failure is None:
                waiting = self._running.get(constraint)
                if waiting is not None:
                    waiting.append(answer)
                    return answer
                self._running[constraint] = [answer]
                self.num_compiles += 1
                pool = self._suspects if is_suspect(constraint) else self._pool
                pool.submit(partial(self._work, constraint))
                return answer
        if known is not None:
            answer.set_result(known)
        else:
            assert failure is not None
            answer.set_exception(_again(failure))
        return answer

    def compile(self, constraint: Constraint) -> CompiledGrammar:
        """The grammar; blocks until it is compiled. Raises a GrammarError."""
        return self.submit(constraint).result()

    def check(self, constraint: Constraint) -> tuple[str, ...]:
        """Raises the GrammarError that reading the constraint finds, at once; compiling may find more.

        Returns the JSON pointers of what is ignored.
        """
        return check_constraint(constraint)

    def warm(self, then: Callable[[], None] = lambda: None) -> None:
        """Builds, in the pool, what the first pattern or choice would wait for, and the child in which suspects are
        tried, once; `then` is called there after the former. Returns at once."""
        with self._lock:
            if not self._is_warm:
                self._is_warm = True
                self._pool.submit(partial(self._build_alphabet, then))
                self._pool.submit(self._trial.start)

    @property
    def has_child(self) -> bool:
        """Whether the process runs in which suspects are tried."""
        return self._trial.is_running

    def close(self) -> None:
        """Ends the pool; compiles under way are abandoned."""
        self._pool.close()
        self._suspects.close()
        self._trial.close()

    def _build_alphabet(self, then: Callable[[], None]) -> None:
        for escape in (r"\d", r"\w", r"\s"):
            category(escape, 0)
        ignore_case(((97, 97),), 0)
        assert self.vocabulary.trie.num_nodes
        tokenizer_for(self.vocabulary)  # being built since the beginning
        then()

    def _work(self, constraint: Constraint | Healed) -> None:
        """Compiles in a worker thread; a deadline answers in its place when it takes too long."""
        if self._is_abandoned(constraint):
            return
        deadline = Deadline(self.timeout_s, partial(self._time_out, constraint, threading.get_ident()))
        try:
            if is_suspect(constraint):
                if isinstance(constraint, Regex):
                    check_constraint(constraint)  # what reading refuses needs no trial
                self._trial.check(constraint)
            grammar = compile_constraint(constraint, self.vocabulary)
            check_first_steps(grammar, self.vocabulary)
            if grammar.num_bytes > self.max_bytes:
                raise GrammarTooLarge(
                    f"compiled, the grammar takes {grammar.num_bytes // MiB} MiB of {self.max_bytes // MiB} allowed"
                )
            self._finish(constraint, grammar)
        except GrammarError as error:
            self._finish(constraint, error)
        except UnicodeEncodeError:
            self._finish(constraint, GrammarSyntaxError("half a surrogate pair is no character: the text is not UTF-8"))
        except MemoryError:
            self._finish(constraint, GrammarTooLarge("compiling the grammar ran out of memory"))
        except RecursionError:
            self._finish(constraint, GrammarTooLarge("the grammar is nested too deeply"))
        except BaseException as error:  # whoever waits must be answered, whatever went wrong
            failure = InternalError(f"compiling a grammar failed: {error!r}")
            failure.__cause__ = error
            self._answer(constraint, failure)
        finally:
            deadline.cancel()

    def _is_abandoned(self, constraint: Constraint | Healed) -> bool:
        """Whether nobody waits for a compile any more; it is then forgotten."""
        with self._lock:
            is_abandoned = all(answer.cancelled() for answer in self._running[constraint])
            if is_abandoned:
                del self._running[constraint]
                self.num_compiles -= 1
        return is_abandoned

    def _time_out(self, constraint: Constraint | Healed, thread_id: int) -> None:
        with self._lock:
            if constraint not in self._running:
                return
            self.num_timeouts += 1
        pool = self._suspects if is_suspect(constraint) else self._pool
        pool.give_up(thread_id)
        self._finish(constraint, GrammarTooLarge(f"the grammar did not compile within {self.timeout_s:g} s"))

    def _finish(self, constraint: Constraint | Healed, outcome: CompiledGrammar | GrammarError) -> None:
        with self._lock:
            if isinstance(outcome, GrammarError):
                self._failed[constraint] = outcome
                while len(self._failed) > REMEMBERED_FAILURES:
                    self._failed.popitem(last=False)
            elif constraint not in self._done:
                self._failed.pop(constraint, None)
                self._done[constraint] = outcome
                self._held_bytes += outcome.num_bytes
                while self._held_bytes > self.cache_bytes and len(self._done) > 1:
                    self._held_bytes -= self._done.popitem(last=False)[1].num_bytes
        self._answer(constraint, outcome)

    def _answer(self, constraint: Constraint | Healed, outcome: CompiledGrammar | Exception) -> None:
        with self._lock:
            waiting = self._running.pop(constraint, [])
        for answer in waiting:
            if not answer.set_running_or_notify_cancel():
                continue
            if isinstance(outcome, GrammarError):
                answer.set_exception(_again(outcome))
            elif isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)


def _again(error: GrammarError) -> GrammarError:
    """A copy for one caller, who may add where in its request the constraint stood."""
    copy = type(error).__new__(type(error))
    copy.__dict__.update(error.__dict__)
    copy.args = error.args
    return copy
