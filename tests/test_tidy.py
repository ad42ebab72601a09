"""The fences of the project: who may import whom, how long a thing may be, what it may be called."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "controller": set(),
    "twin": {"controller"},
    "hardware": {"controller"},
    "scenarios": {"controller", "twin", "hardware"},
    "dashboards": set(),
}
BANNED = {
    "controller": {"asyncio", "socket", "sqlite3", "time", "random", "os", "pathlib", "threading", "logging"}
    | {"simpy", "mesa", "pymodbus", "ocpp"},
    "hardware": {"simpy", "mesa", "pandas", "pyarrow"},
}
VAGUE = {"Manager", "Handler", "Helper", "Util", "Service", "Base", "Impl", "Data", "Info"}
PRIVATE_PATH = re.compile(rb"(?<![\w./-])/(?:work|root)/")
LONGEST_FUNCTION, LONGEST_FILE = 70, 500

SOURCES = [p for name in [*MAY_IMPORT, "tests"] for p in sorted((ROOT / name).rglob("*.py"))]


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a file imports by its full name, `from a import b` as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def broken_arrows(tree: ast.AST, where: str) -> Iterator[str]:
    package = where.split("/", maxsplit=1)[0]
    for line, name in imports(tree):
        top = name.split(".")[0]
        if top in (MAY_IMPORT.keys() | {"tests"}) - MAY_IMPORT[package] - {package}:
            yield f"{where}:{line} {package} must not import {top}"
        if top in BANNED.get(package, ()) or (package == "controller" and name.startswith("numpy.random")):
            yield f"{where}:{line} {package} must not import {name}"
        if where.startswith("scenarios/emulate") and f"{name}.".startswith("hardware.ocpp."):
            yield f"{where}:{line} the emulated chargepoint shares no code with the central system"


def clocks(tree: ast.AST, where: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = (
                node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            )
            if node.attr == "utcnow" or (node.attr in {"now", "today"} and owner in {"datetime", "date"}):
                yield f"{where}:{node.lineno} the core has no clock: time is an argument"
            if node.attr == "random" and owner in {"np", "numpy"}:
                yield f"{where}:{node.lineno} the core has no randomness"


def too_long(tree: ast.AST, where: str, lines: int) -> Iterator[str]:
    if lines > LONGEST_FILE:
        yield f"{where} has {lines} lines, at most {LONGEST_FILE}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0
            length = node.end_lineno - node.lineno + 1 - docstring
            if length > LONGEST_FUNCTION:
                yield f"{where}:{node.lineno} {node.name} has {length} lines, at most {LONGEST_FUNCTION}"


def vague_names(tree: ast.AST, where: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name != "EdgeManager":
            for word in re.findall(r"[A-Z][a-z0-9]*", node.name):
                if {word, word.removesuffix("s")} & VAGUE:
                    yield f"{where}:{node.lineno} class {node.name}: '{word}' says nothing"


def faults(source: str, where: str) -> list[str]:
    tree = ast.parse(source, where)
    found = [*too_long(tree, where, len(source.splitlines())), *vague_names(tree, where)]
    if not where.startswith("tests/"):
        found += broken_arrows(tree, where)
    if where.startswith("controller/"):
        found += clocks(tree, where)
    return found


def test_every_source_file_keeps_the_rules():
    found = [f for p in SOURCES for f in faults(p.read_text("utf-8"), p.relative_to(ROOT).as_posix())]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("controller/x.py", "import time"),
        ("controller/x.py", "from os.path import join"),
        ("controller/x.py", "def f():\n    import twin.world"),
        ("controller/x.py", "from numpy.random import default_rng"),
        ("controller/x.py", "import numpy as np\nnp.random.default_rng()"),
        ("controller/x.py", "import datetime\ndatetime.datetime.now()"),
        ("controller/x.py", "datetime.now(UTC)"),
        ("twin/x.py", "from hardware import modbus"),
        ("hardware/x.py", "import scenarios.run"),
        ("hardware/x.py", "import pandas as pd"),
        ("dashboards/x.py", "from controller import Site"),
        ("scenarios/x.py", "import dashboards"),
        ("scenarios/emulate_ocpp.py", "from hardware import ocpp"),
        ("scenarios/emulate/x.py", "from hardware.ocpp.central import Central"),
        ("twin/x.py", "class CarHelpers: ..."),
        ("twin/x.py", "def f():\n" + "    x = 1\n" * 70),
        ("twin/x.py", "x = 1\n" * 501),
    ],
)
def test_a_broken_rule_is_found(where, source):
    assert len(faults(source, where)) == 1


@pytest.mark.parametrize(
    ("where", "source"),
    [
        (
            "controller/x.py",
            "import numpy as np\nfrom datetime import time\nfrom controller import site\nimage.now",
        ),
        ("scenarios/emulate.py", "from hardware.registers import decode\nfrom twin import world"),
        ("twin/x.py", "class Baseline: ..."),
        ("twin/x.py", 'def f():\n    """One.\n' + "\n" * 80 + '    """\n'),
    ],
)
def test_what_is_allowed_is_not_found(where, source):
    assert faults(source, where) == []


def test_the_box_runs_without_simpy_mesa_and_pandas():
    if not (ROOT / "hardware/__main__.py").exists():
        pytest.skip("the edge command is not written yet")
    heavy = {"simpy", "mesa", "pandas", "pyarrow", "streamlit"}
    code = f"import hardware.__main__, sys; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_no_tracked_file_names_a_path_of_a_private_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git clone")
    tracked = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    found = [
        f"{p.relative_to(ROOT)}: {line.strip()[:100].decode(errors='replace')}"
        for p in tracked
        if p.is_file()
        for line in p.read_bytes().splitlines()
        if PRIVATE_PATH.search(line)
    ]
    assert not found, "\n" + "\n".join(found)
