"""Addresses as arguments: checked before the daemon is asked, refused in a sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from netplug.model import IPAddress, IPNetwork


def cidr(text: str) -> IPNetwork:
    """Return the network that `text` is."""
    from netplug.addresses import parse_network

    try:
        return parse_network(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def ip(text: str) -> IPAddress:
    """Return the address that `text` is."""
    from netplug.addresses import parse_address

    try:
        return parse_address(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def named_ip(text: str) -> tuple[str, IPAddress]:
    """Return the name and the address that `text`, NAME=IP, is made of."""
    name, separator, address = text.partition("=")
    if not (name and separator):
        raise click.BadParameter(f"{text!r} is not NAME=IP.")
    return name, ip(address)


def mac(text: str) -> str:
    """Return a MAC address in the spelling of the kernel."""
    if not re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", text):
        raise click.BadParameter(f"{text!r} is not a MAC address such as 02:42:0a:09:00:02.")
    return text.lower()
