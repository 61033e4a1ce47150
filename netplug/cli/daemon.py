"""`pynet daemon`: the settings, then the daemon itself."""

from __future__ import annotations

import os

import click

from netplug.cli.session import Session, example


@click.command(epilog=example("pynet daemon --state-dir /var/lib/pynet --log-format json"))
@click.option("--config", metavar="FILE", help="TOML file (/etc/pynet/pynet.toml if it exists).")
@click.option("--state-dir", metavar="DIR", help="What survives a restart (/var/lib/pynet).")
@click.option(
    "--plugin-socket",
    metavar="PATH",
    help="Where Docker calls (/run/docker/plugins/pynet.sock).",
)
@click.option(
    "--admin-socket",
    metavar="PATH",
    help="Where these commands call (/run/pynet/pynet.sock).",
)
@click.option(
    "--docker-host",
    metavar="URL",
    help="The Docker Engine (found like the docker CLI does); 'none' works without one.",
)
@click.option(
    "--publish-addresses",
    metavar="IP,...",
    help="Where ports are published that name no address (everywhere).",
)
@click.option("--dns-domain", metavar="DOMAIN", help="What names end with (pynet).")
@click.option(
    "--dns-address",
    metavar="IP",
    help="Where the host asks for names (169.254.53.53); 'none' is nowhere.",
)
@click.option("--store", metavar="STORE", help="Where networks and leases are kept (sqlite).")
@click.option("--log-format", metavar="FORMAT", help="console or json (console).")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error (info).")
@click.pass_context
def daemon(ctx: click.Context, /, **flags: str | None) -> None:
    """Run the daemon in the foreground.

    It serves Docker and these commands until SIGTERM or Ctrl-C. Every option can be a line of the
    file (state_dir = "...") or a variable (PYNET_STATE_DIR); an option beats a variable, and that
    beats the file.
    """
    from netplug.settings import load

    outer = ctx.ensure_object(Session)
    settings = load(
        {**flags, "admin_socket": flags["admin_socket"] or outer.admin_socket}, os.environ
    )

    from netplug.daemon import run

    ctx.exit(run(settings))
