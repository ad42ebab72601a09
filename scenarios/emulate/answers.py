"""How an emulated chargepoint answers what the central system asks of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from scenarios.emulate.frames import CallRefused, Message
from scenarios.emulate.profiles import NOMINAL_VOLTAGE_V, Profile, Refused

if TYPE_CHECKING:
    from scenarios.emulate.chargepoint import Chargepoint
    from scenarios.emulate.outlets import Outlet

MEASURANDS = {"Current.Import", "Power.Active.Import", "Energy.Active.Import.Register", "Voltage"}
INVITATION_KEY = "ConnectionTimeOut"


def answer_of(box: Chargepoint) -> Callable[[str, Message], Message]:
    """The function that answers one call of the central system. It raises CallRefused."""
    answers: dict[str, Callable[[Chargepoint, Message], Message]] = {
        "ChangeAvailability": _change_availability,
        "ChangeConfiguration": _change_configuration,
        "ClearCache": lambda _box, _call: {"status": "Accepted"},
        "ClearChargingProfile": _clear_charging_profile,
        "DataTransfer": lambda _box, _call: {"status": "UnknownVendorId"},
        "GetCompositeSchedule": _get_composite_schedule,
        "GetConfiguration": _get_configuration,
        "RemoteStartTransaction": _remote_start,
        "RemoteStopTransaction": _remote_stop,
        "Reset": _reset,
        "SetChargingProfile": _set_charging_profile,
        "TriggerMessage": _trigger_message,
        "UnlockConnector": _unlock_connector,
    }

    def answer(action: str, call: Message) -> Message:
        if action not in answers:
            raise CallRefused("NotSupported", f"{action} is not supported here")
        return answers[action](box, call)

    return answer


def _outlet(box: Chargepoint, connector: object) -> Outlet | None:
    return next((outlet for outlet in box.outlets if outlet.number == connector), None)


# -- profiles ------------------------------------------------------------------------------------------


def _set_charging_profile(box: Chargepoint, call: Message) -> Message:
    if box.refuses(call["connectorId"]):
        return {"status": "Rejected"}
    try:
        box.store.install(box.read_profile(call["connectorId"], call["csChargingProfiles"]))
    except Refused as refusal:
        return {"status": refusal.status}
    box.writes += 1
    box.apply_limits(told=call["connectorId"])
    return {"status": "Accepted"}


def _clear_charging_profile(box: Chargepoint, call: Message) -> Message:
    fields: dict[str, Callable[[Profile], object]] = {
        "id": lambda profile: profile.id,
        "connectorId": lambda profile: profile.connector,
        "chargingProfilePurpose": lambda profile: profile.purpose,
        "stackLevel": lambda profile: profile.stack_level,
    }
    cleared = box.store.clear(lambda profile: all(fields[key](profile) == call[key] for key in call))
    box.apply_limits()
    return {"status": "Accepted" if cleared else "Unknown"}


def _get_composite_schedule(box: Chargepoint, call: Message) -> Message:
    connector, unit = call["connectorId"], call.get("chargingRateUnit", "A")
    if connector and not _outlet(box, connector):
        return {"status": "Rejected"}
    rows = box.store.composite(connector, box.utc_ms(), call["duration"])
    scale = 1.0 if unit == "A" else 3 * NOMINAL_VOLTAGE_V * (box.nameplate.efficiency(connector) or 1.0)
    schedule = {
        "duration": call["duration"],
        "startSchedule": box.timestamp(),
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [
            {"startPeriod": offset_s, "limit": int(limit_ma * scale + 1e-6) // 100 / 10, "numberPhases": 3}
            for offset_s, limit_ma in rows
        ],
    }
    about = {"connectorId": connector, "scheduleStart": box.timestamp(), "chargingSchedule": schedule}
    return {"status": "Accepted", **about}


# -- configuration -------------------------------------------------------------------------------------


def _get_configuration(box: Chargepoint, call: Message) -> Message:
    known = {**box.settings.values, **box.settings.fixed}
    asked = call.get("key") or sorted(known)
    rows = [
        {"key": key, "readonly": key in box.settings.fixed, "value": known[key]}
        for key in asked
        if key in known
    ]
    return {"configurationKey": rows, "unknownKey": [key for key in asked if key not in known]}


def _change_configuration(box: Chargepoint, call: Message) -> Message:
    key, value = call["key"], call["value"]
    if key == "AuthorizationKey" and box.shown.profile in {1, 2}:  # can be written and never read
        if not 16 <= len(value) <= 40:
            return {"status": "Rejected"}
        box.shown.key = value
        return {"status": "Accepted"}
    if key in box.settings.fixed:
        return {"status": "Rejected"}
    if key not in box.settings.values:
        return {"status": "NotSupported"}
    if box.settings.values[key].isdigit() and not value.isdigit():
        return {"status": "Rejected"}
    if key == "MeterValuesSampledData" and not set(value.split(",")) <= MEASURANDS:
        return {"status": "Rejected"}
    box.settings.values[key] = value
    if key == "MeterValueSampleInterval":
        box.schedule_samples()
    return {"status": "Accepted"}


def _change_availability(box: Chargepoint, call: Message) -> Message:
    connector, operative = call["connectorId"], call["type"] == "Operative"
    chosen = [outlet for outlet in box.outlets if connector in (0, outlet.number)]
    if not chosen:
        return {"status": "Rejected"}
    for outlet in chosen:
        outlet.operative = operative
    box.apply_limits()
    busy = not operative and any(outlet.running for outlet in chosen)
    return {"status": "Scheduled" if busy else "Accepted"}


# -- what it is told to do -----------------------------------------------------------------------------


def _trigger_message(box: Chargepoint, call: Message) -> Message:
    connector, asked = call.get("connectorId"), call["requestedMessage"]
    outlets = [outlet for outlet in box.outlets if connector in (None, 0, outlet.number)]
    if not outlets:
        return {"status": "Rejected"}
    match asked:
        case "BootNotification":
            box.boot()
        case "Heartbeat":
            box.heartbeat()
        case "StatusNotification":
            for outlet in outlets:
                outlet.told = outlet.status
                box.notify(outlet.number, outlet.status)
        case "MeterValues":
            for outlet in outlets:
                box.ask_reading(outlet)
        case _:
            return {"status": "NotImplemented"}
    return {"status": "Accepted"}


def _remote_start(box: Chargepoint, call: Message) -> Message:
    free = [outlet for outlet in box.outlets if outlet.operative and not outlet.running]
    wanted = call.get("connectorId")
    chosen = [outlet for outlet in free if wanted in (None, outlet.number)]
    profile = call.get("chargingProfile")
    if not chosen or (profile and profile["chargingProfilePurpose"] != "TxProfile"):
        return {"status": "Rejected"}
    outlet = next((outlet for outlet in chosen if outlet.plugged), chosen[0])
    outlet.remote_profile = profile
    if outlet.plugged:
        box.start(outlet, call["idTag"])
    else:
        outlet.remote_card = call["idTag"]
        outlet.remote_until_ms = box.now_ms() + box.settings.whole(INVITATION_KEY) * 1000
    return {"status": "Accepted"}


def _remote_stop(box: Chargepoint, call: Message) -> Message:
    for outlet in box.outlets:
        if outlet.running and outlet.running.number == call["transactionId"]:
            box.stop(outlet, "Remote")
            return {"status": "Accepted"}
    return {"status": "Rejected"}


def _unlock_connector(box: Chargepoint, call: Message) -> Message:
    outlet = _outlet(box, call["connectorId"])
    if outlet is None:
        return {"status": "NotSupported"}
    box.stop(outlet, "UnlockCommand")
    return {"status": "Unlocked"}


def _reset(box: Chargepoint, call: Message) -> Message:
    box.restart_soon(f"{call['type']}Reset")
    return {"status": "Accepted"}
