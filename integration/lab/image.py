"""A 2 MB container image made of nothing but a static busybox; registries are out of reach."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from integration.lab.process import run

BUSYBOX = Path("/bin/busybox")
CHANGES = ("ENV PATH=/bin", 'CMD ["/bin/sh"]')


def root_tarball(folder: Path) -> Path:
    """Return the image's root file system as a tarball in `folder`, made on first use."""
    tarball = folder / "busybox.tar"
    if not tarball.exists():
        draft = tarball.with_suffix(".draft")
        _pack(draft)
        draft.rename(tarball)
    return tarball


def _pack(tarball: Path) -> None:
    applets = run([str(BUSYBOX), "--list"]).stdout.split()
    with tarfile.open(tarball, "w") as tar:
        for folder in ("bin", "etc", "proc", "root", "sys", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(BUSYBOX.resolve(), "bin/busybox")
        for applet in applets:
            if applet == "busybox":
                continue
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
            ("etc/group", "root:x:0:\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
