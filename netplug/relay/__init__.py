"""The relay: a process that carries what reaches published ports themselves on to containers.

    python -m netplug.relay FD

The daemon starts one for all its ports (`netplug.kernel.relay`) and hands it sockets that are
already bound, over the SOCK_SEQPACKET socket FD. It ends when the daemon's end of that is closed.
It imports nothing of pynet but `netplug.loop`, and little else, to stay small; one thread and one
epoll do it all.

Not here: which ports there are, and binding them (`netplug.kernel.hostports`).
"""
