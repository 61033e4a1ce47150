"""`pynet completion`, and the names that the shell completes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from netplug.cli.session import Session, example
from netplug.errors import PynetError

if TYPE_CHECKING:
    from netplug.api.client import AdminClient

_VARIABLE = "_PYNET_COMPLETE"
_SCRIPTS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(
    epilog=example(
        "pynet completion bash > /etc/bash_completion.d/pynet",
        "pynet completion fish > ~/.config/fish/completions/pynet.fish",
    )
)
@click.argument("shell", type=click.Choice(list(_SCRIPTS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that teaches SHELL to complete."""
    script = _SCRIPTS[shell](ctx.find_root().command, {}, "pynet", _VARIABLE)
    # Not script.source(): for bash that forks bash to ask for its version.
    click.echo(script.source_template % script.source_vars())


Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _completer(names: Callable[[AdminClient], Iterable[str]]) -> Completer:
    """Return what completes an argument with `names`, or with nothing if no daemon answers."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            known = names(ctx.ensure_object(Session).client())
            return [name for name in known if name.startswith(incomplete)]
        except PynetError:
            return []

    return complete


networks_of = _completer(lambda daemon: [it["name"] for it in daemon.networks()["networks"]])
endpoints_of = _completer(lambda daemon: [it["name"] for it in daemon.endpoints()["endpoints"]])


def _pools_and_their_networks(daemon: AdminClient) -> Iterable[str]:
    pools = daemon.pools()["pools"]
    networks = {network: None for pool in pools for network in pool["networks"]}
    return [*networks, *(pool["id"] for pool in pools)]


pools_or_networks_of = _completer(_pools_and_their_networks)


def leases_of(*kinds: str) -> Completer:
    """Return what completes an address that is leased for one of `kinds`, in the pool before it."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        def addresses(daemon: AdminClient) -> Iterable[str]:
            leases = daemon.leases(ctx.params.get("pool"))["leases"]
            return [lease["address"] for lease in leases if lease["kind"] in kinds]

        return _completer(addresses)(ctx, param, incomplete)

    return complete
