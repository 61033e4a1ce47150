"""Run the resolver: `python -m netplug.dns FD`."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import time

from netplug.dns import privileges
from netplug.dns.control import Control
from netplug.loop import Descriptors, Loop


def main() -> None:
    """Serve until the daemon is gone; its signals are not for us, its end is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.chdir("/")
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # the daemon has raised its own
    daemon = socket.socket(fileno=int(sys.argv[1]))
    privileges.drop()
    loop = Loop(time.monotonic)
    control = Control(loop, Descriptors(limit), daemon, time.time)  # noqa: TID251 - for the log
    # Nothing here makes cycles, and a full collection would stop all answers for 100 ms.
    gc.collect()
    gc.freeze()
    gc.disable()
    control.run()


if __name__ == "__main__":
    main()
