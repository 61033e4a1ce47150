"""What is installed, and what importing it costs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

import pytest
from setuptools import find_packages

import drivers
import ipam
import netplug

ROOT = Path(__file__).parent.parent
OURS = ("netplug", "ipam", "drivers")


def configured(section: str, key: str) -> list[str]:
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    return config[section][key].split()


def test_wheel_has_three_packages_at_its_top() -> None:
    found = find_packages(str(ROOT), include=configured("options.packages.find", "include"))

    assert {name.partition(".")[0] for name in found} == set(OURS)


def test_wheel_has_every_folder_that_holds_our_code() -> None:
    found = find_packages(str(ROOT), include=configured("options.packages.find", "include"))
    folders = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for name in OURS
        for file in (ROOT / name).rglob("*.py")
    }

    assert set(found) == folders


def test_packages_lie_side_by_side() -> None:
    assert [Path(str(p.__file__)).parent.parent for p in (netplug, ipam, drivers)] == [ROOT] * 3


@pytest.mark.parametrize("name", OURS)
def test_package_says_that_it_is_typed(name: str) -> None:
    assert configured("options.package_data", name) == ["py.typed"]
    assert (ROOT / name / "py.typed").exists()


@pytest.mark.parametrize("library", ["scapy", "rich", "click", "dns", "prometheus_client"])
def test_daemon_never_imports(library: str) -> None:
    reached = set(_reached("netplug.daemon"))

    assert "netplug.kernel.linux" in reached
    assert library not in reached


def test_model_and_plan_reach_nothing_but_the_standard_library() -> None:
    for name in ("netplug.model", "netplug.errors", "netplug.plan.diff", "netplug.plan.text"):
        foreign = {
            module
            for module in _reached(name)
            if module.partition(".")[0] not in {*OURS, *sys.stdlib_module_names}
        }

        assert foreign == set(), name


def _reached(start: str) -> set[str]:
    """Return what importing `start` imports: our modules, and the top of everybody else's."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        if name.partition(".")[0] in OURS:
            waiting += _imports(name)
    return reached


def _imports(name: str) -> Iterator[str]:
    """Yield what a module of ours imports when it is imported; its parents too."""
    parent, _, _ = name.rpartition(".")
    if parent:
        yield parent
    spec = find_spec(name)
    assert spec is not None
    for node in _run_on_import(ast.parse(Path(str(spec.origin)).read_text())):
        if isinstance(node, ast.Import):
            yield from (_ours_or_top(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield _ours_or_top(node.module)
            yield from _submodules(node)


def _run_on_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements outside functions; those for type checkers only are never run."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            waiting += [
                child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)
            ]


def _submodules(node: ast.ImportFrom) -> Iterator[str]:
    module = str(node.module)
    if module.partition(".")[0] in OURS:
        for alias in node.names:
            folder = ROOT.joinpath(*module.split("."))
            if (folder / f"{alias.name}.py").exists() or (folder / alias.name).is_dir():
                yield f"{module}.{alias.name}"


def _ours_or_top(name: str) -> str:
    top = name.partition(".")[0]
    return name if top in OURS else top
