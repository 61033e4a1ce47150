"""The resolver: a process that answers questions for names.

    python -m netplug.dns FD

The daemon starts one for all its clients and hands it sockets, over the SOCK_SEQPACKET socket FD;
what they tell each other is in `netplug.dns.control`. It gives up root before it reads a question,
and ends when the daemon's end of FD is closed. One thread and one epoll do it all.

    control    what the daemon says
    zone       all names
    answer     question -> Reply, Forward or Refuse
    encode     Reply -> bytes
    wire       bytes -> question, or what is wrong with them
    scope      answers as bytes, kept per set of networks
    resolver   a message to its answer, by all of these
    server     UDP sockets of clients, and the hot path; stream: TCP
    forward    questions that others answer; lines: the sockets to them; upstream: what they said

Not here: opening sockets in namespaces, nftables, where names come from.
"""
