"""The words of `controller.explain`: one line per reason and per alarm, with places for names and numbers.

A reason is a mark for a tile, a clause that says why, and what would give the connector more.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from controller.decision import Alarm, Because
from controller.image import Source, Status


class Advice(NamedTuple):
    """An alarm in words and what to do next."""

    text: str
    next_step: str


REASONS: Final[dict[Because, tuple[str, str, str]]] = {
    # code: mark, why, what would give more
    Because.IDLE: ("free", "no car is plugged in", "Plug in a car and present a card."),
    Because.CONNECTOR: (
        "rating",
        "the outlet gives no more than {max}",
        "Nothing: it has all its outlet gives.",
    ),
    Because.FUSE: (
        "fuse {phase}",
        "{where} is full ({booked} of {limit})",
        "Less other load on {where}, fewer cars there, or a larger fuse.",
    ),
    Because.WISH: (
        "asked",
        "the back office or an operator allows no more than {wish}",
        "Lift that limit in the back office.",
    ),
    Because.CAR: (
        "car",
        "the car takes no more than {draw}",
        "The car: it gets more as soon as it draws all of {target}.",
    ),
    Because.TURN: (
        "turn",
        "it waits for its turn, for {where}{by} has no room for the least current of every car",
        "Nothing to do: turns change every 15 min. Fewer cars or less other load on {where} end the turns.",
    ),
    Because.WAIT_CONFIRMATION: (
        "soon",
        "its room is promised, and others must first be seen to draw less",
        "Nothing to do: it comes within a minute.",
    ),
    Because.WAIT_READING: (
        "unseen",
        "it has not reported what it draws, and nothing is raised unseen",
        "A reading. If none comes within a minute, check that {identity} sends MeterValues with currents.",
    ),
    Because.PROOF: (
        "test",
        "the chargepoint is being tested whether it obeys",
        "Nothing to do: the test takes about a minute while a car charges.",
    ),
    Because.METER_AGEING: (
        "meter",
        "{meter} has been silent for {age}, and nothing is raised on an old reading",
        "A new reading of {meter}.",
    ),
    Because.METER_LOST_SAFE: (
        "meter",
        "{meter} is lost, and {grid} charges at its safe current of {safe}",
        "The meter: check its power and the cable to {address}.",
    ),
    Because.METER_LOST_PANIC: (
        "meter",
        "{meter} is lost, and without it {grid} must not charge",
        "The meter: check its power and the cable to {address}.",
    ),
    Because.PANIC: (
        "panic",
        "{where} was far over its limit, and all charging under it is off",
        "Nothing to do: it comes back 30 s after {where} is below its limit. Look for what was switched on.",
    ),
    Because.OFFLINE: (
        "offline",
        "its link is down, and {committed} stay booked for what it may draw",
        "The link: check power and network of {identity}.",
    ),
    Because.NOT_OBEYING: (
        "disobeys",
        "it accepted a lower limit and draws {draw}; the others make room for it",
        "Nothing from here. Have the smart charging of {identity} repaired, or take it out of service.",
    ),
    Because.REFUSED: (
        "refuses",
        "the chargepoint refuses every limit and is booked with all it can draw",
        "Nothing from here. Switch on smart charging in the settings of {identity}.",
    ),
    Because.CUT: (
        "cut",
        "it was lowered because the load on {where} rose ({booked} of {limit}{by})",
        "Less other load on {where}.",
    ),
    Because.CHECK: (
        "checked",
        "the last check withheld a raise",
        "Report this: it is a fault of the controller. Charging goes on without the raise.",
    ),
    Because.NOT_WORTH: (
        "steady",
        "the change to {wish_now} is too small for a new order",
        "Nothing to do: a difference of 1 A or 10 % is sent.",
    ),
    Because.ROUND: (
        "soon",
        "the raises before it are not finished",
        "Nothing to do: it comes within a minute.",
    ),
    Because.MAINTENANCE: (
        "maintenance",
        "a person has shut it off",
        "Whoever works there: end the maintenance.",
    ),
    Because.EMERGENCY_STOP: (
        "stop",
        "the emergency stop holds it",
        "Release the emergency stop when it is safe.",
    ),
    Because.OUT_OF_SERVICE: (
        "out",
        "it followed no order while a fuse was overloaded, and was stopped",
        "Have {identity} repaired, then release it.",
    ),
    Because.SPARED: (
        "spared",
        "{identity} bears no more orders today than are kept for lowerings",
        "Some hours; or a greater writes_per_day of {identity}.",
    ),
    Because.SOLAR: (
        "sun",
        "it charges with surplus of sun, and there is no more",
        "More sun or less other load; a card or session without solar mode charges from the grid.",
    ),
    Because.NO_LEASE: (
        "lease",
        "it would keep more for ever if the controller died, and that would not fit its fuse",
        "A lease of {identity} (lease_s) and a low fallback_a, or less other load.",
    ),
    Because.FULL: (
        "full",
        "the car seems to be full",
        "The car: once an hour it is asked whether it wants more.",
    ),
    Because.CARD_MINIMUM: (
        "slow",
        "its card charges at the least current",
        "Another card, or that card without its mark for slow charging.",
    ),
    Because.CABLE: ("cable", "its cable bears no more than {cable}", "A thicker cable."),
    Because.LEARNING: (
        "phases",
        "it was lowered for a moment to see which phases the car loads",
        "Nothing to do: it comes back within a minute. A confirmed rotation of {identity} ends these tests.",
    ),
    Because.SWITCHING: (
        "phases",
        "it is off while its box changes between one phase and three",
        "Nothing to do: it goes on after the pause that the box needs.",
    ),
    Because.ASLEEP: (
        "asleep",
        "the car has not resumed after a pause and is being woken",
        "The car: unlock it or plug it out and in again. It is woken three times at most.",
    ),
}


class Origin(NamedTuple):
    """Who set a limit, in words; `reason` is told instead of a full fuse, as in `REASONS`."""

    words: str
    reason: tuple[str, str, str] | None = None


def _told(words: str, more: str) -> Origin:
    mark = words.removeprefix("the ")
    return Origin(words, (f"Limit by {mark}", f"{{where}} may take no more than {{limit}} by {words}", more))


SOURCES: Final[dict[Source, Origin]] = {
    Source.FUSE: Origin(""),
    Source.CONTRACT: _told("the contract", "A larger power of the connection, or less other load."),
    Source.QUARTER: _told(
        "the quarter of an hour", "Nothing to do: its mean is used up, and the next quarter begins anew."
    ),
    Source.UNBALANCE: _told(
        "unbalance", "More load on the other phases, or fewer one-phase cars on {phase}."
    ),
    Source.SAFE_CURRENT: _told("safe current", "The meter: see what is said about it."),
    Source.TIME_OF_USE: _told("ToU", "Nothing to do: the schedule lifts it. Or change the schedule."),
    Source.PROFILE: _told("profile", "Nothing to do: the profile lifts it. Or remove the profile."),
    Source.API: _told("the API", "Whoever set it lifts it, or its time runs out."),
    Source.MODBUS: _told("Modbus", "The building's energy management lifts it, or its time runs out."),
    Source.DIGITAL_INPUT: _told("digital input", "It is lifted with the contact of the input."),
    Source.GRID_OPERATOR: _told("the grid operator", "The grid operator lifts it."),
    Source.NON_FIRM: _told("the non-firm contract", "Nothing to do: the hours of less capacity end."),
    Source.FALLBACK: _told(
        "fallback", "A new limit from outside: the last one has run out. Check who should send it."
    ),
    Source.MAINTENANCE: _told("maintenance", "End maintenance."),
    Source.EMERGENCY_STOP: _told("emergency stop", "Release the emergency stop."),
    Source.CARD: _told("the card", "Change the card's settings."),
    Source.PLANNER: _told("the planner", "Nothing to do: it is planned to be ready in time."),
}


STATION_LIMIT: Final = (
    "Station limit",
    "all outlets of {station} together may take no more than {limit}",
    "Fewer cars at {station}, or a higher limit of it in the site file.",
)
"""In place of the fuse, where the board stands for one station alone."""

IDLE_BY_STATUS: Final[dict[Status, tuple[str, str, str]]] = {
    Status.NONE: (
        "unseen",
        "it has not been heard from since the start",
        "Check power and network of {identity}.",
    ),
    Status.PREPARING: ("card", "a car is plugged in and no transaction has begun", "Present a card."),
    Status.CHARGING: (
        "unseen",
        "it says that it charges and has announced no transaction",
        "Plug the car out and in again.",
    ),
    Status.FINISHING: (
        "done",
        "the transaction has ended and the car is still plugged in",
        "Plug the car out.",
    ),
    Status.RESERVED: ("reserved", "it is reserved", "Present the card it is reserved for."),
    Status.UNAVAILABLE: ("out", "it is out of service", "Put {identity} in service again."),
    Status.FAULTED: ("fault", "it reports a fault", "Read the fault on {identity} and have it repaired."),
}

PLANNED: Final[tuple[str, str, str]] = (
    "planned",
    "the departure plan lets it wait, for others leave before it or need more",
    "Nothing to do: plans are made anew every 5 min. Tell it an earlier departure or a larger need.",
)
"""Instead of `Because.WISH` where the planner has set the cap."""

WEIGHED: Final = ", and {whose} gives it a weight of {weight}"
"""Added where a fuse or a turn decides and the weight is not the normal one."""

GRID_ALARMS: Final[dict[Alarm, Advice]] = {
    Alarm.METER_LOST: Advice(
        "{Meter} silent for {age}. {on_failure}", "Check its power and the cable to {address}."
    ),
    Alarm.METER_AGEING: Advice(
        "{Meter} silent for {age}. Nothing is raised under {grid}.",
        "Wait 10 s; if it stays, check its power and the cable to {address}.",
    ),
    Alarm.OVER_LIMIT: Advice(
        "{where} is over its limit: {measured} of {limit}.",
        "Cars are being lowered. If it lasts longer than a minute, switch off other load on {where}.",
    ),
    Alarm.UNCONTROLLED_ABOVE_LIMIT: Advice(
        "The other load on {where} alone is above the limit of {limit}; no car is left to lower.",
        "Switch off other load on {where}.",
    ),
    Alarm.PANIC: Advice(
        "{grid} was far over its limit. All charging under it is off.",
        "Look for what was switched on; charging comes back 30 s after the load is back under the limit.",
    ),
    Alarm.CHECK_FAILED: Advice(
        "The last check withheld a raise under {grid}.",
        "Report this: it is a fault of the controller. Charging goes on without the raise.",
    ),
    Alarm.OVER_EXPORT: Advice(
        "More flows back over {grid} than may.",
        "Inverters that take limits are being curtailed. If it lasts longer than a minute, check that they"
        " do, and that none is missing from the site file.",
    ),
    Alarm.EXPORT_PANIC: Advice(
        "Far too much flowed back over {grid}. Every inverter and battery under it has been told to stop.",
        "Check that the inverters take limits and that none is missing from the site file.",
    ),
    Alarm.METER_ABSURD: Advice(
        "{Meter} gives values that cannot be; they are not believed.",
        "Compare its type, its wiring and its transformer ratio with the site file ({address}).",
    ),
    Alarm.METER_FROZEN: Advice(
        "{Meter} has said the same for a minute while cars under it changed.",
        "Restart it; see whether its display moves while a car charges ({address}).",
    ),
    Alarm.METER_IMPLAUSIBLE: Advice(
        "The boards or cars of {grid} together take more than {grid} itself measures; the larger counts.",
        "Compare the meters with a clamp. If something feeds in on it, the site file should say feeds_in.",
    ),
    Alarm.METER_REVERSED: Advice(
        "{Meter} falls where charging rises; its currents count as load, whatever their sign.",
        "Turn its transformers, or set invert_polarity if all its phases are mounted backwards ({address}).",
    ),
    Alarm.METER_SWAPPED: Advice(
        "{Meter} shows charging on another phase than the cars; the highest phase counts on all.",
        "Compare the phases of {meter} and the rotation of the outlets with the site file ({address}).",
    ),
    Alarm.METERS_DISAGREE: Advice(
        "The guard and the consumer meters of {grid} do not fit together; the larger load counts.",
        "Compare both with a clamp, and what each of them should see with the site file.",
    ),
}

CONNECTOR_ALARMS: Final[dict[Alarm, Advice]] = {
    Alarm.OVER_LIMIT: Advice(
        "{name} draws {draw}, more than its {target}.", "Watch it; if it lasts, have {identity} repaired."
    ),
    Alarm.NOT_OBEYING: Advice(
        "{name} does not obey: it accepted a lower limit and draws {draw}.",
        "Have the smart charging of {identity} repaired, or take it out of service. The others make room.",
    ),
    Alarm.REFUSED: Advice(
        "{name} refuses every limit. It is booked with {committed}.",
        "Switch on smart charging in the settings of {identity}.",
    ),
    Alarm.OFFLINE: Advice(
        "{name} is offline. {committed} stay booked for what it may draw.",
        "Check power and network of {identity}.",
    ),
    Alarm.READINGS_STALE: Advice(
        "{name} has stopped reporting what it draws. {committed} stay booked.",
        "Check that {identity} sends MeterValues with currents.",
    ),
    Alarm.OUT_OF_SERVICE: Advice(
        "{name} followed no order while a fuse was overloaded: stopped and taken out of service.",
        "Have {identity} repaired, then release it.",
    ),
    Alarm.CHECK_FAILED: Advice(
        "The last check withheld a raise of {name}.",
        "Report this: it is a fault of the controller. Charging goes on without the raise.",
    ),
}

OTHER_ALARM: Final = Advice("{name}: {code}.", "Read the journal of the last minute.")
"""For a combination that the controller never sets; it shall be seen all the same."""
