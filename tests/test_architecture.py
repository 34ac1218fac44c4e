"""The plan of the house, held by a test: moving a wall means changing a list here, on purpose."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 450
FLOORS = [  # an import goes to a lower floor or stays in its room
    {"__main__"},
    {"cli"},
    {"launch_server"},
    {"runtime"},
    {"global_config"},
    {"lang", "utils"},
    {"constrained", "radix_cache", "kernels"},
    {"errors"},
]
ROOMS = ("lang", "runtime", "radix_cache", "constrained", "kernels")
NO_TORCH = (
    "lang",
    "radix_cache",
    "constrained",
    "runtime/lora",
    "runtime/server",
    "runtime/scheduler",
    "runtime/tokenizer",
    "runtime/weights",
)


def sources() -> list[Path]:
    files = [p for room in ROOMS for p in (ROOT / room).rglob("*.py")]
    return sorted(files + [p for p in ROOT.glob("*.py") if p.name not in ("setup.py", "__init__.py")])


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


def floor_of(room: str) -> int:
    found = [i for i, floor in enumerate(FLOORS) if room in floor]
    assert found, f"{room} stands on no floor: add it to FLOORS"
    return found[0]


def imported_rooms(path: Path) -> set[tuple[str, int]]:
    """(room, line) of each import of ours in the file, wherever it stands in it."""
    package = ["radixlang", *path.relative_to(ROOT).parent.parts]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = [*base, *(node.module or "").split(".")] if node.module else base
            names = [[*name, alias.name] for alias in node.names] if len(name) <= 1 else [name]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        else:
            continue
        rooms |= {(n[1], node.lineno) for n in names if n and n[0] == "radixlang" and len(n) > 1}
    return {(room, line) for room, line in rooms if any(room in floor for floor in FLOORS)}


def test_imports_go_down_or_stay_in_their_room() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {room}"
        for path in sources()
        for room, line in imported_rooms(path)
        if room != room_of(path)
        and floor_of(room) <= floor_of(room_of(path))
        # `Engine`, `Runtime` and `ServerArgs` are offered by the language and loaded from the runtime when used
        and not (path.relative_to(ROOT).as_posix() in ("lang/api.py",) and room == "runtime")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_file_is_read_in_one_sitting_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_LINES, f"{text.count(chr(10))} lines: two things live in one room"
    assert ast.get_docstring(ast.parse(text)), "a module opens by saying what it is for"


def test_kernels_imports_nothing_at_its_door() -> None:
    tree = ast.parse((ROOT / "kernels/__init__.py").read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]


def test_rooms_of_integers_and_text_never_import_torch() -> None:
    pattern = re.compile(r"^\s*(import|from)\s+(torch|transformers)\b", re.M)
    wrong = [
        p.relative_to(ROOT).as_posix()
        for room in NO_TORCH
        for p in (ROOT / room).rglob("*.py")
        if pattern.search(p.read_text())
    ]
    assert not wrong


def test_every_folder_of_python_is_a_package_with_a_purpose() -> None:
    folders = {p.parent for room in ROOMS for p in (ROOT / room).rglob("*.py")}
    wrong = [
        str(f.relative_to(ROOT))
        for f in folders
        if not (f / "__init__.py").is_file() or not (f / "__init__.py").read_text().strip()
    ]
    assert not wrong
