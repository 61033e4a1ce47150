"""A command on a full kernel, for what the running kernel lacks: a virtual machine of this machine.

```python
machine = vm.Machine(["ip", "link", "add", "link", "lo", "type", "ipvlan"], folder=tmp_path)
done = machine.wait()
```

The virtual machine sees this very file system, and keeps to itself what it changes there. It has
no network. It is emulated, 10 to 20 times slower than the machine, and takes what others leave of
the processors.
"""

# ruff: noqa: TID251

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from integration.lab import initramfs
from integration.lab.process import Completed, tail

QEMU = "qemu-system-x86_64"
# Where ./runtests unpacks a kernel that is not installed.
UNPACKED = Path(sys.prefix) / "full-kernel"
HOME, OUTCOME = "/vm", "/vm/outcome"  # inside
MEMORY_MIB = 1024
DEADLINE_S = 300.0
_MODULES_OF_BOOT = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_SIGN = "kernel/drivers/net/ipvlan/ipvlan.ko*"
_SHARE = "-o trans=virtio,version=9p2000.L,msize=1048576"

# The root is an overlay: what is written goes to memory. The temporary files lie beside it, since
# overlayfs refuses to lie on overlayfs, and not in /run, which hosts of a lab cover.
_INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /lower /layers /root
/bin/busybox --install -s /bin
for module in /modules/*; do insmod "$module"; done
mount -t 9p {_SHARE},cache=loose,ro root /lower
mount -t tmpfs layers /layers
mkdir /layers/upper /layers/work
mount -t overlay -o lowerdir=/lower,upperdir=/layers/upper,workdir=/layers/work root /root
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t devtmpfs devtmpfs /root/dev
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t tmpfs run /root/run
mkdir -p /root/lib/modules /root{HOME}
mount --bind "/root/{{modules}}" /root/lib/modules
mount -t tmpfs vm /root{HOME}
mkdir /root{HOME}/tmp /root{OUTCOME}
mount -t 9p {_SHARE} outcome /root{OUTCOME}
exec switch_root /root /bin/sh {OUTCOME}/main
"""
_MAIN = f"""
cd {{folder}}
export {{environment}}
ip link set lo up
{{command}} >{OUTCOME}/output 2>{OUTCOME}/errors </dev/null
echo $? >{OUTCOME}/status
sync
exec /bin/busybox reboot -f
"""


class VirtualMachineFailed(AssertionError):
    """The virtual machine ended before its command did, or not in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullKernel:
    """A distribution's kernel: its image, and the folder of the modules of its version."""

    image: Path
    modules: Path


def full_kernel() -> FullKernel | None:
    """Return the newest full kernel that is installed or unpacked here, if there is one."""
    return max(_kernels(), key=lambda kernel: kernel.image.stat().st_mtime, default=None)


def _kernels() -> Iterator[FullKernel]:
    for root in (UNPACKED, Path("/")):
        for modules in root.glob("lib/modules/*"):
            image = root / f"boot/vmlinuz-{modules.name}"
            is_whole = (modules / "modules.dep").exists() and any(modules.glob(_SIGN))
            if image.exists() and is_whole:
                yield FullKernel(image=image, modules=modules)


class Machine:
    """A virtual machine that runs one command on a full kernel, as root and in the current folder.

    `folder` is empty; the command finds it as `OUTCOME`, and what it leaves there stays.

    Raises:
        LookupError: there is no full kernel.
    """

    def __init__(
        self, argv: Sequence[str], *, folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        kernel = full_kernel()
        if kernel is None:
            raise LookupError("no full kernel is installed or unpacked")
        self._argv, self._folder = [*argv], folder
        (folder / "main").write_text(_main(argv, env or {}))
        init = _INIT.format(modules=kernel.modules.parent.resolve())
        (folder / "initramfs").write_bytes(initramfs.packed(init, kernel.modules, _MODULES_OF_BOOT))
        # It dies with the process that started it.
        prefix = ("nice", "-n", "19", "setpriv", "--pdeathsig", "KILL")
        self._qemu = subprocess.Popen([*prefix, *_qemu(kernel, folder)], stdin=subprocess.DEVNULL)

    def wait(self, *, deadline_s: float = DEADLINE_S) -> Completed:
        """Return what came of the command, once it has ended.

        Raises:
            VirtualMachineFailed: with what the kernel said last.
        """
        with suppress(subprocess.TimeoutExpired):
            self._qemu.wait(deadline_s)
        self.stop()
        folder = self._folder
        if not (status := folder / "status").exists():
            logs = (folder / name for name in ("console", "output", "errors"))
            raise VirtualMachineFailed("\n".join(tail(log) for log in logs))
        output, errors = ((folder / n).read_text(errors="replace") for n in ("output", "errors"))
        return Completed(self._argv, int(status.read_text()), output, errors)

    def stop(self) -> None:
        """Pull the plug; fine when it has ended already."""
        self._qemu.kill()
        self._qemu.wait()


def _main(argv: Sequence[str], env: Mapping[str, str]) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": HOME,
        "LC_ALL": "C.UTF-8",
        "TMPDIR": f"{HOME}/tmp",
        **env,
    }
    return _MAIN.format(
        folder=shlex.quote(str(Path.cwd())),
        environment=" ".join(f"{k}={shlex.quote(v)}" for k, v in environment.items()),
        command=shlex.join(argv),
    )


def _qemu(kernel: FullKernel, folder: Path) -> list[str]:
    return [
        *(QEMU, "-accel", "tcg", "-cpu", "max"),
        # With two processors, each waits for the other while that one waits for a busy machine.
        *("-machine", "q35", "-m", str(MEMORY_MIB), "-smp", "1"),
        *("-nodefaults", "-no-reboot", "-display", "none", "-nic", "none"),
        *("-serial", f"file:{folder / 'console'}"),
        *("-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"),
        *("-virtfs", f"local,path={folder},mount_tag=outcome,security_model=none"),
        *("-kernel", str(kernel.image), "-initrd", str(folder / "initramfs")),
        *("-append", "console=ttyS0 quiet loglevel=4 panic=-1"),
    ]
