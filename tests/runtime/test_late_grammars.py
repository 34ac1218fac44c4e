"""The compiler that comes with the first constraint."""

import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest

from radixlang.constrained.constraint import Regex
from radixlang.errors import ConfigError
from radixlang.runtime.late_grammars import LateGrammars


class Compiler:
    num_compiles, num_cache_hits, num_timeouts = 3, 2, 1

    def __init__(self):
        self.asked, self.closed, self.num_warmed = [], False, 0

    def submit(self, constraint):
        self.asked.append(constraint)
        future = Future()
        future.set_result(f"grammar of {constraint.pattern}")
        return future

    def warm(self, then):
        self.num_warmed += 1
        then()

    def close(self):
        self.closed = True


def test_it_is_built_once_and_off_the_callers_thread():
    may_build, compiler, threads = threading.Event(), Compiler(), []

    def make():
        may_build.wait(30)
        threads.append(threading.current_thread())
        return compiler

    late = LateGrammars(make)
    assert late.num_compiles == 0
    answers = [late.submit(Regex(pattern)) for pattern in "ab"]
    assert not any(answer.done() for answer in answers)
    may_build.set()
    assert [answer.result(30) for answer in answers] == ["grammar of a", "grammar of b"]
    assert late.submit(Regex("c")).result(30) == "grammar of c"
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()
    assert (late.num_compiles, late.num_cache_hits, late.num_timeouts) == (3, 2, 1)
    late.close()
    assert compiler.closed


def test_idle_time_builds_one_part_after_the_other():
    may_build, compiler = threading.Event(), Compiler()

    def make():
        may_build.wait(30)
        return compiler

    late = LateGrammars(make)
    late.warm()
    assert compiler.num_warmed == 0
    may_build.set()
    late.submit(Regex("a")).result(30)
    assert compiler.num_warmed == 0
    late.warm()
    assert compiler.num_warmed == 1


def test_what_nobody_waits_for_any_more_is_not_compiled():
    may_build, compiler = threading.Event(), Compiler()

    def make():
        may_build.wait(30)
        return compiler

    late = LateGrammars(make)
    given_up, kept = late.submit(Regex("a")), late.submit(Regex("b"))
    assert given_up.cancel()
    may_build.set()
    assert kept.result(30) == "grammar of b"
    assert compiler.asked == [Regex("b")]


def test_what_keeps_it_from_being_built_is_every_answer():
    def make():
        raise ConfigError("no end-of-sequence token")

    late = LateGrammars(make)
    for _ in range(2):
        with pytest.raises(ConfigError, match="end-of-sequence"):
            late.submit(Regex("a")).result(30)
    late.close()


def test_without_a_constraint_nothing_is_built():
    late = LateGrammars(lambda: pytest.fail("built"))
    late.close()


def test_an_engine_starts_without_the_libraries_of_grammars():
    program = (
        "import sys, radixlang.runtime.engine_process, radixlang.runtime.assemble\n"
        "print(sorted({'llguidance', 'regex', 'tokenizers', 'outlines_core'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
