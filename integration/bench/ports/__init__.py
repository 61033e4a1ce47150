"""Published ports, pynet against Docker's own bridge driver: `python -m integration.bench ports`.

Each side has three hosts, each with an engine of its own: beside the one port that is asked, 1, 100
and 1000 others are published there. All six take turns, so that the load of the machine meets all
of them. The kernel is shared, the rules are not: no side waits for the rules of the other.

**New connections.** The client stands where the LAN is, in the network of the underlay; the server
in the network of a container, published after all others: Docker's rules for it are the last. Each
connection is made, reset at once, and followed by the next. The rate is taken with several under
way, the latency (from SYN to SYN-ACK, as `connect` sees it) one at a time. Connection tracking is
emptied before each sample.

**Rules that the first packet meets.** One SYN is sent to the port, and goes unanswered: its sender
is unreachable from within the container. Counters of rules tell only which rules matched, so the
way through each chain is walked: a rule that did not move was tried in vain, one that did leads
into its target, and both count. What Docker and pynet have as iptables rules is told exactly so.
Tables of nft proper are read instead: every rule counts that a chain of the hooks prerouting,
forward and postrouting leads to, matched or not. So pynet's figure is at worst too high.

**Publishing.** A container is started with one port and without, in turns; the difference is what
the port cost. pynet's own part of it is asked apart, by the call that dockerd makes for it,
`NetworkDriver.ProgramExternalConnectivity`, on a container that runs already.

**A range.** 10 000 ports of one container, by that call and by a container's start: how many rules
and set elements there are more than before, and how much memory the daemon and the kernel hold. On
IPv4 alone: pynet holds a port by an open file, and where files are few, not all of two families.
"""
