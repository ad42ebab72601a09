"""The values that the box offers as registers, by block, and how each is read from the newest cycle.

What nobody knows is said as such, never as 0; after 10 s without a cycle nothing of it is known any more.
Currents are mA in the phases of the site, powers W at nominal voltage.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from controller.defaults import LINES, NEVER, PHASE_COUNT, UNKNOWN, UNLIMITED_MA
from controller.electrical import NOMINAL_VOLTAGE_V, watts
from controller.explain import DANGERS, DRAWS_MA, Scene, booked_ma, draw_ma
from controller.site import Site
from controller.topology import NO_METER, Topology
from hardware.limit_registers import FIELDS, GROUPS, LimitRegisters, Line
from hardware.registers import LAYOUTS, to_words
from hardware.snapshot import STALE

Kind = Literal["u16", "i16", "u32", "i32", "text"]
LAYOUT_VERSION: Final = 1
VERSION: Final = importlib.metadata.version("edge-twin")
TEXT_WORDS: Final = 16
UNKNOWN_WORDS: Final[dict[Kind, list[int]]] = {
    "u16": [0xFFFF],
    "i16": [0x8000],
    "u32": [0xFFFF, 0xFFFF],
    "i32": [0x8000, 0],
    "text": [0] * TEXT_WORDS,
}
"""How a point says that nobody knows."""


class Glance(NamedTuple):
    """What is looked at: a site, and its newest cycle where one is young enough to be told of."""

    site: Site
    topology: Topology
    limits: LimitRegisters
    scene: Scene | None = None
    cycle: int | None = None
    age_s: float | None = None


Value = Callable[[Glance, int], int | str | None]
"""The value of a point for a row of its table; None: nobody knows."""


class Point(NamedTuple):
    """One value of a block."""

    name: str
    kind: Kind
    unit: str
    says: str
    value: Value
    writes: tuple[str, int] | None = None
    """Group and field of the limit that writing it tells."""

    @property
    def size(self) -> int:
        """Words."""
        return TEXT_WORDS if self.kind == "text" else LAYOUTS[self.kind].words

    def words(self, glance: Glance, row: int) -> list[int]:
        """Its words now."""
        value = self.value(glance, row)
        if value is None:
            return UNKNOWN_WORDS[self.kind]
        if isinstance(value, str):
            return _text(value)
        return to_words(value, self.kind, "big")


def _text(value: str) -> list[int]:
    """UTF-8, cut where it is too long for its words, filled up with 0."""
    cut = value.encode()[: 2 * TEXT_WORDS].decode(errors="ignore").encode().ljust(2 * TEXT_WORDS, b"\0")
    return [int.from_bytes(cut[at : at + 2], "big") for at in range(0, 2 * TEXT_WORDS, 2)]


class Shape(NamedTuple):
    """One type of block."""

    type: int
    title: str
    length: int
    """Registers behind type and length; what no point uses says 0xFFFF."""
    points: tuple[Point, ...]


# -- values ---------------------------------------------------------------------------------------------


def _live(read: Callable[[Scene, int], int | None]) -> Value:
    """A value of the newest cycle."""
    return lambda glance, row: None if glance.scene is None else read(glance.scene, row)


def _known(value: Any) -> int | None:
    """None for what is unknown and for a limit that is none."""
    return None if value == UNKNOWN or value >= UNLIMITED_MA else int(value)


def _field(bundle: str, table: str, field: str) -> Value:
    """A field of the image, the memory or the decision."""
    return _live(lambda scene, row: _known(getattr(getattr(scene, bundle), table)[row][field]))


def _three(name: str, says: str, read: Callable[[Scene, int, int], int | None]) -> list[Point]:
    """A current on each phase of the site."""

    def of(phase: int) -> Value:
        return _live(lambda scene, row: read(scene, row, phase))

    return [Point(f"{name}_l{p + 1}", "i32", "mA", f"{says}, L{p + 1}", of(p)) for p in range(PHASE_COUNT)]


def _age_ms(scene: Scene, at_ms: int) -> int | None:
    return None if at_ms == NEVER else max(0, int(scene.image.clock[0]["now_ms"]) - at_ms)


def _state(scene: Scene, _row: int) -> int:
    alarms = int(np.bitwise_or.reduce(scene.decision.grids["alarm"]))
    others = int(np.bitwise_or.reduce(scene.decision.connectors["alarm"], initial=0))
    if alarms & int(np.bitwise_or.reduce([int(danger) for danger in DANGERS])):
        return 2
    return 1 if alarms | others else 0


def _draws_ma(scene: Scene) -> Any:
    """What the connectors draw, (n, 3); UNKNOWN where nobody knows, or not any more."""
    rows = scene.memory.connectors
    draws_ma = rows["reading_ma"].copy()
    draws_ma[rows["reading_at_ms"] == NEVER] = UNKNOWN
    draws_ma[rows["event_at_ms"] > rows["reading_at_ms"]] = 0
    draws_ma[(rows["seen"] == 1) & (rows["plugged"] == 0) & (rows["reading_at_ms"] == NEVER)] = 0
    draws_ma[(scene.decision.connectors["alarm"] & STALE) != 0] = UNKNOWN
    return draws_ma


def _charging(scene: Scene, _row: int) -> int:
    takes = _draws_ma(scene).max(axis=1, initial=0) >= DRAWS_MA
    return int((takes & (scene.memory.connectors["plugged"] == 1)).sum())


def _charging_ma(scene: Scene, grid: int, phase: int) -> int | None:
    """Sum of all connectors under a grid; None as soon as nobody knows one of them."""
    built = scene.topology.connectors
    depths = np.arange(built["path"].shape[1])
    under = ((built["path"] == grid) & (depths < built["depth"][:, None])).any(axis=1)
    draws_ma = _draws_ma(scene)[under, phase]
    return None if (draws_ma == UNKNOWN).any() else int(draws_ma.sum())


def _grid_id(glance: Glance, row: int) -> int | None:
    return None if row < 0 else glance.site.grid[glance.topology.grid_names[row]].id


def _meter_state(scene: Scene, row: int) -> int:
    if scene.topology.grids[row]["kind"] == NO_METER:
        return 0
    return 2 if scene.decision.grids[row]["lost"] else 1


def _meter_age_ms(scene: Scene, row: int) -> int | None:
    """Of the oldest of its meters."""
    mine = scene.topology.meters["grid"] == row
    return _age_ms(scene, int(scene.image.meters["at_ms"][mine].min())) if mine.any() else None


def _measured_ma(scene: Scene, row: int, phase: int) -> int | None:
    grid = scene.decision.grids[row]
    return None if grid["lost"] else _known(grid["measured_ma"][phase])


def _measured_w(scene: Scene, row: int) -> int | None:
    phases = [_measured_ma(scene, row, phase) for phase in range(PHASE_COUNT)]
    return None if None in phases else watts(sum(phase or 0 for phase in phases), 1)


def _limit_w(scene: Scene, row: int) -> int | None:
    """Of the sum of its phases, where that is limited."""
    grid = scene.decision.grids[row]
    limit_ma = _known(grid["sum_limit_ma"]) if grid["lines"] == LINES else None
    return None if limit_ma is None else watts(limit_ma, 1)


def _fuse(phase: int) -> Value:
    return lambda glance, row: int(glance.topology.grids[row]["limit_ma"][phase])


def _source(phase: int) -> Value:
    return _live(lambda scene, row: int(scene.decision.grids[row]["source"][phase]))


def _connector_draws(scene: Scene, row: int, phase: int) -> int | None:
    return None if scene.decision.connectors[row]["alarm"] & STALE else _known(draw_ma(scene, row)[phase])


def _grid_ma(field: str) -> Callable[[Scene, int, int], int | None]:
    return lambda scene, grid, phase: _known(scene.decision.grids[grid][field][phase])


def _plugged(scene: Scene, row: int) -> int | None:
    kept = scene.memory.connectors[row]
    return int(kept["plugged"]) if kept["seen"] else None


def _device_name(table: str) -> Value:
    field = "battery_names" if table == "batteries" else "inverter_names"
    return lambda glance, row: str(getattr(glance.topology, field)[row])


def _takes_w(table: str) -> Value:
    """What a battery or an inverter takes, negative where it feeds in."""

    def read(scene: Scene, row: int) -> int | None:
        kept = getattr(scene.memory, table)[row]
        stale = getattr(scene.decision, table)[row]["alarm"] & STALE
        return None if kept["reading_at_ms"] == NEVER or stale else watts(int(kept["reading_ma"].sum()), 1)

    return _live(read)


def _count(table: str) -> Value:
    return lambda glance, _: len(getattr(glance.topology, table))


def _own_grid(table: str) -> Value:
    return lambda glance, row: _grid_id(glance, int(getattr(glance.topology, table)[row]["path"][0]))


# -- blocks ---------------------------------------------------------------------------------------------

GENERAL: Final = Shape(
    1,
    "box",
    98,
    (
        Point("layout", "u16", "", "version of this map", lambda *_: LAYOUT_VERSION),
        Point("may_write", "u16", "", "1: this server takes limits", lambda g, _: int(g.limits.writable)),
        Point("version", "text", "", "of Edge", lambda *_: VERSION),
        Point("name", "text", "", "of the site", lambda g, _: g.site.name),
        Point("state", "u16", "", "0 safe, 1 something is wrong, 2 danger", _live(_state)),
        Point(
            "alarms", "u32", "bits", "alarms of any grid or connector", _field("decision", "site", "alarm")
        ),
        Point("cycles", "u32", "", "cycles since the start", lambda g, _: g.cycle),
        Point(
            "cycle_age",
            "u32",
            "ms",
            "since the newest cycle; after 10 s nothing is known",
            lambda g, _: None if g.age_s is None else round(g.age_s * 1000),
        ),
        Point("grids", "u16", "", "blocks of type 2", _count("grids")),
        Point("connectors", "u16", "", "blocks of type 3", _count("connectors")),
        Point("batteries", "u16", "", "blocks of type 4", _count("batteries")),
        Point("inverters", "u16", "", "blocks of type 5", _count("inverters")),
        Point(
            "plugged", "u16", "", "cars", _live(lambda s, _: int((s.memory.connectors["plugged"] == 1).sum()))
        ),
        Point("charging", "u16", "", "cars that draw current", _live(_charging)),
        Point(
            "safe_alone",
            "u16",
            "",
            "1: every fuse holds if the controller dies now",
            _live(lambda s, _: int(s.decision.site[0]["unsafe_alone"] == 0)),
        ),
    ),
)


def _limit_points() -> Iterator[Point]:
    """The registers by which a grid is told limits, and what became of them."""
    for group in GROUPS:
        for field, (name, unit, says) in enumerate(FIELDS):

            def told(glance: Glance, row: int, group: str = group, field: int = field) -> int | None:
                word = glance.limits.words(Line(glance.topology.grid_names[row], group))[field]
                return None if word == 0xFFFF else word

            yield Point(f"{group}_{name}", "u16", unit, f"{group}: {says}", told, (group, field))
    for group in GROUPS:

        def state(glance: Glance, row: int, group: str = group) -> int | None:
            return glance.limits.state(Line(glance.topology.grid_names[row], group))

        def left_s(glance: Glance, row: int, group: str = group) -> int | None:
            return glance.limits.left_s(Line(glance.topology.grid_names[row], group))

        yield Point(f"{group}_state", "u16", "", f"{group}: 0 nothing told, 1 in force, 2 not renewed", state)
        yield Point(f"{group}_left", "u16", "s", f"{group}: time that it still has to live", left_s)


GRID: Final = Shape(
    2,
    "grid",
    98,
    (
        Point("id", "u32", "", "as in the site file", _grid_id),
        Point("fed_by", "u32", "", "id of its feeder; not known: the connection",
              lambda g, row: _grid_id(g, int(g.topology.grids[row]["parent"]))),
        Point("name", "text", "", "as in the site file", lambda g, row: g.topology.grid_names[row]),
        *_limit_points(),
        Point("meter", "u16", "", "0 it has none, 1 answers, 2 lost", _live(_meter_state)),
        Point("meter_age", "u32", "ms", "of its oldest reading", _live(_meter_age_ms)),
        Point("alarms", "u32", "bits", "alarms", _field("decision", "grids", "alarm")),
        Point("notes", "u32", "bits", "notes", _field("decision", "grids", "note")),
        *(
            Point(f"fuse_l{p + 1}", "i32", "mA", f"its fuse, L{p + 1}", _fuse(p))
            for p in range(PHASE_COUNT)
        ),
        *_three("allowed", "limit in force", _grid_ma("limit_ma")),
        *_three("measured", "by its meter", _measured_ma),
        *_three("other", "load that nobody controls", _grid_ma("estimate_ma")),
        *_three("booked", "other load plus the most that connectors may draw",
                lambda s, g, p: _known(booked_ma(s.decision, g, p))),
        *_three("offered", "sum of what the connectors are given", _grid_ma("targets_ma")),
        *_three("charging", "sum of what the connectors draw", _charging_ma),
        *(
            Point(f"allowed_by_l{p + 1}", "u16", "", f"who set the limit in force, L{p + 1}", _source(p))
            for p in range(PHASE_COUNT)
        ),
        Point("measured_power", "i32", "W", "at 230 V, over the phases", _live(_measured_w)),
        Point("allowed_power", "u32", "W", "limit of the phases together; not known: none", _live(_limit_w)),
    ),
)  # fmt: skip
CONNECTOR: Final = Shape(
    3,
    "connector",
    48,
    (
        Point("name", "text", "", "chargepoint/number", lambda g, row: g.topology.connector_names[row]),
        Point("grid", "u32", "", "id of its grid", _own_grid("connectors")),
        Point("status", "u16", "", "of OCPP: 1 Available ... 9 Faulted",
              _live(lambda s, c: int(s.image.connectors[c]["status"]) or None)),
        Point("online", "u16", "", "1: its link is up", _field("image", "connectors", "online")),
        Point("plugged", "u16", "", "1: a car is plugged in",
              _live(_plugged)),
        Point("reason", "u16", "", "rule that set its current", _field("decision", "connectors", "because")),
        Point("phases", "u16", "bits", "phases on which it is booked, bit 0: L1",
              _live(lambda s, c: sum(1 << p for p in range(3) if s.decision.connectors[c]["phases"][p]))),
        Point("phases_known", "u16", "", "1: they are known", _field("decision", "connectors", "known")),
        Point("alarms", "u32", "bits", "alarms", _field("decision", "connectors", "alarm")),
        Point("notes", "u32", "bits", "notes", _field("decision", "connectors", "note")),
        Point("rating", "i32", "mA", "most that it can give, per phase",
              lambda g, row: int(g.topology.connectors[row]["max_ma"])),
        Point("offered", "i32", "mA", "limit that it was given, per phase",
              _field("decision", "connectors", "target_ma")),
        Point("booked", "i32", "mA", "most that it may draw, per phase",
              _field("decision", "connectors", "committed_ma")),
        *_three("draws", "what it draws", _connector_draws),
        Point("energy", "u32", "Wh", "of this session, at 230 V",
              _live(lambda s, c: int(s.memory.connectors[c]["charge_mas"]) * NOMINAL_VOLTAGE_V // 3_600_000)),
        Point("reading_age", "u32", "ms", "since it last said what it draws",
              _live(lambda s, c: _age_ms(s, int(max(s.memory.connectors[c]["reading_at_ms"],
                                                    s.memory.connectors[c]["event_at_ms"]))))),
    ),
)  # fmt: skip


def _device(table: str, charge: Value, strategy: Value) -> tuple[Point, ...]:
    """Batteries and inverters have blocks of one shape."""
    return (
        Point("name", "text", "", "as in the site file", _device_name(table)),
        Point("grid", "u32", "", "id of its grid", _own_grid(table)),
        Point("online", "u16", "", "1: it is connected", _field("image", table, "online")),
        Point("charge", "u16", "1/1000", "state of charge", charge),
        Point("strategy", "u16", "", "1 standby, 2 self-consumption, 3 peak shaving, 4 manual", strategy),
        Point("reason", "u16", "", "rule that set its power", _field("decision", table, "because")),
        Point("alarms", "u32", "bits", "alarms", _field("decision", table, "alarm")),
        Point("takes", "i32", "W", "what it takes; negative: it feeds in", _takes_w(table)),
        Point("ordered", "i32", "W", "what it was told; of an inverter the most that it may feed in",
              _field("decision", table, "power_w")),
    )  # fmt: skip


BATTERY: Final = Shape(
    4,
    "battery",
    38,
    _device("batteries", _field("memory", "batteries", "soc"), _field("decision", "batteries", "strategy")),
)
INVERTER: Final = Shape(5, "inverter", 38, _device("inverters", lambda *_: None, lambda *_: None))
SHAPES: Final = (GENERAL, GRID, CONNECTOR, BATTERY, INVERTER)
