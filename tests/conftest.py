"""How Hypothesis searches, and where compiled kernels are kept.

The same cases every time in `make test`, new ones on demand. Numba's cache does not notice a change in a
called function of another file, nor that bounds were checked when it compiled, and it asks for a file's path
and date: so each edition in each place has its own folder, and runs of several at a time do not meet.
"""

import fcntl
import os
import shutil
import tempfile
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import settings

from hardware import kernels

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

TESTS = Path(__file__).parent
THINKING = (
    "controller",
    "twin",
    "hardware",
    "scenarios",
    "planted",
    "test_invariants.py",
    "test_stateful.py",
)
EDITIONS = Path(tempfile.gettempdir()) / f"edge-tests-{os.getuid()}"
CHECKED = os.environ.get("NUMBA_BOUNDSCHECK") == "1"
PLACE = [(str(p), p.stat().st_mtime_ns) for p in sorted((TESTS.parent / "controller").glob("*.py"))]
FOLDER = EDITIONS / f"{kernels._edition()}-{zlib.crc32(repr((CHECKED, PLACE)).encode()):x}"
FOLDER.mkdir(parents=True, exist_ok=True)
os.utime(FOLDER)
os.environ["NUMBA_CACHE_DIR"] = str(FOLDER)
for edition in EDITIONS.iterdir():
    if time.time() - edition.stat().st_mtime > 7 * 86_400:
        shutil.rmtree(edition, ignore_errors=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile the controller once per edition, here: no test's time limit should pay for it."""
    thinks = any(item.path.relative_to(TESTS).parts[0] in THINKING for item in session.items)
    if thinks and os.environ.get("NUMBA_DISABLE_JIT") != "1":
        with (FOLDER / "compiling").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kernels.compile_once(lambda _: None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what a passing test has measured, whichever process it ran in."""
    for report in terminalreporter.getreports("passed"):
        for name, words in report.user_properties:
            terminalreporter.section(name)
            terminalreporter.write_line(words)
