"""The first file system of a virtual machine: a static busybox, modules, and what to do first."""

from __future__ import annotations

import lzma
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from integration.lab.image import BUSYBOX

_ALIGN = 4
_TRAILER = "TRAILER!!!"


def packed(init: str, modules: Path, names: Sequence[str]) -> bytes:
    """Return a cpio archive (Linux Documentation/driver-api/early-userspace/buffer-format.rst).

    It holds busybox, `init` as /init, and below /modules each module of those names with all that
    it depends on, numbered in the order in which they must be loaded. `modules` is the folder of
    a kernel's version, with its modules.dep.
    """
    parts = [
        *(_entry(name, stat.S_IFDIR | 0o755) for name in ("bin", "modules")),
        _entry("bin/busybox", stat.S_IFREG | 0o755, BUSYBOX.resolve().read_bytes()),
        _entry("init", stat.S_IFREG | 0o755, init.encode()),
    ]
    for number, module in enumerate(_in_order(modules, names)):
        content = module.read_bytes()
        if module.suffix == ".xz":
            content = lzma.decompress(content)
        parts.append(_entry(f"modules/{number:02}", stat.S_IFREG | 0o644, content))
    return b"".join([*parts, _entry(_TRAILER, 0)])


def _in_order(modules: Path, names: Sequence[str]) -> list[Path]:
    """Return the modules of those names, each behind what it depends on (depmod(8))."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, dependencies = line.partition(":")
        needs[path] = dependencies.split()
    by_name = {Path(path).name.partition(".")[0]: path for path in needs}
    ordered: dict[str, None] = {}
    for path in (by_name[name] for name in names if name in by_name):  # else it is built in
        ordered |= dict.fromkeys([*reversed(needs[path]), path])
    return [modules / path for path in ordered]


def _entry(name: str, mode: int, content: bytes = b"") -> bytes:
    """Return one file in the format "newc"."""
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return b"".join(_aligned(header + path)) + b"".join(_aligned(content))


def _aligned(content: bytes) -> Iterator[bytes]:
    yield content
    yield b"\0" * (-len(content) % _ALIGN)
