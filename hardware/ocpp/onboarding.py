"""What is done with a box each time its conversation opens, in the order in which the site depends on it.

Read its configuration; make sure of the default profile (what it does when nobody commands it); have its
state reported; change the few configuration keys that differ; have its meters read. A box is asked before it
is written to, because many keep profiles and keys in flash.
"""

from __future__ import annotations

from typing import Any, Final

from controller.defaults import UNKNOWN
from hardware.ocpp.actions import HEARTBEAT_S
from hardware.ocpp.box import CONFIGURE_S, Box
from hardware.ocpp.link import LINK_LOST
from hardware.ocpp.outlet import Outlet
from hardware.ocpp.profiles import LADDER, MAXIMUM, TX, TX_DEFAULT, Rung, composite_ma, usable

TOLERANCE_MA: Final = 100
COMPOSITE_S: Final = 60
NEEDED: Final = ("Current.Import", "Energy.Active.Import.Register")
MEASURANDS: Final = (  # offered one after the other until one list is taken
    "Current.Import,Power.Active.Import,Energy.Active.Import.Register,Voltage",
    "Current.Import,Energy.Active.Import.Register",
    "Current.Import",
)


async def set_up(box: Box) -> bool:
    """Onboard a box whose link is open. False: it did not answer everything; try again later."""
    if not box.record.vendor:
        box.boot_asked_until_ms = box.clock.now_ms() + round(CONFIGURE_S * 1000)
        await box.configure("TriggerMessage", {"requestedMessage": "BootNotification"})
    complete = await _read_configuration(box)
    complete &= await _make_default_sure(box)
    await _ask_status(box)
    await _write_configuration(box)
    for number in box.outlets:
        box.ask(number)
    return complete


async def _read_configuration(box: Box) -> bool:
    outcome = await box.configure("GetConfiguration", {})
    listed = outcome.payload.get("configurationKey") if outcome.payload is not None else None
    box.configuration.clear()
    box.read_only.clear()
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("key"), str):
            box.configuration[entry["key"]] = str(entry.get("value", ""))
            if entry.get("readonly") is True:
                box.read_only.add(entry["key"])
    words = box.configuration.get("ChargingScheduleAllowedChargingRateUnit", "")
    units = {
        unit for unit, word in (("A", "Current"), ("W", "Power")) if word in words or unit in words.split(",")
    }
    box.ladder.units = frozenset({"W"} if box.has_dc() else units or {"A", "W"})
    periods = box.configuration.get("ChargingScheduleMaxPeriods", "")
    box.ladder.max_periods = int(periods) if periods.isdecimal() and 0 < len(periods) < 6 else 2
    return outcome.payload is not None


# -- the default profile --------------------------------------------------------------------------------


async def _make_default_sure(box: Box) -> bool:
    """Every idle connector's default is verified, or UNKNOWN stays in its row."""
    if not box.record.commissioned:
        await _clear_foreign_profiles(box)
    elif await _is_in_force(box):
        box.unsupported(False)
        return True
    if not await _install_default(box):
        box.unsupported(True)
        return False
    box.unsupported(False)
    for attempt in (1, 2):
        higher = await _found_higher(box)
        if not higher:
            break
        if attempt == 1:  # something from a former operator is stronger
            await _clear_foreign_profiles(box)
            await _install_default(box)
            continue
        for outlet, found_ma in higher.items():
            box.default_is(outlet, found_ma)
        box.say("default_ignored", "accepted a default profile and reports a higher limit; it is booked so.")
    box.remember(commissioned=True)
    return True


async def _clear_foreign_profiles(box: Box) -> None:
    """Everything, as nobody can name what a former operator left; the default follows at once."""
    for outlet in box.outlets.values():
        box.default_is(outlet, UNKNOWN)
    await box.configure("ClearChargingProfile", {})


async def _is_in_force(box: Box) -> bool:
    """The composite schedule of every connector without transaction shows the fallback already."""
    found: dict[Outlet, int] = {}
    for outlet in box.outlets.values():
        composite = await _composite(box, outlet)
        if composite is None or composite > box.fallback_ma(outlet) + TOLERANCE_MA:
            return False
        found[outlet] = max(composite, box.fallback_ma(outlet))
    for outlet, limit_ma in found.items():
        box.default_is(outlet, limit_ma)
    return True


async def _found_higher(box: Box) -> dict[Outlet, int]:
    found = {outlet: await _composite(box, outlet) for outlet in box.outlets.values()}
    return {
        outlet: composite
        for outlet, composite in found.items()
        if composite is not None and composite > box.fallback_ma(outlet) + TOLERANCE_MA
    }


async def _composite(box: Box, outlet: Outlet) -> int | None:
    """Limit that rules without a transaction; None while one runs, and of boxes that cannot say."""
    if outlet.transaction is not None or not box.can_tell_composite:
        return None
    unit = "A" if outlet.efficiency is None else "W"
    request = {"connectorId": outlet.spec.number, "duration": COMPOSITE_S, "chargingRateUnit": unit}
    outcome = await box.configure("GetCompositeSchedule", request)
    if outcome.error and outcome.error != LINK_LOST:
        box.can_tell_composite = False
    if outcome.payload is None or outlet.transaction is not None:
        return None
    return composite_ma(outcome.payload, outlet.spec.phases, outlet.efficiency)


async def _install_default(box: Box) -> bool:
    """One profile for the whole box, or one per connector where the box wants that."""
    live = box.ladder.rung
    rungs = [live] if live.purpose != TX else []
    rungs += [rung for rung in LADDER if rung.purpose in {TX_DEFAULT, MAXIMUM} and rung != live]
    anyone = next(iter(box.outlets.values()))
    for rung in rungs:
        if not usable(rung, units=box.ladder.units, connectors=len(box.outlets), leased=False, max_periods=2):
            continue
        if rung != live and await _takes_default(box, rung, anyone, 0):
            box.default_on_zero = True
            _believe(box, list(box.outlets.values()))
            return True
        if rung.purpose == MAXIMUM:
            continue
        # Controlled through this very profile, a running transaction keeps what it has.
        idle = [o for o in box.outlets.values() if rung != live or o.transaction is None]
        taken = [await _takes_default(box, rung, outlet, outlet.spec.number) for outlet in idle]
        if all(taken):
            box.default_on_zero = False
            _believe(box, idle)
            return True
    box.say("default_refused", "refuses every default profile; it is booked at its rating when idle.")
    return False


def _believe(box: Box, outlets: list[Outlet]) -> None:
    for outlet in outlets:
        box.default_is(outlet, box.fallback_ma(outlet))


async def _takes_default(box: Box, rung: Rung, outlet: Outlet, connector: int) -> bool:
    request = box.default_profile(rung, outlet, connector)
    return (await box.configure("SetChargingProfile", request)).status == "Accepted"


# -- state and configuration ----------------------------------------------------------------------------


async def _ask_status(box: Box) -> None:
    for outlet in box.outlets.values():
        outlet.status_asked = True
    whole = await box.configure("TriggerMessage", {"requestedMessage": "StatusNotification"})
    if whole.status == "Accepted" or whole.error == LINK_LOST:
        return
    for number in box.outlets:
        request = {"requestedMessage": "StatusNotification", "connectorId": number}
        await box.configure("TriggerMessage", request)


def _wanted(box: Box) -> dict[str, tuple[str, ...]]:
    """Keys and the values to try, best first; only those that differ from what the box has."""
    interval_s = str(box.site.sample_interval_s)
    wanted: dict[str, tuple[str, ...]] = {
        "MeterValueSampleInterval": (interval_s,),
        "MeterValuesSampledData": MEASURANDS,
        "HeartbeatInterval": (str(HEARTBEAT_S),),
        "WebSocketPingInterval": ("30",),
        "MinimumStatusDuration": ("0",),
    }
    listed = box.configuration
    if not listed:  # it told nothing: only what the control depends on
        return {key: wanted[key] for key in ("MeterValueSampleInterval", "MeterValuesSampledData")}
    sampled = listed.get("MeterValuesSampledData", "").replace(" ", "").split(",")
    if all(measurand in sampled for measurand in NEEDED):
        del wanted["MeterValuesSampledData"]
    return {key: values for key, values in wanted.items() if key in listed and listed[key] != values[0]}


async def _write_configuration(box: Box) -> None:
    for key, values in _wanted(box).items():
        if key in box.shunned_keys or key in box.read_only:
            continue
        box.last_key, box.last_key_at_ms = key, box.clock.now_ms()
        for value in values:
            outcome = await box.configure("ChangeConfiguration", {"key": key, "value": value})
            if outcome.error == LINK_LOST:
                return
            if outcome.status == "RebootRequired":
                box.say("reboot_wanted", f"wants a reboot before {key} = {value} counts; reset it when idle.")
            if outcome.status in {"Accepted", "RebootRequired"}:
                box.configuration[key] = value
                break
        else:
            box.shunned_keys.add(key)
            box.say(f"key_{key}", f"does not take {key} = {values[0]}; set it at the box itself.")


def describe(box: Box) -> dict[str, Any]:
    """What is known of a box, for an API."""
    rung = box.ladder.rung
    return {
        "identity": box.identity,
        "vendor": box.record.vendor,
        "model": box.record.model,
        "firmware": box.record.firmware,
        "boots": box.record.boots,
        "online": box.online,
        "profile": f"{rung.purpose} {rung.kind} {rung.unit}",
        "configuration": dict(box.configuration),
    }
