"""The command as a whole: options anywhere, errors as sentences, help for newcomers."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from netplug import __version__
from netplug.cli import main
from netplug.cli.session import _show_progress
from tests.cli import replies
from tests.cli.conftest import CannedDaemon, Pynet


def _commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    ctx = click.Context(group)
    found: list[tuple[str, ...]] = []
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        inner = _commands(command, *path, name) if isinstance(command, click.Group) else []
        found += inner or [(*path, name)]
    return found


_ALL = _commands(main)


@pytest.mark.parametrize("command", _ALL, ids=" ".join)
def test_every_command_has_help_that_fits_and_an_example(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*command, "-h"], prog_name="pynet")

    assert f"Example:\n    {'pynet ' + command[0] if command[0] != 'attach' else 'ip netns'}" in (
        result.stdout
    )
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_lists_the_commands_whole() -> None:
    result = CliRunner().invoke(main, ["--help"], prog_name="pynet")

    listed = [
        line.split()[0] for line in result.stdout.partition("Commands:")[2].split("\n") if line
    ]
    assert listed == list(dict.fromkeys(command[0] for command in _ALL))
    assert "..." not in result.stdout.partition("Commands:")[2]


def test_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"pynet {__version__}\n"


@pytest.mark.parametrize(
    "line",
    [
        "--output json network ls",
        "network --output json ls",
        "network ls --output json",
        "--output table network ls --output json",
    ],
)
def test_output_is_taken_anywhere_and_the_last_one_counts(
    pynet: Pynet, daemon: CannedDaemon, line: str
) -> None:
    daemon.reply("GET /v1/networks", {"networks": []})

    assert pynet(*line.split()).stdout == '{\n  "networks": []\n}\n'


@pytest.mark.parametrize("line", ["--admin-socket {} status", "status --admin-socket {}"])
def test_admin_socket_on_the_line_beats_the_environment(
    pynet: Pynet, daemon: CannedDaemon, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    daemon.reply("GET /v1/status", replies.STATUS)
    monkeypatch.setenv("PYNET_ADMIN_SOCKET", "/nowhere")

    assert pynet(*line.format(daemon.path).split()).exit_code == 0


def test_one_problem_is_one_sentence(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.refuse(
        "GET /v1/networks/web", 404, kind="NotFound", message="no network 'web'", exit_code=4
    )

    result = pynet("network", "inspect", "web")

    assert (result.stdout, result.stderr) == ("", "pynet: no network 'web'\n")
    assert result.exit_code == 4


def test_several_problems_are_a_line_each(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.refuse(
        "POST /v1/networks",
        400,
        kind="InvalidOptions",
        message="invalid options: mtu: no; vlan: no",
        problems=["mtu: no", "vlan: no"],
        exit_code=3,
    )

    result = pynet("network", "create", "web")

    assert (result.stderr, result.exit_code) == ("pynet: mtu: no\npynet: vlan: no\n", 3)


def test_no_daemon_says_how_to_start_one() -> None:
    result = CliRunner().invoke(main, ["--admin-socket", "/nowhere/pynet.sock", "status"])

    assert result.stderr == (
        "pynet: no pynet daemon answers at /nowhere/pynet.sock: there is no such socket; "
        "start it with 'pynet daemon', or name its socket with --admin-socket\n"
    )
    assert result.exit_code == 9


def test_interrupt_exits_with_130_and_no_traceback() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    command = type(main)("pynet", callback=interrupted, invoke_without_command=True)

    result = CliRunner().invoke(command)

    assert (result.exit_code, result.output) == (130, "")


def test_daemon_with_settings_that_are_wrong_lists_them_and_does_not_start(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config = tmp_path_factory.mktemp("config") / "pynet.toml"
    config.write_text('store = "etcd://10.0.0.1"\n')

    result = CliRunner().invoke(
        main,
        ["--admin-socket", 120 * "x", "daemon", "--config", str(config), "--log-level", "loud"],
        env={"PYNET_LOG_FORMAT": "yaml"},
    )

    sources = [line.split(": ")[1] for line in result.stderr.splitlines()]
    assert sources == [str(config), "PYNET_LOG_FORMAT", "--log-level", "--admin-socket"]
    assert result.exit_code == 3


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_calls_pynet(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell], prog_name="pynet")

    assert f"_PYNET_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("pynet network ins", "plain,inspect\n"),
        ("pynet network inspect w", "plain,web\n"),
        ("pynet detach ", "plain,a\n"),
        ("pynet ipam show p", f"plain,{replies.POOL['id']}\n"),
        ("pynet ipam leases w", "plain,web\n"),
        ("pynet ipam reserve w", "plain,web\n"),
        ("pynet ipam unreserve web ", "plain,10.9.0.5\n"),
        ("pynet ipam release web ", "plain,10.9.0.2\n"),
        ("pynet ipam audit --f", "plain,--fix\n"),
        ("pynet network peer web l", "plain,lab\n"),
        ("pynet ports r", "plain,rm\n"),
        ("pynet ports add ", "plain,a\n"),
        ("pynet ports add a 80 --network w", "plain,web\n"),
        ("pynet events --follow --output j", "plain,json\n"),
    ],
)
def test_completion_knows_commands_options_and_names(
    pynet: Pynet, daemon: CannedDaemon, monkeypatch: pytest.MonkeyPatch, words: str, completed: str
) -> None:
    daemon.reply("GET /v1/networks", {"networks": [replies.NETWORK, {"name": "lab"}]})
    daemon.reply("GET /v1/endpoints", {"endpoints": [replies.ENDPOINT]})
    daemon.reply("GET /v1/ipam", {"pools": [replies.POOL]})
    daemon.reply("GET /v1/ipam/leases?pool=web", {"leases": replies.LEASES})
    monkeypatch.setenv("_PYNET_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))

    assert pynet().stdout == completed


def test_completion_without_a_daemon_is_empty_and_silent(
    pynet: Pynet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYNET_ADMIN_SOCKET", "/nowhere")
    monkeypatch.setenv("_PYNET_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "pynet network inspect w")
    monkeypatch.setenv("COMP_CWORD", "3")

    result = pynet()

    assert (result.stdout, result.stderr) == ("\n", "")


class _DoneAfter:
    """An event that is set after so many waits."""

    def __init__(self, waits: int) -> None:
        self._left = waits

    def wait(self, _timeout_s: float) -> bool:
        self._left -= 1
        return self._left == 0


@pytest.mark.parametrize(
    ("waits", "shown"),
    [(1, ""), (3, "\rhealing ... 1 s\rhealing ... 2 s\r\x1b[K")],
)
def test_progress_is_shown_from_the_first_second_on_and_wiped(
    capsys: pytest.CaptureFixture[str], waits: int, shown: str
) -> None:
    _show_progress("healing", _DoneAfter(waits))

    # click takes escape sequences out where there is no terminal.
    assert capsys.readouterr().err == click.unstyle(shown)
