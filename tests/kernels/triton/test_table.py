"""Each kernel of the table has its meaning in plain torch, a place in `ops`, a caller, a test and a compilation."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from radixlang.kernels import ops, registry
from radixlang.kernels.load import load_kernels

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "kernels" / "triton" / "table.py"


def registered() -> dict[str, str]:
    """Op to the function that triton's table registers for it."""
    calls = [node for node in ast.walk(ast.parse(TABLE.read_text())) if isinstance(node, ast.Call)]
    return {
        call.args[0].value: call.args[1].attr
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "add"
        and isinstance(call.args[0], ast.Constant) and isinstance(call.args[1], ast.Attribute)
    }  # fmt: skip


def called_in(*folders: Path) -> set[str]:
    """Names of everything that the Python files there call."""
    found = set()
    for file in (file for folder in folders for file in ([folder] if folder.is_file() else folder.rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                found.add(node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""))
    return found


KERNELS = registered()


def test_the_table_is_read() -> None:
    assert {"attention", "sample_rows", "linear_w4", "linear_w8a8", "moe", "add_lora"} < set(KERNELS)


@pytest.mark.parametrize("op", sorted(KERNELS))
def test_a_kernel_is_whole(op: str) -> None:
    load_kernels()
    assert any(found.name == "reference" for found in registry.implementations(op)), "no plain torch beside it"
    assert callable(getattr(ops, op)), "its shapes stand in kernels/ops.py"
    assert op in called_in(ROOT / "runtime"), "nothing calls it"
    assert KERNELS[op] in called_in(Path(__file__).parent), "no test runs it"
    assert KERNELS[op] in called_in(ROOT / "examples" / "bench" / "compile_kernels.py"), "it is not compiled"


def test_every_kernel_that_is_launched_is_reached_from_the_table() -> None:
    """No function under @triton.jit lies beside the table unused."""
    defined, used = set(), set()
    for file in (ROOT / "kernels" / "triton").glob("*.py"):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and any("jit" in ast.unparse(d) for d in node.decorator_list):
                defined.add(node.name)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                used.add(node.id)
    assert defined
    assert not defined - used
