"""Asks for a name without rest until an address is in the answer: `client.py NAME ADDRESS`.

Runs by its path in a network namespace, with nothing but the standard library. It prints a line
when it asks, and the time on the monotonic clock at which the address was first in the answer.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

SERVER = ("127.0.0.11", 53)
PATIENCE_S = 0.5
REST_S = 0.0005  # what a client that never rests would take from the server


def main() -> None:
    name, wanted = sys.argv[1], socket.inet_aton(sys.argv[2])
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    query = struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(PATIENCE_S)
    client.connect(SERVER)
    print("asking", flush=True)
    while True:
        client.send(query)
        try:
            answer = client.recv(2048)
        except TimeoutError:
            continue
        if wanted in answer:
            print(time.monotonic(), flush=True)
            return
        time.sleep(REST_S)


if __name__ == "__main__":
    main()
