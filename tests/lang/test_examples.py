"""Each example, and README's program, prints on the default model what is shown beside it.

Word for word where the instruction set is the one that the texts were printed with; elsewhere the model may prefer
another word, so that lines and their labels are compared.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

import radixlang as sgl
from radixlang.kernels.cpu.load import instruction_set

ROOT = Path(__file__).parents[2]
shows = SimpleNamespace(**runpy.run_path(str(ROOT / "examples" / "regenerate.py")))


@pytest.fixture(scope="module")
def engine():
    engine = sgl.Engine(model_path="smollm2-135m-instruct")
    yield engine
    engine.shutdown()


def label(line: str) -> str:
    """What an example writes itself: all before the first colon, and counts."""
    head, colon, _ = line.partition(":")
    return head + colon if colon else re.sub(r"[^\d,;%*]+", " ", line) if re.match(r"\d+ ", line) else ""


@pytest.mark.model
@pytest.mark.parametrize("path", [*shows.examples(), shows.README], ids=lambda p: p.stem)
def test_an_example_prints_what_it_shows(path, engine, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    shown, printed = shows.shown(path), shows.printed(path, engine)
    if instruction_set() == shows.SHOWN_WITH:
        assert printed == shown, "python examples/regenerate.py writes what is printed now"
    else:
        assert [label(line) for line in printed] == [label(line) for line in shown]
