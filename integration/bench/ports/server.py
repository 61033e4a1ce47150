"""Accepts connections and closes them: `server.py PORT`.

Runs by its path in a network namespace, with nothing but the standard library, and says when it
listens. It takes all that wait at once and then rests, instead of being woken for each: the client
is not to pay for that.
"""

from __future__ import annotations

import socket
import sys
import time

BACKLOG = 4096  # what net.core.somaxconn allows; some 0.1 s of connections
REST_S = 0.005


def main() -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", int(sys.argv[1])))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    print("listening", flush=True)
    while True:
        try:
            link, _ = listener.accept()
        except BlockingIOError:
            time.sleep(REST_S)
        else:
            link.close()


if __name__ == "__main__":
    main()
