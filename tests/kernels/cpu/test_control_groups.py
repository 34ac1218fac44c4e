"""The folders of this process's limits, in each way that a system lists them."""

from pathlib import Path

import pytest

from radixlang.kernels.cpu.control_groups import limit_folders


@pytest.mark.parametrize(
    ("listing", "wanted"),
    [
        ("0::/", ["."]),
        ("0::/user.slice/radixlang.service", ["user.slice/radixlang.service", "user.slice", "."]),
        ("0::/docker/of-the-host", ["."]),
        ("0::/../../elsewhere", ["."]),
        ("3:cpu,cpuacct:/slice\n2:memory:/slice/inner\n1:name=systemd:/slice", ["cpu/slice", "cpu"]),
        ("3:cpuset:/slice\n0::/", ["."]),
        (None, [".", "cpu"]),
        ("no line of this kind", ["."]),
    ],
)
def test_own_group_first_then_those_around_it(tmp_path: Path, listing: str | None, wanted: list[str]) -> None:
    root = tmp_path / "groups"
    for folder in ("user.slice/radixlang.service", "cpu/slice", "memory/slice/inner"):
        (root / folder).mkdir(parents=True)
    file = tmp_path / "cgroup"
    if listing is not None:
        file.write_text(listing + "\n")
    assert limit_folders("cpu", root, file) == [root / folder for folder in wanted]


def test_a_system_without_control_groups_has_none(tmp_path: Path) -> None:
    assert limit_folders("memory", tmp_path / "nowhere", tmp_path / "nothing") == []
