"""What must exist before what, and what goes when something else goes."""

from __future__ import annotations

from netplug.plan.objects import (
    Address,
    Bridge,
    Firewall,
    KernelObject,
    Key,
    LocalSubnet,
    Masquerade,
    SandboxLink,
    Sysctl,
    Veth,
)

_RANK: dict[type[KernelObject], int] = {
    Sysctl: 0,
    Firewall: 1,
    Bridge: 2,
    Address: 3,
    Masquerade: 4,
    LocalSubnet: 4,
    Veth: 5,
    SandboxLink: 6,
}


def rank(obj: KernelObject) -> int:
    """Return the place of `obj` in creation order; deletes run in reverse.

    Guarantees: rules before the links they guard; a bridge before its addresses and its ports.
    """
    return _RANK[type(obj)]


def goes_with(obj: KernelObject) -> Key | None:
    """Return the key of what takes `obj` along when it is deleted, so that one step is enough.

    An address would go with its link too, but links go a little later: a subnet must be free for
    the next network at once.
    Source: Linux drivers/net/veth.c veth_dellink.
    """
    return Key("link", obj.host_link) if isinstance(obj, SandboxLink) else None


def stands_on(obj: KernelObject) -> Key | None:
    """Return the key of the link without which `obj` cannot exist."""
    match obj:
        case Address(link=link) | SandboxLink(host_link=link):
            return Key("link", link)
        case _:
            return None


def is_shared(obj: KernelObject) -> bool:
    """Return whether all networks share `obj`, so that the end of one does not end it."""
    return isinstance(obj, Firewall)


def is_removable(obj: KernelObject) -> bool:
    """Return whether pynet may remove `obj`: a kernel switch has no owner and is never set back."""
    return not isinstance(obj, Sysctl)
