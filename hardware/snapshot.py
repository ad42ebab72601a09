"""One cycle in the words and numbers of the HTTP contract."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from controller import explain
from controller.breaker import holds_s
from controller.decision import Alarm, Because
from controller.defaults import NEVER, UNKNOWN, UNLIMITED_MA
from controller.electrical import LINE_NAMES, PHASES, watts
from controller.explain import Kind, Scene
from controller.image import Status
from controller.limits import WHOLE_HEAT
from controller.outage import if_it_dies
from controller.storage_words import STRATEGY_WORDS, device_reason
from hardware import contract
from hardware.recent import AlarmRecord, Series

OVERLOADS = (
    Alarm.OVER_LIMIT,
    Alarm.UNCONTROLLED_ABOVE_LIMIT,
    Alarm.PANIC,
    Alarm.OVER_EXPORT,
    Alarm.EXPORT_PANIC,
)
STALE = int(Alarm.READINGS_STALE | Alarm.OFFLINE)


def amps(value_ma: int) -> float | None:
    """Amperes; None for what is unknown or has no limit."""
    return None if value_ma == UNKNOWN or value_ma >= UNLIMITED_MA else value_ma / 1000


def series(values_ma: Series) -> list[float | None]:
    """Amperes of many: three phases, or a line in a plot, which None breaks."""
    return [amps(value_ma) for value_ma in values_ma.tolist()]


def moment(utc_ms: int) -> datetime:
    """Aware UTC."""
    return datetime.fromtimestamp(utc_ms / 1000, UTC)


def moments(at_ms: Series) -> list[datetime]:
    """Aware UTC of every step."""
    return [moment(utc_ms) for utc_ms in at_ms.tolist()]


def bears_s(scene: Scene, grid: int, phase: int) -> float | None:
    """For how long the fuse of a phase bears what flows now; None: for ever, or nobody measures."""
    flows_ma = int(scene.decision.grids[grid]["measured_ma"][phase])
    if flows_ma == UNKNOWN:
        return None
    curve = scene.site.grid[scene.topology.grid_names[grid]].breaker
    rating_a = int(scene.topology.grids[grid]["limit_ma"][phase]) / 1000
    heat = int(scene.memory.grids[grid]["heat"][phase]) / WHOLE_HEAT
    holds = holds_s(curve, rating_a, flows_ma / 1000, heat)
    return None if math.isinf(holds) else round(holds, 1)


def _patience(scene: Scene, grid: int) -> str:
    """The same for its hottest phase, as a sentence behind an alarm; empty: for ever."""
    borne = [seconds for phase in range(3) if (seconds := bears_s(scene, grid, phase)) is not None]
    if not borne:
        return ""
    if min(borne) < 1:
        return " The fuse may open at any moment (typical curve, unverified)."
    return f" The fuse bears this for about {min(borne):.0f} s more (typical curve, unverified)."


def _age_s(scene: Scene, at_ms: int) -> float | None:
    return None if at_ms == NEVER else max(0, int(scene.image.clock[0]["now_ms"]) - at_ms) / 1000


def chain(scene: Scene, row: int) -> list[contract.ChainLink]:
    """The limits from a car to the main fuse."""
    return [
        contract.ChainLink(
            what=link.what,
            name=link.name,
            phase=LINE_NAMES[link.phase] if link.phase >= 0 else None,
            limit_a=amps(link.limit_ma),
            booked_a=amps(link.booked_ma),
            binding=link.binding,
            note=link.note,
        )
        for link in explain.chain(scene, row)
    ]


def live(scene: Scene, number: int, utc_ms: int, records: list[AlarmRecord]) -> contract.Live:
    """A whole cycle, with the alarms that stand."""
    state, sentence = explain.answer(scene)
    connectors = [_connector(scene, row) for row in range(len(scene.topology.connectors))]
    return contract.Live(
        cycle=number,
        at=moment(utc_ms),
        age_s=0.0,
        state=state,
        sentence=sentence,
        plugged=sum(one.plugged for one in connectors),
        charging=sum(one.charging for one in connectors),
        if_the_controller_dies=_dead_controller(scene),
        grids=[_grid(scene, row) for row in range(len(scene.topology.grids))],
        connectors=connectors,
        devices=[*_batteries(scene), *_inverters(scene)],
        alarms=[alarm(scene, record) for record in records if record.until_ms is None],
    )


def _grid(scene: Scene, row: int) -> contract.GridLive:
    decision = scene.decision.grids[row]
    at_ms = [
        int(one["at_ms"])
        for one, meter in zip(scene.image.meters, scene.topology.meters, strict=True)
        if meter["grid"] == row
    ]
    return contract.GridLive(
        name=scene.topology.grid_names[row],
        phases=[
            contract.PhaseLive(
                phase=PHASES[phase],
                measured_a=amps(int(decision["measured_ma"][phase])),
                limit_a=amps(int(decision["limit_ma"][phase])),
                other_a=amps(int(decision["estimate_ma"][phase])),
                booked_a=amps(explain.booked_ma(scene.decision, row, phase)),
                targets_a=amps(int(decision["targets_ma"][phase])),
                bears_s=bears_s(scene, row, phase),
            )
            for phase in range(3)
        ],
        meter_age_s=_age_s(scene, min(at_ms)) if at_ms else None,
        meter_lost=bool(decision["lost"]),
        notes=_notes(scene, "grid", row),
    )


def _connector(scene: Scene, row: int) -> contract.ConnectorLive:
    decision, memory = scene.decision.connectors[row], scene.memory.connectors[row]
    report = scene.image.connectors[row]
    draws_ma = explain.draw_ma(scene, row)
    words = explain.reason(scene, row)
    plugged = bool(memory["plugged"])
    return contract.ConnectorLive(
        name=scene.topology.connector_names[row],
        status=Status(int(report["status"])).name.lower().replace("_", " "),
        online=bool(report["online"]),
        plugged=plugged,
        charging=plugged and max(draws_ma) >= explain.DRAWS_MA,
        gets_a=amps(int(decision["target_ma"])),
        may_draw_a=amps(int(decision["committed_ma"])),
        draws_a=amps(max(draws_ma)),
        draws_per_phase_a=[amps(value_ma) for value_ma in draws_ma],
        booked_phases=[PHASES[phase] for phase in range(3) if decision["phases"][phase]],
        phases_known=bool(decision["known"]),
        rotation_hint=explain.rotation_hint(scene, row),
        reading_age_s=_age_s(scene, int(max(memory["reading_at_ms"], memory["event_at_ms"]))),
        stale=bool(decision["alarm"] & STALE),
        plugged_for_s=_age_s(scene, int(memory["since_ms"])) if plugged else None,
        code=Because(int(decision["because"])).name.lower(),
        notes=_notes(scene, "connector", row),
        **words._asdict(),
    )


def _batteries(scene: Scene) -> Iterator[contract.DeviceLive]:
    for row, name in enumerate(scene.topology.battery_names):
        wanted, kept = scene.decision.batteries[row], scene.memory.batteries[row]
        charge = int(kept["soc"])
        source = int(scene.image.batteries[row]["setpoint_source"])
        yield contract.DeviceLive(
            kind="battery",
            name=name,
            online=bool(scene.image.batteries[row]["online"]),
            stale=bool(wanted["alarm"] & STALE),
            takes_kw=_kilowatts(kept),
            ordered_kw=int(wanted["power_w"]) / 1000,
            charge_percent=None if charge == UNKNOWN else charge / 10,
            strategy=STRATEGY_WORDS[int(wanted["strategy"])],
            why=device_reason(scene.topology, wanted, source),
        )


def _inverters(scene: Scene) -> Iterator[contract.DeviceLive]:
    for row, name in enumerate(scene.topology.inverter_names):
        wanted, kept = scene.decision.inverters[row], scene.memory.inverters[row]
        yield contract.DeviceLive(
            kind="inverter",
            name=name,
            online=bool(scene.image.inverters[row]["online"]),
            stale=bool(wanted["alarm"] & STALE),
            takes_kw=_kilowatts(kept),
            ordered_kw=int(wanted["power_w"]) / 1000,
            charge_percent=None,
            strategy=None,
            why=device_reason(scene.topology, wanted),
        )


def _kilowatts(kept: Any) -> float | None:
    if kept["reading_at_ms"] == NEVER:
        return None
    return watts(int(kept["reading_ma"].sum()), 1) / 1000


def _dead_controller(scene: Scene) -> contract.DeadController:
    sentences = list(if_it_dies(scene.topology, scene.decision))
    accepted = scene.site.accept_unsafe_fallback
    return contract.DeadController(safe=not sentences, sentences=sentences, accepted=accepted)


def _notes(scene: Scene, kind: Literal["grid", "connector"], row: int) -> list[contract.NoteLive]:
    return [contract.NoteLive(**words._asdict()) for words in explain.notes(scene, kind, row)]


def alarm(scene: Scene, record: AlarmRecord) -> contract.AlarmLive:
    """One alarm with its next step."""
    words = record.advice or explain.advice(scene, record.kind, record.row, record.alarm)
    stands = record.kind == "grid" and record.until_ms is None and record.alarm in OVERLOADS
    names: dict[Kind, str] = {"site": scene.site.name}
    if record.kind == "grid":
        names["grid"] = scene.topology.grid_names[record.row]
    if record.kind == "connector":
        names["connector"] = explain.connector_name(scene.topology, record.row)
    return contract.AlarmLive(
        kind=record.kind,
        name=names[record.kind],
        code=(record.alarm.name or str(int(record.alarm))).lower(),
        danger=record.kind == "grid" and record.alarm in explain.DANGERS,
        text=words.text + (_patience(scene, record.row) if stands else ""),
        next_step=words.next_step,
        since=moment(record.since_ms),
        until=moment(record.until_ms) if record.until_ms is not None else None,
    )
