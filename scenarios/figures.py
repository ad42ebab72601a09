"""Figures of merit on the twin's truth: what was served, and whose fault every ampere over a limit was.

Definitions (F limit of a grid, I its current, x draws of the cars, U uncontrolled load, all per phase):
over = (I - F)+. Its *lie* part is what cars draw above the highest limit their boxes say is in force or is
being left. Its *own* part is (sum x + min U over [t - T_B, t] - F)+, at most sum x, with liars taken at their
limit: what the controller could have known and still allowed. The rest is *disturbance*. T_B, the time in
which a rise of U can hide from any controller, comes from the scenario's true delays.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from controller.defaults import ANSWER_MS, CYCLE_MS, DOWN_MS, RESEND_MS, UP_MS
from controller.electrical import NOMINAL_VOLTAGE_V
from controller.kernel import direct, kernel
from controller.site import Connector
from controller.table import Table
from scenarios.scenario import Story
from twin import vehicles
from twin.conditions import Conditions
from twin.world import World

DIPS: Final = 512  # lows of U that the sliding minimum remembers; more are merged to the later one
BUCKET_S: Final = 900
LOST_IN_A_ROW: Final = 2
_KWH: Final = NOMINAL_VOLTAGE_V / 3_600_000  # per A s

TALLY = np.dtype(
    [
        ("peak_ma", "i8", (3,)),
        ("heat", "f8", (3,)),
        ("over_as", "f8", (3,)),
        ("own_as", "f8", (3,)),
        ("leaned_as", "f8", (3,)),  # own, and covered by a battery that counts for no fuse
        ("lie_as", "f8", (3,)),
        ("most_over_ma", "i8", (3,)),
        ("most_own_ma", "i8", (3,)),
        ("run_ms", "i8", (3,)),
        ("longest_ms", "i8", (3,)),
        ("first", "i8", (3,)),
        ("count", "i8", (3,)),
        ("low_ma", "i8", (3, DIPS)),
        ("low_until_ms", "i8", (3, DIPS)),
        ("load_ma", "i8", (3,)),  # U of the interval before
        ("liars_ma", "i8", (3,)),
        ("silent_ms", "i8"),
        ("in_as", "f8"),  # over its phases together, from the feeder
        ("back_as", "f8"),  # the same, towards it
    ]
)


@dataclass(frozen=True, slots=True)
class Delays:
    """The scenario's true delays: reaction T_R and blind window T_B."""

    reaction_ms: int
    blind_ms: int
    reading_ms: int


def true_delays(story: Story) -> Delays:
    """T_R = T_G + cycle + T_L + T_D; T_B = T_R + T_M + T_L + T_U. Lost messages add their resends."""
    links, meters = story.conditions.links, story.conditions.meters
    late_s = max((getattr(fault, "late_s", 0.0) for fault in story.conditions.faults), default=0.0)
    meter_ms = round((meters.delay_s + meters.poll_s) * 1000)
    lost = LOST_IN_A_ROW if links.loss > 0 else 0
    link_ms = round((2 * links.latency_s + late_s) * 1000) + lost * (ANSWER_MS + RESEND_MS)
    sample_ms = int(story.topology.connectors["sample_ms"].max(initial=0))
    reading_ms = sample_ms * (1 + lost) + round((links.latency_s + late_s) * 1000)
    reaction_ms = meter_ms + story.cycle_ms + link_ms + DOWN_MS
    # One cycle more: a draw between two looks belongs to the earlier one.
    blind_ms = reaction_ms + reading_ms + link_ms + UP_MS + CYCLE_MS
    return Delays(reaction_ms, blind_ms, reading_ms)


@kernel
def _remember(row: Any, p: int, load_ma: int, now_ms: int) -> None:
    """U was `row.load_ma` until now and is `load_ma` from now on: keep the lows with their ends."""
    before = row["load_ma"][p]
    if load_ma == before:
        return
    row["load_ma"][p] = load_ma
    if load_ma < before:
        while row["count"][p] > 0:
            last = (row["first"][p] + row["count"][p] - 1) % DIPS
            if row["low_ma"][p][last] < load_ma:
                break
            row["count"][p] -= 1
        return
    if row["count"][p] == DIPS:
        row["first"][p] = (row["first"][p] + 1) % DIPS
        row["count"][p] -= 1
    slot = (row["first"][p] + row["count"][p]) % DIPS
    row["low_ma"][p][slot] = before
    row["low_until_ms"][p][slot] = now_ms
    row["count"][p] += 1


@kernel
def _lowest_ma(row: Any, p: int, since_ms: int) -> int:
    """Least U since then."""
    while row["count"][p] > 0 and row["low_until_ms"][p][row["first"][p]] < since_ms:
        row["first"][p] = (row["first"][p] + 1) % DIPS
        row["count"][p] -= 1
    lowest = row["load_ma"][p]
    if row["count"][p] > 0:
        lowest = min(lowest, row["low_ma"][p][row["first"][p]])
    return int(lowest)


@kernel
def _find_liars(
    tally: Table, outlets: Table, connectors: Table, seen: Table, starts: Any, now_ms: int, reading_ms: int
) -> None:
    """Draws above every limit in force or being left, how long drawing connectors have been silent, starts.

    `starts`: per connector how often it began to draw, and whether it draws.
    """
    for g in range(len(tally)):
        tally[g]["silent_ms"] = 0
        for p in range(3):
            tally[g]["liars_ma"][p] = 0
    for c in range(len(outlets)):
        outlet = outlets[c]
        draw = outlet["draw_ma"][0]
        if draw == 0:
            starts[c][1] = 0
            continue
        starts[c][0] += 1 - starts[c][1]
        starts[c][1] = 1
        allowed = outlet["claimed_ma"]
        if outlet["left_until_ms"] > now_ms:
            allowed = max(allowed, outlet["left_ma"])
        heard_ms = max(seen[c]["reading_at_ms"], outlet["transaction_at_ms"])
        for level in range(connectors[c]["depth"]):
            row = tally[connectors[c]["path"][level]]
            row["silent_ms"] = max(row["silent_ms"], now_ms - heard_ms - reading_ms)
            for own in range(3):
                excess = outlet["draw_ma"][own] - allowed
                if excess > 0:
                    row["liars_ma"][connectors[c]["phase"][own]] += excess


@direct
@kernel
def count_interval(
    tally: Table,
    boards: Table,
    grids: Table,
    outlets: Table,
    connectors: Table,
    seen: Table,
    buckets: Any,
    starts: Any,
    now_ms: int,
    span_ms: int,
    blind_ms: int,
    reading_ms: int,
) -> None:
    """Book `span_ms` from `now_ms` on, in which currents are those of its beginning."""
    _find_liars(tally, outlets, connectors, seen, starts, now_ms, reading_ms)
    seconds = span_ms / 1000.0
    bucket = min(now_ms // (BUCKET_S * 1000), len(buckets) - 1)
    for g in range(len(tally)):
        row = tally[g]
        board = boards[g]
        since_ms = now_ms - blind_ms - max(row["silent_ms"], 0)
        net = board["current_ma"][0] + board["current_ma"][1] + board["current_ma"][2]
        row["in_as"] += max(net, 0) / 1000.0 * seconds
        row["back_as"] += max(-net, 0) / 1000.0 * seconds
        for p in range(3):
            current = board["current_ma"][p]
            # A battery that counts for the fuse is a generator whose end nobody can foresee; one that does
            # not is in neither while it discharges. What it charges with is as much ours as a car's draw,
            # unless it follows no order: then it is a load like any other.
            wild = board["wild_ma"][p]
            load = board["load_ma"][p] - board["relied_ma"][p] + wild
            limit = grids[g]["limit_ma"][p]
            _remember(row, p, load, now_ms)
            row["peak_ma"][p] = max(row["peak_ma"][p], current)
            row["heat"][p] = max(row["heat"][p], board["heat"][p])
            buckets[bucket][g][p] += load / 1000.0 * seconds
            over = current - limit
            hidden = board["discharge_ma"][p] - board["relied_ma"][p]
            if over + hidden <= 0:
                row["run_ms"][p] = 0
                continue
            ours = board["cars_ma"][p] + board["charge_ma"][p] - wild - row["liars_ma"][p]
            own = min(ours, max(0, ours + _lowest_ma(row, p, since_ms) - limit))
            leaned = max(0, own - max(over, 0))
            row["leaned_as"][p] += leaned / 1000.0 * seconds
            if over <= 0:
                row["run_ms"][p] = 0
                continue
            own -= leaned
            row["run_ms"][p] += span_ms
            row["longest_ms"][p] = max(row["longest_ms"][p], row["run_ms"][p])
            row["most_over_ma"][p] = max(row["most_over_ma"][p], over)
            row["most_own_ma"][p] = max(row["most_own_ma"][p], own)
            row["over_as"][p] += over / 1000.0 * seconds
            row["own_as"][p] += own / 1000.0 * seconds
            row["lie_as"][p] += min(over - own, row["liars_ma"][p]) / 1000.0 * seconds


class Tally:
    """Watches a world and books every interval."""

    def __init__(self, story: Story, world: World, seen: Table) -> None:
        self.rows = np.zeros(len(world.boards), TALLY)
        self.delays = true_delays(story)
        self.load_as = np.zeros((-(-story.length_ms // (BUCKET_S * 1000)), len(world.boards), 3))
        """A s of uncontrolled load per quarter of an hour, grid and phase."""
        self.starts = np.zeros((len(world.outlets), 2), "i8")
        """How often each connector began to draw, and whether it draws."""
        self._world, self._seen = world, seen
        self.rows["load_ma"] = world.boards["load_ma"]
        world.watch = self.interval

    def interval(self, span_ms: int) -> None:
        """Nothing changes in kind for `span_ms` from now."""
        world, built = self._world, self._world.built
        count_interval(
            self.rows,
            world.boards,
            built.grids,
            world.outlets,
            built.connectors,
            self._seen,
            self.load_as,
            self.starts,
            world.now_ms,
            span_ms,
            self.delays.blind_ms,
            self.delays.reading_ms,
        )


@dataclass(frozen=True, slots=True)
class Served:
    """One session at the end of the run. Possible: at its own maximum from its card to its end."""

    key: str
    connector: int
    plug_in_ms: int
    until_ms: int
    asked_wh: float
    possible_wh: float
    delivered_wh: float

    @property
    def share(self) -> float:
        """Delivered of possible, 0..1."""
        return min(1.0, max(0.0, self.delivered_wh / self.possible_wh))


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of merit of a run; amp-seconds are sums over all grids and phases."""

    sessions: int
    asked_kwh: float
    possible_kwh: float
    delivered_kwh: float
    served_of_possible_percent: float
    served_of_asked_percent: float
    fully_served_percent: float
    worst_share_percent: float
    p10_share_percent: float
    jain_index: float
    over_as: float
    own_as: float
    lie_as: float
    disturbance_as: float
    longest_over_s: float
    fuse_trips: int
    most_starts: int
    most_phase_changes: int
    hot_phase_changes: int
    imported_kwh: float
    exported_kwh: float
    curtailed_kwh: float
    battery_given_kwh: float
    cars_given_kwh: float
    writes_per_connector_day: float
    cycles: int
    wall_s: float

    @classmethod
    def names(cls) -> list[str]:
        """Names that an expectation may bound."""
        return [figure.name for figure in fields(cls)]


def possible_wh(story: Story, session: Any, until_ms: int) -> float:
    """What the car would take at its own maximum and the outlet's, from its card until then."""
    return _possible_wh(session, until_ms, _outlets(story)[session.connector], story.conditions)


def _possible_wh(session: Any, until_ms: int, outlet: Connector, conditions: Conditions) -> float:
    row = vehicles.free(1)
    row["feed_factor"], row["lift"] = conditions.dc_power_factor, conditions.lift
    car = session.car.at(outlet, conditions.dc_power_factor)
    row["plugged"] = row["transaction"] = 1
    row["pilot_ma"] = min(round(outlet.max_current_a * 1000), session.cable_ma or vehicles.FAR_MS)
    row["direct"] = outlet.kind == "dc"
    vehicles.seat(row[0], car, session.energy_wh)
    begin_ms = max(0, session.plug_in_ms) + session.card_after_ms
    if until_ms > begin_ms:
        vehicles.step(row, begin_ms, until_ms)
    return float(row["energy_wh"][0])


def _outlets(story: Story) -> list[Connector]:
    return [outlet for _, _, outlet in story.site.connectors()]


def served(story: Story, world: World) -> tuple[Served, ...]:
    """Every session that came, with what it got until it left or the run ended."""
    found = []
    outlets = _outlets(story)
    for stay in world.stays:
        if not stay.came:
            continue
        session = stay.session
        until_ms = min(session.plug_out_ms, world.now_ms)
        delivered_wh = stay.delivered_wh
        if not stay.over:
            delivered_wh = world.net_wh(session.connector) - stay.began_wh
        found.append(
            Served(
                key=session.key,
                connector=session.connector,
                plug_in_ms=session.plug_in_ms,
                until_ms=until_ms,
                asked_wh=session.energy_wh,
                possible_wh=_possible_wh(session, until_ms, outlets[session.connector], story.conditions),
                delivered_wh=delivered_wh,
            )
        )
    return tuple(found)


def judge(
    story: Story,
    world: World,
    tally: Tally,
    sessions: tuple[Served, ...],
    writes: int,
    cycles: int,
    wall_s: float,
) -> Figures:
    """All figures of a finished run."""
    asked = sum(session.asked_wh for session in sessions)
    possible = sum(session.possible_wh for session in sessions)
    delivered = sum(session.delivered_wh for session in sessions)
    counted = [session for session in sessions if session.possible_wh >= 1.0]
    shares = np.array([session.share for session in counted]) if counted else np.ones(1)
    full = sum(session.delivered_wh >= session.possible_wh - 100 for session in counted)
    over, own, lie = (float(tally.rows[name].sum()) for name in ("over_as", "own_as", "lie_as"))
    root = int(world.topology.leaves_first[-1])
    squares = float((shares**2).sum())
    return Figures(
        sessions=len(sessions),
        asked_kwh=asked / 1000,
        possible_kwh=possible / 1000,
        delivered_kwh=delivered / 1000,
        served_of_possible_percent=100 * delivered / possible if possible else 100.0,
        served_of_asked_percent=100 * delivered / asked if asked else 100.0,
        fully_served_percent=100 * full / len(counted) if counted else 100.0,
        worst_share_percent=100 * float(shares.min()),
        p10_share_percent=100 * float(np.percentile(shares, 10)),
        jain_index=float(shares.sum()) ** 2 / (len(shares) * squares) if squares else 1.0,
        over_as=over,
        own_as=own,
        lie_as=lie,
        disturbance_as=over - own - lie,
        longest_over_s=int(tally.rows["longest_ms"].max()) / 1000,
        fuse_trips=int(world.boards["trips"].sum()),
        most_starts=int(tally.starts[:, 0].max(initial=0)),
        imported_kwh=float(tally.rows["in_as"][root]) * _KWH / story.conditions.lift,
        exported_kwh=float(tally.rows["back_as"][root]) * _KWH / story.conditions.lift,
        most_phase_changes=int(world.outlets["changes"].max(initial=0)),
        hot_phase_changes=int(world.outlets["hot_changes"].sum()),
        curtailed_kwh=float(world.panels["curtailed_wh"].sum()) / 1000,
        battery_given_kwh=float(world.cells["discharged_wh"].sum()) / 1000,
        cars_given_kwh=float(world.outlets["given_wh"].sum()) / 1000,
        writes_per_connector_day=writes / max(1, len(world.outlets)) / (story.length_ms / 86_400_000),
        cycles=cycles,
        wall_s=wall_s,
    )
