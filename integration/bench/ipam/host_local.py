"""Asks CNI's `host-local` for addresses, as a container runtime does: a process for each.

`host_local.py PROGRAM FOLDER CALLERS CALLS` prints a line of JSON: the seconds that so many ADDs
took with so many processes at once; the us that each took, from its start to its end; and the
seconds of processor time that this process needed for them. `FOLDER` has the configuration; what
was given is given back by a DEL each, afterwards.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

CONFIG = "config.json"
_AT_ONCE_BYTES = 1 << 16


def run(program: str, folder: str, verb: str, container: str) -> tuple[float, bytes]:
    """Run the plugin to its end; return the us that it took, and what it printed.

    Raises:
        ChildProcessError: it failed.
    """
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": f"/run/netns/{container}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": os.path.dirname(program),
    }
    begun_s = time.perf_counter()
    reader, writer = os.pipe()
    files = [
        (os.POSIX_SPAWN_OPEN, 0, f"{folder}/{CONFIG}", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, writer, 1),
    ]
    pid = os.posix_spawn(program, [program], environment, file_actions=files)
    os.close(writer)
    printed = b"".join(iter(lambda: os.read(reader, _AT_ONCE_BYTES), b""))
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    took_us = (time.perf_counter() - begun_s) * 1e6
    if status:
        raise ChildProcessError(f"{verb} of {container}: {printed!r}")
    return took_us, printed


def main(arguments: Sequence[str]) -> None:
    program, folder, callers, calls = arguments
    containers = [f"bench-{os.getpid()}-{number}" for number in range(int(calls))]
    with ThreadPoolExecutor(int(callers)) as pool:
        begun_s, worked_s = time.perf_counter(), time.process_time()
        done = list(pool.map(partial(run, program, folder, "ADD"), containers))
        seconds, work_s = time.perf_counter() - begun_s, time.process_time() - worked_s
        list(pool.map(partial(run, program, folder, "DEL"), containers))
    given = {json.loads(printed)["ips"][0]["address"] for _, printed in done}
    if len(given) != len(containers):
        raise AssertionError("an address was given out twice")
    took_us = [took_us for took_us, _ in done]
    print(json.dumps({"seconds": seconds, "work_s": work_s, "took_us": took_us}))


if __name__ == "__main__":
    main(sys.argv[1:])
