from pathlib import Path

import pytest

from radixlang.cli import main
from radixlang.errors import NativeUnavailable
from radixlang.kernels.cpu import pack
from radixlang.kernels.cpu.load import load
from radixlang.runtime.weights.forms import FORMS, table

DOCS = Path(__file__).parents[3] / "docs" / "formats.md"


def test_bits_are_those_of_the_packed_tiles() -> None:
    try:
        library = load()
    except NativeUnavailable as error:
        pytest.skip(str(error))
    pack._declare(library)
    depth, columns = 1 << 16, 32
    for form in FORMS:
        kind = library.rx_pack_kind_for(pack.FORMATS.index(form.packed))
        bits = library.rx_pack_strip_bytes(kind, depth) * 8 / (depth * columns)
        assert bits == pytest.approx(form.bits, abs=0.01), form


def test_every_packed_format_has_a_row() -> None:
    assert {form.packed for form in FORMS} == set(pack.FORMATS)


def test_the_command_and_the_docs_show_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats"]) == 0
    assert capsys.readouterr().out.splitlines() == table()
    assert "\n".join(table()) in DOCS.read_text()
