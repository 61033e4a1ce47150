"""Links by their names: how a request is made, what it is refused with, which links are ours."""

from __future__ import annotations

import errno
import socket
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from netplug.errors import KernelRefused
from netplug.kernel import rtnl, switches
from netplug.model import IPInterface


class LinkOps:
    """Requests about links of one network namespace, for an installation with its mark.

    `alias` marks a link of ours; one that leaves for a sandbox has the name that we gave it behind
    that, by which it is found there.
    """

    def __init__(self, requests: rtnl.Rtnl, instance: str) -> None:
        self.alias = f"pynet {instance}"
        self._rtnl = requests

    def alias_of(self, name: str) -> str:
        """Return the alias of a link that leaves for a sandbox."""
        return f"{self.alias} {name}"

    def is_ours(self, alias: str | None) -> bool:
        """Return whether a link of our group is: of one without an alias, the making broke off."""
        return alias is None or alias == self.alias or alias.startswith(f"{self.alias} ")

    def find(self, name: str) -> rtnl.Link | None:
        """Return the link called `name`, if there is one."""
        try:
            return self._rtnl.link(name)
        except NetlinkError as error:
            raise refused(f"look up link {name}", error) from error

    def add(self, link: rtnl.Link) -> None:
        """Make a link, down and without an alias."""
        try:
            self._rtnl.add_link(link)
        except NetlinkError as error:
            raise refused(f"create {link.kind} {link.name}", error) from error

    def set(self, name: str, **fields: Any) -> None:
        """Give a link those fields."""
        try:
            self._rtnl.set_link(rtnl.Link(name=name, **fields))
        except NetlinkError as error:
            what = ", ".join(f"{key} {value}" for key, value in fields.items())
            raise refused(f"set {what} on link {name}", error) from error

    def add_address(self, link: str, address: IPInterface) -> None:
        """Add an address; one that is there already is fine."""
        try:
            self._rtnl.add_address(needed_index(link), address)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise refused(f"add address {address} on {link}", error) from error


def index_of(name: str) -> int:
    """Return the index of a link of this namespace, 0 if there is none. One ioctl, no dump."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def needed_index(name: str) -> int:
    """Return the index of a link of this namespace.

    Raises:
        KernelRefused: there is none.
    """
    if index := index_of(name):
        return index
    raise KernelRefused(f"use link {name}", "there is no such link", errno.ENODEV)


def name_of(index: int | None) -> str:
    """Return the name of a link of this namespace, empty if there is none."""
    try:
        return socket.if_indextoname(index) if index else ""
    except OSError:
        return ""


def refused(step: str, error: NetlinkError) -> KernelRefused:
    """Translate a netlink error; the kernel's own words where it gave any."""
    return KernelRefused(step, str(error.args[1] if len(error.args) > 1 else error), error.code)


def set_ipv6(link: str, *, is_on: bool) -> None:
    """Turn IPv6 on or off on a link of the host, which listens to no router advertisement there."""
    if switches.read(f"net/ipv6/conf/{link}/disable_ipv6") is None:
        return
    switches.write(f"net/ipv6/conf/{link}/accept_ra", "0")
    if is_on:  # our MAC is nobody else's, and while the check runs the host reaches no container
        switches.write(f"net/ipv6/conf/{link}/accept_dad", "0")
    switches.write(f"net/ipv6/conf/{link}/disable_ipv6", "0" if is_on else "1")


def silence_ipv6(link: str) -> None:
    """Keep a link from sending router solicitations and listener reports of its own."""
    name = f"net/ipv6/conf/{link}/disable_ipv6"
    if switches.read(name) == "0":
        switches.write(name, "1")
