"""Why a battery has its set-point or an inverter its limit: in words."""

from __future__ import annotations

from typing import Any, Final

from controller.decision import StorageBecause
from controller.electrical import LINE_NAMES
from controller.image import Source
from controller.topology import STRATEGIES, Topology

STRATEGY_WORDS: Final = {number: word.replace("_", " ") for word, number in STRATEGIES.items()}

DEVICE_REASONS: Final[dict[StorageBecause, str]] = {
    StorageBecause.STANDBY: "nothing asks for it",
    StorageBecause.SURPLUS: "it takes what would flow back to the grid",
    StorageBecause.LOAD: "it covers the other load",
    StorageBecause.PEAK: "it holds the import of the connection",
    StorageBecause.RECHARGE: "it charges from the grid for the next peak",
    StorageBecause.SETPOINT: "{who} says how much",
    StorageBecause.BRIDGE: "it makes room for cars under a limit",
    StorageBecause.EMPTY: "its charge is at the lower end of its window, or at its reserve",
    StorageBecause.FULL: "its charge is at the upper end of its window",
    StorageBecause.NO_ROOM: "{where} leaves no more for charging; cars go first",
    StorageBecause.UNHEARD: "its readings, or those of the connection, are missing",
    StorageBecause.NOT_OBEYING: "it does not do what it is told",
    StorageBecause.FREE: "nothing limits it",
    StorageBecause.EXPORT: "no more may flow back over {where}",
    StorageBecause.EXPORT_PANIC: "far too much flowed back over {where}",
    StorageBecause.DIRECTION: "the meter of {where} does not surely tell which way the current flows",
    StorageBecause.TRIAL: "small steps first: the meter of {where} has yet to show which way round it is",
    StorageBecause.STOPPED: "somebody has stopped it",
}


def device_reason(topology: Topology, wanted: Any, setpoint_source: int = 0) -> str:
    """Why a row of the decision's batteries or inverters is what it is; a clause without full stop."""
    grid, line = int(wanted["because_grid"]), int(wanted["because_phase"])
    where = topology.grid_names[grid] if grid >= 0 else "the connection"
    if grid >= 0 and line >= 0:
        where = f"{where} {LINE_NAMES[line]}"
    who = "the schedule" if setpoint_source == Source.TIME_OF_USE else "somebody outside"
    return DEVICE_REASONS[StorageBecause(int(wanted["because"]))].format(where=where, who=who)
