"""Every planted bug is caught by the test that names the rule; the true controller passes them all."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planted.bugs import BUGS

ROOT = Path(__file__).parents[2]
ALL_PASSED, SOME_FAILED = 0, 1  # pytest's exit codes; others mean that it could not run


def copy(folder: Path) -> Path:
    """A copy of the controller and of its specifications that nobody else imports."""
    unwanted = shutil.ignore_patterns("__pycache__", "planted")
    shutil.copytree(ROOT / "controller", folder / "controller", ignore=unwanted)
    shutil.copytree(ROOT / "tests" / "controller", folder / "tests" / "controller", ignore=unwanted)
    for name in ("pyproject.toml", "tests/__init__.py", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def specify(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run specifications on the copy, interpreted: a compiler would cost more than all of them."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        + [f"tests/controller/{test}" for test in tests],
        cwd=folder,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "TMPDIR": str(folder), "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )


def test_the_true_controller_passes_all_specifications_that_catch_bugs(tmp_path):
    done = specify(copy(tmp_path), *sorted({bug.caught_by for bug in BUGS.values()}))
    assert done.returncode == ALL_PASSED, done.stdout[-4_000:]


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name, tmp_path):
    bug = BUGS[name]
    source = copy(tmp_path) / "controller" / bug.file
    text = source.read_text("utf-8")
    assert text.count(bug.old) == 1, (
        f"controller/{bug.file} has the text of this bug {text.count(bug.old)} times, not once:"
        f" plant it anew in tests/planted/bugs.py\n{bug.old}"
    )
    source.write_text(text.replace(bug.old, bug.new), "utf-8")
    done = specify(tmp_path, bug.caught_by)
    assert done.returncode == SOME_FAILED, f"not caught by {bug.caught_by}\n{done.stdout[-4_000:]}"
    assert "AssertionError" in done.stdout or "assert " in done.stdout, done.stdout[-4_000:]
