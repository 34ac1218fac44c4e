"""Which folders of the system hold the limits of this process: its control groups (Linux, version 1 and 2)."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
LISTING = Path("/proc/self/cgroup")


def limit_folders(controller: str, root: Path = ROOT, listing: Path = LISTING) -> list[Path]:
    """Folders of the groups that this process is in, its own and those around it up to the root: all of their limits
    hold. controller: "cpu" or "memory". Empty where there are no control groups."""
    found = list[Path]()
    for line in _lines(listing) or ["0::/", f"1:{controller}:/"]:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        # A container may see the host's path of its group, which does not exist there: its own limits are at the root.
        own = base / path.lstrip("/")
        inside = ".." not in own.parts
        found += [folder for folder in ([own, *own.parents] if inside else [base]) if folder.is_relative_to(base)]
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()]


def _lines(listing: Path) -> list[str]:
    try:
        return listing.read_text().splitlines()
    except OSError:
        return []
