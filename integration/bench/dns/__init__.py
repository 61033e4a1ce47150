"""The embedded DNS against Docker's resolver and dnsmasq: `python -m integration.bench dns`.

One host with an engine, and on it a network of pynet's and a bridge network of Docker's, with as
many containers of as many names. All questions are asked by dnsperf, from inside a container's
network; the three take turns, so that the load of the machine meets all of them.

**Known names.** A container of pynet's asks 127.0.0.11, where pynet answers; one of Docker's asks
the same address, where Docker's resolver does; dnsmasq has the same names in a hosts file and
listens on 127.0.0.1 in the network of pynet's container. Before anything is timed, the TTLs of the
answers must show that it is so. The rate is taken with 100 questions under way, the latency at a
rate that all of them can serve.

**Forwarded names.** The host's resolver is a dnsmasq on the underlay, and every question is for a
name that nobody asked before: from pynet's container it goes by pynet to Docker's resolver, from
Docker's to Docker's alone. What pynet adds is the difference of the two medians.

**Many names.** Containers with thousands of aliases bring 100 000 names; then a record of one name
is changed over the control socket. A client in a container asks for that name without rest: the
time ends with the first answer that is new.

**Flood.** One container asks as fast as it can. Meanwhile another asks at a low rate, and pynet is
called as dockerd calls it for a container. The same once more with the container on Docker's bridge
network as the one that floods: what of it is only the lack of cores, of which dnsperf takes one.
"""
