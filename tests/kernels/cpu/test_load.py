"""Finding, building and refusing the native library; threads that this process may use."""

import platform
from pathlib import Path

import pytest

from radixlang.errors import ConfigError, NativeUnavailable
from radixlang.kernels.cpu import build, load


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has neither a packaged nor a cached library."""
    monkeypatch.setenv("RADIXLANG_NATIVE", str(tmp_path / "native"))
    monkeypatch.delenv("RADIXLANG_NATIVE_LIBRARY", raising=False)
    monkeypatch.delenv("RADIXLANG_ISA", raising=False)
    monkeypatch.setattr(load, "SOURCES", tmp_path / "kernels" / "csrc")
    return tmp_path


def test_without_a_compiler_the_error_says_what_to_install(
    empty: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NativeUnavailable, match=r"no C\+\+ compiler.*install.*ziglang"):
        load._find_or_build()
    assert not caplog.records  # nothing is compiled, and nobody says so


@pytest.mark.parametrize("does_nothing", ["true", "false"])
def test_a_compiler_that_fails_leaves_nothing_behind(
    empty: Path, monkeypatch: pytest.MonkeyPatch, does_nothing: str
) -> None:
    monkeypatch.setenv("CXX", does_nothing)
    with pytest.raises(NativeUnavailable, match=f"cannot be built: {does_nothing} knows none"):
        load._find_or_build()
    assert not list((empty / "native").glob("*.so"))
    assert not list((empty / "native").glob(".build-*"))


def test_a_compiler_that_is_not_there_is_named(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", f"{empty}/g++ -O1")
    with pytest.raises(NativeUnavailable, match=r"g\+\+ that CXX names is not here"):
        load._find_or_build()
    monkeypatch.setenv("CXX", " ")  # as good as none
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NativeUnavailable, match=r"no C\+\+ compiler"):
        load._find_or_build()


def test_a_folder_that_cannot_be_written_is_named(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty / "native").write_text("a file")
    with pytest.raises(NativeUnavailable, match=r"cannot be kept in .*native.*set RADIXLANG_NATIVE"):
        load._find_or_build()


def test_a_packaged_library_is_taken_before_any_other(empty: Path) -> None:
    packaged = empty / "kernels" / build.library_name()
    packaged.parent.mkdir()
    packaged.touch()
    assert load._find_or_build() == packaged


def test_the_name_follows_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    (tmp_path / "a.cpp").write_text("int a;")
    before = build.library_name()
    (tmp_path / "a.cpp").write_text("int b;")
    assert build.library_name() != before


def test_an_object_is_compiled_again_when_a_header_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def compile_(command: list[str]) -> None:
        made.append(command[-3])
        Path(command[-1]).touch()

    monkeypatch.setattr(build, "_run", compile_)
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    source, header, unrelated = (tmp_path / name for name in ("a.cpp", "a.h", "b.h"))
    source.write_text('#include "a.h"\n')
    header.write_text("int a;\n")
    first = build._compile(["c++"], source, tmp_path)
    unrelated.write_text("int b;\n")
    assert build._compile(["c++"], source, tmp_path) == first
    assert len(made) == 1
    header.write_text("int c;\n")
    assert build._compile(["c++"], source, tmp_path) != first
    assert build._compile(["c++", "-O3"], source, tmp_path) != first
    assert len(made) == 3


def test_an_instruction_set_that_is_not_there_is_refused(native: pytest.MonkeyPatch) -> None:
    native.setenv("RADIXLANG_ISA", "mmx")
    with pytest.raises(ConfigError, match=r"RADIXLANG_ISA=mmx: this machine runs .*scalar"):
        load.instruction_set()
    native.setenv("RADIXLANG_ISA", "scalar")
    assert load.instruction_set() == "scalar"


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "wanted"),
    [
        ("x86_64", "flags\t: fpu avx2 fma f16c\n", ["avx2", "scalar"]),
        ("x86_64", "flags\t: fpu avx2 fma f16c avx_vnni\n", ["avx2vnni", "avx2", "scalar"]),
        ("x86_64", "flags\t: fpu sse2\n", ["scalar"]),
        ("x86_64", "Features\t: asimd\n", None),
        ("x86_64", None, None),
        ("aarch64", "Features\t: fp asimd aes atomics asimddp\n", ["neon", "scalar"]),
        ("aarch64", "Features\t: fp asimd aes crc32\n", ["scalar"]),
        ("aarch64", "flags\t: fpu avx2\n", None),  # an emulator shows the machine that it runs on
    ],
)
def test_the_sets_of_a_machine_are_those_whose_flags_it_has(
    machine: str, cpuinfo: str | None, wanted: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RADIXLANG_ISA", raising=False)
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(build, "_CPUINFO", tmp_path / "cpuinfo")
    assert build.sets_here(machine) == wanted
    if machine == platform.machine():
        assert build.best_here() == (wanted[0] if wanted else None)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="flags of x86-64")
def test_a_set_that_the_machine_lacks_is_refused_before_anything_is_compiled(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty / "cpuinfo").write_text("flags\t: fpu avx2 fma f16c\n")
    monkeypatch.setattr(build, "_CPUINFO", empty / "cpuinfo")
    monkeypatch.setenv("RADIXLANG_ISA", "avx512")
    with pytest.raises(ConfigError, match="RADIXLANG_ISA=avx512: this machine runs avx2, scalar; take one of these"):
        load._find_or_build()
    assert not (empty / "native").exists()


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 0), ("150000 100000", 1), ("50000 100000", 1), ("400000 100000", 4)]
)
def test_threads_follow_the_quota_of_the_control_group(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "service"
    inner.mkdir()
    (inner / "cpu.max").write_text(quota)
    (tmp_path / "cpu.max").write_text("800000 100000")  # of the group around it
    monkeypatch.setattr(load, "limit_folders", lambda controller: [inner, tmp_path])
    assert load._cgroup_cores() == (cores or 8)
    assert load.default_threads() >= 1
