"""Constraints that may blow up are compiled first in a child process with limits, which dies in our place.

The child compiles against a vocabulary of bytes: what a grammar takes hardly depends on more. It is started when the
engine is idle, else when first needed, and serves one constraint at a time; killed, it is replaced, and that constraint
is refused.

python -m radixlang.constrained.trial     the child: length-prefixed messages on its standard input and output
"""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from typing import IO

import msgspec

from ..errors import GrammarError, GrammarTooLarge
from .constraint import Closing, Constraint, Grammar, Healed, JsonSchema, Regex, Sequence, StructuralTag
from .pool import WALL_FACTOR

SUSPECT_CHARS = 512 * 1024  # of a schema or tag; the engine's memory grows with these
SUSPECT_PATTERN = 8 * 1024  # of a regex or grammar
SUSPECT_REPEATS = 2000  # the counts of a regex or grammar multiplied
TRIAL_SHARE = 0.75  # of the computing time of one compile: who is refused hears of it within that time
STARTING_S = 10.0
MiB = 1024 * 1024
logger = logging.getLogger(__name__)


class Verdict(msgspec.Struct):
    """How a trial ended: "" is well, or with an error that the compiler will find again."""

    too_large: str = ""
    """The error of what is above a limit: as good as the compiler's own."""


def is_suspect(constraint: Constraint | Healed) -> bool:
    """Whether compiling it is tried out first."""
    match constraint:
        case Healed(_, inner):
            return inner is not None and is_suspect(inner)
        case Closing(inner):
            return is_suspect(inner)
        case Regex(pattern):
            return len(pattern) > SUSPECT_PATTERN or _repeats(pattern) > SUSPECT_REPEATS
        case Grammar(source, syntax):
            return syntax == "lark" or len(source) > SUSPECT_PATTERN or _repeats(source) > SUSPECT_REPEATS
        case JsonSchema(schema):
            return len(schema) > SUSPECT_CHARS
        case StructuralTag(spec):
            return len(spec) > SUSPECT_CHARS
        case Sequence(parts):
            return any(is_suspect(part.constraint) for part in parts)
    return False


def _repeats(text: str) -> int:
    """The counts of all repetitions, multiplied; bounded."""
    product = 1
    for count in re.findall(r"\{(?:\d*,)?(\d+)\}", text):
        product = min(product * max(1, int(count[:9])), 10**12)
    return product


class TrialChild:
    """The child, from the parent's side. Thread-safe: one trial at a time."""

    def __init__(self, *, timeout_s: float, max_bytes: int) -> None:
        """Limits of one trial: computing time (WALL_FACTOR times as much may pass) and memory."""
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_usable = True
        self.num_killed = 0

    @property
    def is_running(self) -> bool:
        """Whether the child is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the child, a second's work, before anybody waits for it."""
        with self._lock:
            self._started()

    def check(self, constraint: Constraint | Healed) -> None:
        """Raises GrammarTooLarge for what breaks the limits; other errors are left to the compiler."""
        inner = constraint
        while isinstance(inner, Closing | Healed):
            assert inner.constraint is not None
            inner = inner.constraint
        data = msgspec.msgpack.encode(inner)
        with self._lock:
            process = self._started()
            if process is None:
                return
            answer = self._ask(process, data, WALL_FACTOR * self._timeout_s)
            if answer is None:
                self.num_killed += 1
                self._stop()
                threading.Thread(target=self.start, name="grammar-trial", daemon=True).start()
        if answer is None:
            limits = f"{TRIAL_SHARE * self._timeout_s:g} s or {self._max_bytes // MiB} MiB"
            raise GrammarTooLarge(f"compiling the grammar took more than {limits}")
        if answer.too_large:
            raise GrammarTooLarge(answer.too_large)

    def close(self) -> None:
        """Ends the child, and a trial under way."""
        self._is_usable = False
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._stop()

    def _started(self) -> subprocess.Popen[bytes] | None:
        """None where no child can be started: the compiler's own limits must do."""
        if not self._is_usable or (self._process is not None and self._process.poll() is None):
            return self._process
        package = __name__.rpartition(".")[0]
        limits = [str(TRIAL_SHARE * self._timeout_s), str(self._max_bytes)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{package}.trial", *limits],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            )  # fmt: skip
        except OSError:
            self._is_usable = False
            return None
        if self._ask(self._process, b"", STARTING_S) is None:
            if self._is_usable:  # and not ended by `close`
                logger.warning(
                    "no child process for large constraints: they are compiled here, with the engine's limits"
                )
            self._is_usable = False
            self._stop()
            return None
        return self._process

    @staticmethod
    def _ask(process: subprocess.Popen[bytes], data: bytes, wait_s: float) -> Verdict | None:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _write(process.stdin, data)
            answer = _read(process.stdout, time.monotonic() + wait_s)
        except OSError:  # it died
            return None
        return None if answer is None else msgspec.msgpack.decode(answer, type=Verdict)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _write(pipe: IO[bytes], data: bytes) -> None:
    whole = memoryview(len(data).to_bytes(4, "little") + data)
    while whole:
        whole = whole[pipe.write(whole) or 0 :]


def _read(pipe: IO[bytes], until_s: float | None) -> bytes | None:
    """One message; None: the other end is gone, or it did not come in time."""

    def exactly(count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            if until_s is not None:
                left_s = until_s - time.monotonic()
                if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
                    return None
            more = os.read(pipe.fileno(), count - len(data))
            if not more:
                return None
            data += more
        return data

    head = exactly(4)
    return None if head is None else exactly(int.from_bytes(head, "little"))


def main() -> None:
    """The child: trials until its standard input ends."""
    timeout_s, max_bytes = float(sys.argv[1]), int(sys.argv[2])
    import resource  # not on every system: where it is missing, no trials are held

    from .first_steps import check_first_steps
    from .translate import compile_constraint
    from .vocabulary import Vocabulary

    os.nice(10)
    pieces = [b"</s>", *(bytes([byte]) for byte in range(256))]
    vocabulary = Vocabulary(pieces, frozenset({0}), frozenset({0}), len(pieces))
    compile_constraint(Grammar('root ::= "(" root ")" | "a"'), vocabulary)
    with open("/proc/self/statm") as statm:
        held = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + max_bytes, held + max_bytes))
    source, out = os.fdopen(0, "rb", buffering=0), os.fdopen(1, "wb", buffering=0)
    while (data := _read(source, None)) is not None:
        verdict = Verdict()
        signal.setitimer(signal.ITIMER_PROF, timeout_s)  # computed for so long, it ends this process
        if data:
            try:
                grammar = compile_constraint(msgspec.msgpack.decode(data, type=Constraint), vocabulary)
                check_first_steps(grammar, vocabulary)
                grammar.matcher().forced()
            except GrammarTooLarge as error:
                verdict = Verdict(error.message[:500])
            except GrammarError:
                pass
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        _write(out, msgspec.msgpack.encode(verdict))


if __name__ == "__main__":
    main()
