"""Compare with other simulators on the same sessions: `python -m tests.bench.peers [--keep FOLDER]`.

Asserted: without a limit acnportal and we deliver the same energy within 1 %, and by the energy served the
algorithms that both have rank alike. Everything else is measured and told.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hardware.kernels import compile_once, keep_in
from tests.bench.figure import say
from tests.bench.peers import ours
from tests.bench.peers.case import Case, day_of_200, week, week_on_one_phase
from tests.bench.peers.environment import Environment, Missing, installed
from tests.bench.peers.judge import Outcome, judge

ACNPORTAL = "acnportal"
MOST_APART = 0.01
REPEATS = 3
RANKED: dict[str, Callable[[Case], Case]] = {
    "uncontrolled": Case.with_plenty,
    "least laxity": lambda case: case.planned("least_laxity"),
    "round robin": lambda case: case,
}
"""What acnportal calls it, and what is its equal with us: all that fits, a plan by laxity, equal shares."""


def main() -> int:
    """Measure and compare; 1 when a peer is missing or an assertion does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the environments there")
    keep = parser.parse_args().keep
    if fault := keep_in(Path(tempfile.gettempdir()) / f"edge-bench-{os.getuid()}"):
        print(fault, file=sys.stderr)
    compile_once(lambda sentence: print(sentence, file=sys.stderr))
    with tempfile.TemporaryDirectory(prefix="edge-peers-") as folder:
        found = list(installed((keep or Path(folder)).absolute()))
        return compare([one for one in found if isinstance(one, Environment)], faults(found))


def faults(found: Iterable[Environment | Missing]) -> list[str]:
    """One sentence for every peer that is missing."""
    return [str(one) for one in found if isinstance(one, Missing)]


def compare(peers: list[Environment], wrong: list[str]) -> int:
    """Play every case with everybody and print what came of it."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    # The round robin of acnportal tries every ampere of every car: a day of 200 takes it more than 10 min.
    for case, most in ((day_of_200(), 1), (week(), 2)):
        rows = {"Edge, max-min": judge(case.told, ours.run(case, REPEATS))}
        for peer in peers:
            for algorithm in peer.peer.algorithms[:most]:
                play(rows, peer, case.told, algorithm, wrong)
        console.print(table(case.told["name"], rows))
    for peer in peers:
        if peer.peer.name.startswith(ACNPORTAL):
            rows = rank(peer, wrong)
            console.print(table(week_on_one_phase().told["name"], rows))
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return int(bool(wrong))


def play(
    rows: dict[str, Outcome], peer: Environment, told: dict[str, Any], algorithm: str, wrong: list[str]
) -> None:
    """One peer, one algorithm."""
    name = f"{peer.peer.name}, {algorithm}"
    try:
        rows[name] = judge(told, peer.run(told, algorithm))
    except Missing as reason:
        wrong.append(str(reason))
        return
    say(f"{told['name']}: {name}, {rows[name].us_per_station_tick:.1f} us")


def rank(acnportal: Environment, wrong: list[str]) -> dict[str, Outcome]:
    """acnportal and we on one phase: the same energy without limits, the same order of algorithms."""
    case = week_on_one_phase()
    theirs: dict[str, Outcome] = {}
    mine: dict[str, Outcome] = {}
    for algorithm, equal in RANKED.items():
        play(theirs, acnportal, equal(case).told, algorithm, wrong)
        same = equal(case)
        mine[f"Edge, as {algorithm}"] = judge(same.told, ours.run(same))
    if len(theirs) == len(mine):
        wrong += disagreements(list(theirs.values()), list(mine.values()))
    return mine | theirs


def disagreements(theirs: list[Outcome], mine: list[Outcome]) -> list[str]:
    """Sentences on what acnportal sees otherwise; both lists in the order of RANKED."""
    found = []
    apart = mine[0].energy_kwh / theirs[0].energy_kwh - 1
    if abs(apart) > MOST_APART:
        found.append(
            f"Uncontrolled, our energy is {100 * apart:+.2f} % off that of acnportal; 1 % is allowed."
        )
    orders = []
    for outcomes in (theirs, mine):
        energy_kwh = {name: one.energy_kwh for name, one in zip(RANKED, outcomes, strict=True)}
        orders.append(sorted(RANKED, key=lambda name: -energy_kwh[name]))
    if orders[0] != orders[1]:
        found.append(f"By energy acnportal ranks {', '.join(orders[0])}; we rank {', '.join(orders[1])}.")
    return found


def table(title: str, rows: dict[str, Outcome]) -> Table:
    """One case, a row for everybody."""
    made = Table(title=title, title_justify="left")
    made.add_column("simulator, algorithm")
    for name in ("us per connector, tick", "kWh", "served", "p10 share", "Jain", "most over", "min over"):
        made.add_column(name, justify="right")
    for name, one in rows.items():
        made.add_row(
            name,
            f"{one.us_per_station_tick:.1f}",
            f"{one.energy_kwh:,.0f}",
            f"{one.served_percent:.1f} %",
            f"{one.p10_share_percent:.1f} %",
            f"{one.jain_index:.3f}",
            f"{one.peak_over_a:.0f} A",
            f"{one.over_minutes:.0f}",
        )
    return made


if __name__ == "__main__":
    sys.exit(main())
