"""Throw-away environments of the peers, from PyPI as pip is configured on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
CONSTRAINTS = HERE / "constraints.txt"


class Peer(NamedTuple):
    """A simulator, its driver, what has to be installed for it, and its algorithms, the quickest first."""

    name: str
    driver: str
    packages: tuple[str, ...]
    algorithms: tuple[str, ...]


PEERS = (
    Peer(
        "acnportal 0.3.3",
        "with_acnportal.py",
        ("acnportal==0.3.3", "setuptools"),
        ("least laxity", "round robin"),
    ),
    Peer("EV2Gym 2.0.0", "with_ev2gym.py", ("ev2gym==2.0.0", "setuptools"), ("round robin",)),
    # It lists none of what it needs.
    Peer(
        "ELVIS 0.2.1",
        "with_elvis.py",
        ("py-elvis==0.2.1", "matplotlib", "networkx", "numpy", "pandas", "pyyaml", "scikit-learn"),
        ("discrimination free",),
    ),
)


class Missing(RuntimeError):
    """A peer that cannot be run here, in one sentence."""


class Environment:
    """One peer, installed in a folder of its own."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.peer = peer
        self._folder = folder / Path(peer.driver).stem
        self._python = self._folder / "bin" / "python"
        if not self._python.exists():
            self._call("cannot be given an environment", sys.executable, "-m", "venv", str(self._folder))
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(CONSTRAINTS))
        self._call("cannot be installed from PyPI", str(self._python), *pip, *peer.packages)

    def run(self, told: dict[str, Any], algorithm: str) -> dict[str, Any]:
        """Let the peer play a case. Raises Missing."""
        case, result = self._folder / "case.json", self._folder / "result.json"
        case.write_text(json.dumps(told))
        driver = HERE / self.peer.driver
        self._call("fails", str(self._python), str(driver), str(case), str(result), algorithm)
        found: dict[str, Any] = json.loads(result.read_text())
        return found

    def _call(self, what: str, *command: str) -> None:
        folder = self._folder if self._folder.exists() else None
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode:
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no word of why"]
            raise Missing(f"{self.peer.name} {what} here and is left out: {last[0].strip()}")


def installed(folder: Path) -> Iterator[Environment | Missing]:
    """Every peer, or the sentence why not."""
    for peer in PEERS:
        try:
            yield Environment(peer, folder)
        except Missing as reason:
            yield reason
