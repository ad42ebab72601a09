"""Why a connector has its current, what would give it more, and what to do about an alarm: in words.

Pure functions of one cycle (`Scene`) over the tables of `controller.words`. Numbers: amperes without
decimals from 10 on, one below; "-" where nobody knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from controller.decision import Alarm, Because, Decision, Memory
from controller.defaults import LINES, NEVER, PHASE_COUNT, TOGETHER, UNKNOWN
from controller.electrical import LINE_NAMES, PHASES
from controller.image import Image, Source, Status
from controller.remarks import NOTES, Remark
from controller.site import SafeCurrent, Site
from controller.topology import Topology
from controller.words import (
    CONNECTOR_ALARMS,
    GRID_ALARMS,
    IDLE_BY_STATUS,
    OTHER_ALARM,
    PLANNED,
    REASONS,
    SOURCES,
    STATION_LIMIT,
    WEIGHED,
    Advice,
)

THIN: Final = "\N{NARROW NO-BREAK SPACE}"
MINUS: Final = "\N{MINUS SIGN}"
DRAWS_MA: Final = 500
"""A car that takes this much is charging."""

DANGERS: Final = (Alarm.PANIC, Alarm.UNCONTROLLED_ABOVE_LIMIT, Alarm.OVER_LIMIT, Alarm.METER_LOST)
"""What makes a grid unsafe or blind, gravest first."""

METER_RULES: Final = (Because.METER_AGEING, Because.METER_LOST_SAFE, Because.METER_LOST_PANIC)
PLACE_RULES: Final = (Because.FUSE, Because.TURN, Because.CUT)
SHARED_RULES: Final = (Because.FUSE, Because.TURN)
METER_ALARMS: Final = (
    Alarm.METER_LOST
    | Alarm.METER_AGEING
    | Alarm.METER_ABSURD
    | Alarm.METER_FROZEN
    | Alarm.METER_REVERSED
    | Alarm.METER_SWAPPED
)

Kind = Literal["site", "grid", "connector"]
State = Literal["safe", "attention", "danger"]


class Scene(NamedTuple):
    """One cycle as it was seen and decided; `addresses` says where the meters are, by name, if known."""

    site: Site
    topology: Topology
    image: Image
    decision: Decision
    memory: Memory
    addresses: dict[str, str]


class Reason(NamedTuple):
    """`mark` is a word for a tile, `why` a clause for a table, `sentence` the whole of it."""

    mark: str
    why: str
    sentence: str
    more: str


class ChainLink(NamedTuple):
    """One of the limits between a car and the main fuse; currents mA, UNKNOWN where it has none."""

    what: Literal["car", "order", "outlet", "grid"]
    name: str
    phase: int
    limit_ma: int
    booked_ma: int
    binding: bool
    note: str


def number(value_ma: int) -> str:
    """Amperes without the unit: `61`, `7.4`, `6`, or `-` for unknown."""
    if value_ma == UNKNOWN:
        return "-"
    amps = abs(value_ma) / 1000
    text = f"{amps:.0f}" if amps >= 9.95 else f"{amps:.1f}".removesuffix(".0")
    return MINUS + text if value_ma < 0 and text != "0" else text


def amps(value_ma: int) -> str:
    """Amperes with a thin space and the unit."""
    return f"{number(value_ma)}{THIN}A"


def seconds(now_ms: int, at_ms: int) -> str:
    """How long ago."""
    passed_s = max(0, now_ms - at_ms) // 1000
    return f"{passed_s}{THIN}s" if passed_s < 120 else f"{passed_s // 60}{THIN}min"


def connector_name(topology: Topology, row: int) -> str:
    """As people say it: `bay_07`, and `bay_07/2` only where the chargepoint has several outlets."""
    alone = (topology.connectors["chargepoint"] == topology.connectors[row]["chargepoint"]).sum() == 1
    name = topology.connector_names[row]
    return name.rpartition("/")[0] if alone else name


def draw_ma(scene: Scene, row: int) -> tuple[int, int, int]:
    """What a connector was last seen to draw, per phase of the site; UNKNOWN before it has said anything.

    An event that says it draws nothing counts as a reading.
    """
    memory = scene.memory.connectors[row]
    if memory["event_at_ms"] > memory["reading_at_ms"]:
        return (0, 0, 0)
    if memory["reading_at_ms"] == NEVER:
        return (UNKNOWN, UNKNOWN, UNKNOWN)
    first, second, third = memory["reading_ma"].tolist()
    return (first, second, third)


def line_ma(decision: Decision, grid: int, what: str, line: int) -> int:
    """A current of a grid on one of its phases, or of all together."""
    row = decision.grids[grid]
    return int(row[f"sum_{what}_ma"] if line == TOGETHER else row[f"{what}_ma"][line])


def source(decision: Decision, grid: int, line: int) -> Source:
    """Who set the limit of a line."""
    return Source(int(decision.grids[grid]["source"][line]))


def booked_ma(decision: Decision, grid: int, line: int) -> int:
    """The book of a line: other load as estimated, plus all that connectors may draw."""
    estimate_ma = line_ma(decision, grid, "estimate", line)
    return UNKNOWN if estimate_ma == UNKNOWN else estimate_ma + line_ma(decision, grid, "committed", line)


def used_ma(decision: Decision, grid: int, line: int) -> int:
    """What flows, as measured; where nobody measures, the book."""
    measured_ma = line_ma(decision, grid, "measured", line)
    return booked_ma(decision, grid, line) if measured_ma == UNKNOWN else measured_ma


def reason(scene: Scene, row: int) -> Reason:
    """Why a connector has its current and what would give it more."""
    decision = scene.decision.connectors[row]
    because = Because(int(decision["because"]))
    words = REASONS[because]
    if because is Because.IDLE:
        words = IDLE_BY_STATUS.get(Status(int(scene.image.connectors[row]["status"])), words)
    planned = scene.image.connectors[row]["wish_source"] == Source.PLANNER
    if because is Because.WISH and planned:
        words = PLANNED
    if because is Because.FUSE:
        by = source(scene.decision, int(decision["because_grid"]), int(decision["because_phase"]))
        words = SOURCES[by].reason or words
    grid = int(decision["because_grid"])
    if because in PLACE_RULES and grid >= 0 and scene.topology.grids[grid]["station"]:
        words = STATION_LIMIT
    facts = _connector_facts(scene, row)
    if because in SHARED_RULES and scene.image.connectors[row]["weight_percent"] != 100:
        facts["whose"] = "the departure plan" if planned else "its card"
        words = (words[0], words[1] + WEIGHED, words[2])
    mark, why, more = (text.format_map(facts) for text in words)
    target_ma = int(decision["target_ma"])
    gets = f"gets {amps(target_ma)}" if target_ma > 0 else "gets no current"
    return Reason(mark.strip(), why, f"{facts['name']} {gets}: {why}.", more)


def advice(scene: Scene, kind: Kind, row: int, alarm: Alarm) -> Advice:
    """One alarm of the site (`row` 0), a grid or a connector in words."""
    if kind == "connector":
        words, facts = CONNECTOR_ALARMS.get(alarm, OTHER_ALARM), _connector_facts(scene, row)
    else:
        facts = _grid_facts(scene, row if kind == "grid" else -1)
        blind = alarm & METER_ALARMS and facts["age"] == "-"  # of a place that has no meter
        words = OTHER_ALARM if blind else GRID_ALARMS.get(alarm, OTHER_ALARM)
    facts["code"] = (alarm.name or "alarm").lower().replace("_", " ")
    return Advice(words.text.format_map(facts), words.next_step.format_map(facts))


def notes(scene: Scene, kind: Literal["grid", "connector"], row: int) -> tuple[Remark, ...]:
    """The notes of a grid or a connector in words, in the order of their table."""
    if kind == "grid":
        said = int(scene.decision.grids[row]["note"])
        facts = _grid_facts(scene, row)
        facts |= {"measured": facts["measured"], "allowed": facts["limit"]}
    else:
        said = int(scene.decision.connectors[row]["note"])
        facts = _connector_facts(scene, row)
        soc = int(scene.image.connectors[row]["soc_percent"])
        facts |= {
            "measured": facts["draw"],
            "allowed": facts["target"],
            "soc": "-" if soc == UNKNOWN else f"{soc}{THIN}%",
        }
    return tuple(
        Remark(words.label, words.text.format_map(facts), words.more.format_map(facts))
        for note, words in NOTES.items()
        if said & note
    )


def rotation_hint(scene: Scene, row: int) -> str:
    """What the drawing could say of an unconfirmed outlet, as learnt from one-phase cars; empty: nothing.

    One phase is known; the other two are named as if the field turns the right way.
    """
    hint = int(scene.memory.connectors[row]["hint"])
    if hint == 0 or scene.topology.connectors[row]["confirmed"]:
        return ""
    chargepoint = scene.topology.connector_names[row].rpartition("/")[0]
    board = scene.site.rotation(scene.site.chargepoint[chargepoint].fed_by)
    first = board.index(hint - 1)
    return " ".join(PHASES[(first + own) % PHASE_COUNT] for own in range(PHASE_COUNT))


def chain(scene: Scene, row: int) -> tuple[ChainLink, ...]:
    """The limits of a connector from the car up to the main fuse, the binding one marked."""
    decision, nameplate = scene.decision.connectors[row], scene.topology.connectors[row]
    because = Because(int(decision["because"]))
    drawn_ma = max(draw_ma(scene, row))
    by_car = because in (Because.CAR, Because.FULL, Because.IDLE)
    by_outlet = because == Because.CONNECTOR
    by_grid = int(decision["because_grid"]) if not (by_car or by_outlet) else -1
    why = reason(scene, row).why
    links = [
        ChainLink("car", "car", -1, UNKNOWN, drawn_ma, by_car, why if by_car else ""),
        ChainLink(
            "order",
            "order",
            -1,
            int(decision["target_ma"]),
            int(decision["committed_ma"]),
            not (by_car or by_outlet or by_grid >= 0),
            why if not (by_car or by_outlet or by_grid >= 0) else "",
        ),
        ChainLink(
            "outlet", "outlet", -1, int(nameplate["max_ma"]), UNKNOWN, by_outlet, why if by_outlet else ""
        ),
    ]
    for grid in nameplate["path"][: nameplate["depth"]].tolist():
        links += _grid_links(scene, row, grid, why if grid == by_grid else "")
    return tuple(links)


def _grid_links(scene: Scene, row: int, grid: int, why: str) -> Iterator[ChainLink]:
    """A grid on each phase that the connector is booked on."""
    decision = scene.decision.connectors[row]
    for phase in range(LINES):
        together = phase == TOGETHER and scene.decision.grids[grid]["lines"] == LINES
        if together or (phase < TOGETHER and decision["phases"][phase]):
            binding = bool(why) and int(decision["because_phase"]) in (-1, phase)
            yield ChainLink(
                "grid",
                scene.topology.grid_names[grid],
                phase,
                line_ma(scene.decision, grid, "limit", phase),
                booked_ma(scene.decision, grid, phase),
                binding,
                why if binding else "",
            )


def answer(scene: Scene) -> tuple[State, str]:
    """Is the site safe, and is everybody charging as well as can be: one sentence, and how bad it is."""
    worst = _worst_grid_alarm(scene)
    opening = advice(scene, "grid", *worst).text if worst else "Safe."
    plugged = int((scene.memory.connectors["plugged"] == 1).sum())
    if not plugged:
        tail = "No car is plugged in."
    else:
        charging = sum(max(draw_ma(scene, row)) >= DRAWS_MA for row in range(len(scene.topology.connectors)))
        cars = "1 car charges" if plugged == 1 else f"{plugged} cars charge"
        held = _bottleneck(scene) or "no fuse holds anybody back"
        tail = f"{min(charging, plugged)} of {cars}; {held}."
    alarmed = scene.decision.grids["alarm"].any() or scene.decision.connectors["alarm"].any()
    state: State = "danger" if worst else "attention" if alarmed else "safe"
    return state, f"{opening} {tail}"


def _worst_grid_alarm(scene: Scene) -> tuple[int, Alarm] | None:
    """The gravest alarm that makes a site unsafe or blind, and its grid."""
    alarms = scene.decision.grids["alarm"].tolist()
    for danger in DANGERS:
        for grid, alarm in enumerate(alarms):
            if alarm & danger:
                return grid, danger
    return None


def _bottleneck(scene: Scene) -> str:
    """The phase that holds most connectors back."""
    rows = scene.decision.connectors
    places = Counter(
        (int(row["because_grid"]), int(row["because_phase"]))
        for row in rows
        if int(row["because"]) in PLACE_RULES and row["because_grid"] >= 0
    )
    if not places:
        return ""
    grid, phase = min(places, key=lambda place: (-places[place], place))
    facts = _place_facts(scene, grid, phase)
    booked = " booked" if line_ma(scene.decision, grid, "measured", phase) == UNKNOWN else ""
    return f"{facts['where']} is the bottleneck, {facts['used']} of {facts['limit']}{booked}"


def _connector_facts(scene: Scene, row: int) -> dict[str, str]:
    decision = scene.decision.connectors[row]
    nameplate = scene.topology.connectors[row]
    chargepoint = scene.topology.connector_names[row].rpartition("/")[0]
    grid = int(decision["because_grid"])
    if grid < 0 and int(decision["because"]) in METER_RULES:
        grid = int(nameplate["path"][nameplate["depth"] - 1])
    return {
        **_place_facts(scene, grid, int(decision["because_phase"])),
        "name": connector_name(scene.topology, row),
        "weight": f"{int(scene.image.connectors[row]['weight_percent'])}{THIN}%",
        "station": chargepoint,
        "cable": amps(min(int(scene.image.connectors[row]["cable_ma"]), int(nameplate["max_ma"]))),
        "identity": scene.site.chargepoint[chargepoint].identity,
        "max": amps(int(nameplate["max_ma"])),
        "wish": amps(int(scene.image.connectors[row]["wish_ma"])),
        "wish_now": amps(int(decision["wish_ma"])),
        "target": amps(int(decision["target_ma"])),
        "committed": amps(int(decision["committed_ma"])),
        "draw": amps(max(draw_ma(scene, row))),
    }


def _grid_facts(scene: Scene, grid: int) -> dict[str, str]:
    phases = range(PHASE_COUNT) if grid >= 0 else ()
    row = scene.decision.grids[grid]
    worst = max(phases, key=lambda p: used_ma(scene.decision, grid, p) - int(row["limit_ma"][p]), default=-1)
    facts = _place_facts(scene, grid, worst)
    return {**facts, "name": facts["grid"], "measured": facts["used"] + f"{THIN}A"}


def _place_facts(scene: Scene, grid: int, phase: int) -> dict[str, str]:
    """What can be said of a phase of a grid; `grid` -1 is the site as a whole, `phase` -1 all three."""
    if grid < 0:
        unknown = dict.fromkeys(("phase", "limit", "by", "booked", "used", "age", "safe", "address"), "-")
        place = {"grid": "the site", "where": "the site", "meter": "the meter", "Meter": "The meter"}
        return {**unknown, **place, "on_failure": ""}
    name = scene.topology.grid_names[grid]
    at = max(phase, 0)
    return {
        "grid": name,
        "phase": LINE_NAMES[phase] if phase >= 0 else "",
        "where": f"{name} {LINE_NAMES[phase]}" if phase >= 0 else name,
        "limit": amps(line_ma(scene.decision, grid, "limit", at)),
        "by": f" by {by}" if (by := SOURCES[source(scene.decision, grid, at)].words) else "",
        "booked": number(booked_ma(scene.decision, grid, at)),
        "used": number(used_ma(scene.decision, grid, at)),
        **_meter_facts(scene, grid),
    }


def _meter_facts(scene: Scene, grid: int) -> dict[str, str]:
    """The meter that watches a grid: the oldest of them, if there are several."""
    rows = [m for m, meter in enumerate(scene.topology.meters) if meter["grid"] == grid]
    if not rows:
        return {
            "meter": "no meter",
            "Meter": "No meter",
            "age": "-",
            "safe": "-",
            "address": "-",
            "on_failure": "",
        }
    row = min(rows, key=lambda m: int(scene.image.meters[m]["at_ms"]))
    name = scene.topology.meter_names[row]
    failure = scene.site.meter[name].on_failure
    safe = amps(round(failure.safe_current_a * 1000)) if isinstance(failure, SafeCurrent) else amps(0)
    goes_on = f"Charging continues at the safe current of {safe}."
    return {
        "meter": f"meter {name}",
        "Meter": f"Meter {name}",
        # A meter never heard has been silent since boot, when `now_ms` was 0.
        "age": seconds(int(scene.image.clock[0]["now_ms"]), max(0, int(scene.image.meters[row]["at_ms"]))),
        "safe": safe,
        "address": scene.addresses.get(name, f"meter {name}"),
        "on_failure": goes_on if isinstance(failure, SafeCurrent) else "All charging under it is off.",
    }
