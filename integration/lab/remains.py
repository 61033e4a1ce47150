"""What labs leave on the machine while they run, and its removal after one that was killed."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from integration.lab import cgroups
from integration.lab.waiting import eventually

_NAME = re.compile(r"pylab(?P<pid>\d+)(-\d+)?")


def lab_name(pid: int) -> str:
    """Return the name of the lab that a process owns."""
    return f"pylab{pid}"


def owner(name: str) -> int | None:
    """Return the process id of the lab that a host, folder or control group belongs to."""
    match = _NAME.fullmatch(name)
    return int(match["pid"]) if match else None


def is_orphan(name: str) -> bool:
    """Tell whether a name is that of a lab whose process is no more."""
    pid = owner(name)
    return pid is not None and not Path(f"/proc/{pid}").exists()


def folder_of(lab: str) -> Path:
    return Path(tempfile.gettempdir()) / lab


def remove_folder(folder: Path) -> None:
    """Remove a folder that processes which are just ending may still write to."""

    def gone() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    eventually(gone, f"folder {folder} goes away")


def remove_orphans() -> None:
    """Remove what labs left that were killed.

    Their namespaces and processes are gone already: they end with the lab's process.
    """
    for group in list(cgroups.find("pylab*")):
        if is_orphan(group.name):
            cgroups.remove(group.name)
    for folder in Path(tempfile.gettempdir()).glob("pylab*"):
        if is_orphan(folder.name):
            remove_folder(folder)
