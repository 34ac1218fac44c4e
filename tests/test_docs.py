"""The guide's code runs on the default model, page by page; the site builds with every reference in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import radixlang as sgl

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INCLUDED = re.compile(r'--8<-- "([^"]+)"')


@pytest.fixture(scope="module")
def engine():
    engine = sgl.Engine(model_path="smollm2-135m-instruct", enable_lora=True)
    yield engine
    engine.shutdown()


def blocks(page: Path) -> list[str]:
    """Python of a page without files that it includes: those are examples, which tests/lang/test_examples.py runs."""
    return [block for block in _BLOCK.findall(page.read_text(encoding="utf-8")) if not _INCLUDED.search(block)]


@pytest.mark.model
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, engine, monkeypatch):
    monkeypatch.setattr(sgl, "Engine", lambda **options: engine)
    before = sgl.global_config.default_backend
    sgl.set_default_backend(engine)
    names: dict[str, object] = {"sgl": sgl}
    try:
        for number, block in enumerate(blocks(page)):
            path = f"{page.name}[{number}]"
            exec(compile(block, path, "exec"), names)
    finally:
        sgl.set_default_backend(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_includes_examples_that_exist(page):
    for path in _INCLUDED.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).is_file(), path
        assert path.startswith("examples/")


def test_every_variable_that_is_read_stands_in_the_guide():
    ours = {"RADIXLANG_ENDS_WITH_STDIN"}  # from one process of ours to another
    rooms = ("constrained", "kernels", "lang", "radix_cache", "runtime")
    sources = [*ROOT.glob("*.py"), *(path for room in rooms for path in (ROOT / room).rglob("*.py"))]
    read = {name for path in sources for name in re.findall(r'"(RADIXLANG_[A-Z_]+)"', path.read_text())}
    assert read >= {"RADIXLANG_CACHE", "RADIXLANG_ISA"}
    guide = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    assert {name for name in read - ours if f"`{name}`" not in guide} == set()


def test_names_in_the_guide_exist():
    for page in PAGES:
        for name in re.findall(r"\bsgl\.([A-Za-z_]\w*)", page.read_text(encoding="utf-8")):
            assert hasattr(sgl, name), f"{page.name}: sgl.{name}"


def test_the_reference_has_every_public_name_and_each_says_what_it_is():
    shown = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), re.MULTILINE)
    for name in sgl.__all__:
        value = getattr(sgl, name)
        if name.startswith("__") or isinstance(value, types.ModuleType):
            continue
        kind = value if isinstance(value, (type, types.FunctionType)) else type(value)
        full = f"{kind.__module__}.{kind.__qualname__}"
        assert any(full == one or full.startswith(f"{one}.") for one in shown), f"docs/reference.md lacks {full}"
        own = vars(kind).get("__doc__") if isinstance(kind, type) else kind.__doc__
        assert own, f"{full} has no docstring"


def test_the_site_builds_strictly(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings_handlers")
    pytest.importorskip("material")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    reference = (tmp_path / "reference" / "index.html").read_text(encoding="utf-8")
    for name in ("gen", "select", "fork", "CompiledProgram", "RuntimeEndpoint", "BudgetExceeded"):
        assert name in reference
