"""The words of notes: the product's label, what it means, and what would give the connector more."""

from __future__ import annotations

from typing import Final, NamedTuple

from controller.decision import Note


class Remark(NamedTuple):
    """A note in words, with places for names and numbers."""

    label: str
    text: str
    more: str


NOTES: Final[dict[Note, Remark]] = {
    Note.FULL: Remark(
        "Full",
        "it may charge and takes nothing: the car is probably full",
        "The car: once an hour it is asked whether it wants more.",
    ),
    Note.ONE_PHASE_CHARGING: Remark(
        "One phase charging",
        "the car takes current on one phase of three",
        "Nothing from here: a car with three phases, or its cable.",
    ),
    Note.TWO_PHASE_CHARGING: Remark(
        "Two phase charging",
        "the car takes current on two phases of three",
        "Nothing from here: a car with three phases, or its cable.",
    ),
    Note.CHARGING_PROFILE_REFUSED: Remark(
        "Charging profile refused",
        "{identity} refuses every limit; it is booked with all it can draw",
        "Switch on smart charging in the settings of {identity}.",
    ),
    Note.METER_VALUES_TIMEOUT: Remark(
        "Meter values timeout",
        "it has stopped saying what it draws; {committed} stay booked",
        "A reading: check that {identity} sends MeterValues with currents.",
    ),
    Note.COMMUNICATION_ERROR: Remark(
        "Communication error",
        "it is not connected; {committed} stay booked",
        "The link: check power and network of {identity}.",
    ),
    Note.NOT_READY: Remark(
        "Not ready",
        "it is connected and still being brought in",
        "Nothing to do for a minute; if it stays, restart {identity}.",
    ),
    Note.UNSUPPORTED: Remark(
        "Unsupported",
        "{identity} refuses what every chargepoint is brought in with; it is booked at its rating",
        "A person: its firmware and its settings for smart charging.",
    ),
    Note.IN_ERROR: Remark(
        "In error",
        "it reports a fault",
        "Read the fault on {identity} and have it repaired.",
    ),
    Note.SLEEP_MODE_DETECTED: Remark(
        "Sleep mode detected",
        "the car has not taken current again after it was paused",
        "The driver: plug out and in. A card that prevents sleep mode is paused last.",
    ),
    Note.STATION_LIMIT: Remark(
        "Station limit",
        "the outlets of its station together are at their limit",
        "Fewer cars at this station.",
    ),
    Note.ISO_15118: Remark(
        "ISO 15118",
        "the car says its state of charge: {soc}",
        "Nothing: this limits nobody.",
    ),
    Note.STUBBORN: Remark(
        "Stubborn",
        "it draws {draw}, clearly more than its {target}; the others make room for it",
        "Nothing from here: have the smart charging of {identity} repaired.",
    ),
    Note.OVERSHOOT: Remark(
        "Overshoot",
        "{measured} flow where {allowed} are allowed",
        "Nothing to do: what is too much is being lowered.",
    ),
    Note.LIMIT_BY_TOU: Remark(
        "Limit by ToU",
        "the schedule of {where} is its tightest limit now",
        "The end of this period of the schedule, or another schedule.",
    ),
    Note.LIMIT_BY_PROFILE: Remark(
        "Limit by profile",
        "a charging profile of {where} is its tightest limit now",
        "The end of this period of the profile, or another profile.",
    ),
    Note.LIMIT_FROM_OUTSIDE: Remark(
        "Limit from outside",
        "a limit from outside is the tightest of {where} now",
        "Whoever gave that limit, or its end.",
    ),
    Note.MAINTENANCE: Remark(
        "Maintenance",
        "a person has shut it off",
        "Whoever works there: end the maintenance.",
    ),
    Note.EMERGENCY_STOP: Remark(
        "Emergency stop",
        "the emergency stop holds it",
        "Release the emergency stop when it is safe.",
    ),
    Note.ONE_PHASE_REFUSED: Remark(
        "One phase refused",
        "{identity} was told to charge on one phase and did not; it is booked on all of them",
        "A person: its contactor, or phase_switch_s of an outlet that cannot change.",
    ),
    Note.OUT_OF_SERVICE: Remark(
        "Out of service",
        "it followed no order while a fuse was overloaded, and was stopped",
        "Have {identity} repaired, then release it.",
    ),
    Note.OVER_EXPORT: Remark(
        "Over export limit",
        "more flows back over {grid} than may",
        "Nothing to do where inverters are curtailed; else a load, a battery or a smaller plant.",
    ),
}
