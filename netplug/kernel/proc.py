"""The single door to subprocesses: an argument vector, a deadline, captured output."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

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
