"""The single door to subprocesses.

`run` is for programs that end: an argument vector, a deadline, captured output. `start_module` is
for a process of our own that lives as long as the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import netplug
from netplug.errors import DeadlineExceeded, KernelRefused, Unsupported

DEADLINE_S = 10.0


async def run(argv: Sequence[str], *, stdin: str = "", deadline_s: float = DEADLINE_S) -> str:
    """Run `argv` and return its standard output.

    Raises:
        Unsupported: the program is not installed.
        KernelRefused: it exited with an error; the reason is its last line.
        DeadlineExceeded: it was killed after `deadline_s`.
    """
    name = argv[0]
    try:
        process = await asyncio.create_subprocess_exec(  # noqa: TID251 - this is the door
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise Unsupported(name, "the program is not installed") from error
    try:
        async with asyncio.timeout(deadline_s):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError as error:
        raise DeadlineExceeded(f"{name}", deadline_s) from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        text = err.decode(errors="replace").strip() or f"exit status {process.returncode}"
        raise KernelRefused(f"run {' '.join(argv)}", " / ".join(text.splitlines()))
    return out.decode(errors="replace")


async def start_module(
    name: str, *arguments: str, fd: int, needs: Sequence[str] = ()
) -> asyncio.subprocess.Process:
    """Start a module of ours as a process that inherits `fd` under its number, and nothing else.

    It is in a session of its own, so that signals of a terminal do not reach it. It finds our
    packages, and those that it `needs`, wherever this process did: without `site`, an editable
    install's import hooks do not run in it.

    Raises:
        OSError: it cannot be started.
    """
    homes = dict.fromkeys([Path(netplug.__file__).parent.parent, *map(_home, needs)])
    return await asyncio.create_subprocess_exec(  # noqa: TID251 - this is the door
        *(sys.executable, "-S", "-m", name, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        pass_fds=[fd],
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, homes))},
    )


def _home(package: str) -> Path:
    """Return the folder that a package is in, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise OSError(errno.ENOENT, f"the Python package {package} is not installed")
    return Path(spec.origin).parent.parent
