"""Run the relay: `python -m netplug.relay FD`."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import time

from netplug.loop import Descriptors, Loop
from netplug.relay.control import Control


def main() -> None:
    """Serve until the daemon is gone; its signals are not for us, its end is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.chdir("/")
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # the daemon has raised its own
    daemon = socket.socket(fileno=int(sys.argv[1]))
    control = Control(Loop(time.monotonic), Descriptors(limit), daemon)
    gc.collect()
    gc.freeze()
    control.run()


if __name__ == "__main__":
    main()
