"""The control groups that engines of a lab make; they live outside every namespace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from integration.lab.waiting import eventually

ROOT = Path("/sys/fs/cgroup")


def find(pattern: str) -> Iterator[Path]:
    """Yield the topmost groups whose name matches, in each hierarchy (v1 and v2)."""
    yield from (path for path in ROOT.glob(pattern) if path.is_dir())
    yield from (path for path in ROOT.glob(f"*/{pattern}") if path.is_dir())


def remove(name: str) -> None:
    """Remove the groups of that name with all below them, once their processes are gone."""

    def gone() -> bool:
        tops = list(find(name))
        return sum(_removed(top) for top in tops) == len(tops)

    eventually(gone, f"control group {name} empties")


def _removed(top: Path) -> bool:
    """Try to remove a tree of groups, the innermost first, and tell whether it is gone."""
    for path, _, _ in os.walk(top, topdown=False):
        try:
            Path(path).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
