"""What a chargepoint asks of its central system (OCPP 1.6 section 4), one function per action."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from controller.defaults import UNKNOWN
from hardware.ledger import Stop, Transaction
from hardware.notices import quoted
from hardware.ocpp.box import Box
from hardware.ocpp.boxclock import LIVE_MS
from hardware.ocpp.frames import Call, Payload, fault_in_call
from hardware.ocpp.link import Refused, Reply
from hardware.ocpp.outlet import OCCUPIED, STATUSES, Outlet
from hardware.ocpp.readings import Sample, parse_timestamp, read_samples

HEARTBEAT_S: Final = 60
QUEUE_REST_S: Final = 5.0  # a transaction out of a queue runs if its end does not follow within this time
BLAMED_MS: Final = 120_000  # a boot so soon after a changed key is blamed on it


def hear(box: Box, call: Call) -> Reply | Awaitable[Reply]:
    """Answer a CALL. Raises Refused."""
    action = _ACTIONS.get(call.action)
    if action is None:
        raise Refused("NotImplemented", "is not an action of this central system")
    fault = fault_in_call(call.action, call.payload)
    if fault:
        raise Refused("FormationViolation", fault)
    if call.action != "BootNotification":
        box.accept()  # a box that reconnects without booting is in the middle of its conversation
    return action(box, call.payload)


def _now(box: Box) -> str:
    return box.clock.utc().strftime("%Y-%m-%dT%H:%M:%SZ")


def _boot(box: Box, payload: Payload) -> Reply:
    def accepted() -> None:
        now_ms = box.clock.now_ms()
        asked = now_ms < box.boot_asked_until_ms
        if not asked and box.last_key and now_ms - box.last_key_at_ms < BLAMED_MS:
            box.shunned_keys.add(box.last_key)
            box.say("boot_blamed", f"booted right after {box.last_key} was changed; it is left alone now.")
        facts = (
            payload["chargePointVendor"],
            payload["chargePointModel"],
            payload.get("firmwareVersion", ""),
        )
        box.box_clock.forget()
        box.booted(*facts, asked=asked)
        box.accept()
        if not asked:
            box.set_up_due.set()

    answer = {"status": "Accepted", "currentTime": _now(box), "interval": HEARTBEAT_S}
    return Reply(answer, accepted)


def _heartbeat(box: Box, payload: Payload) -> Reply:
    return Reply({"currentTime": _now(box)})


def _status(box: Box, payload: Payload) -> Reply:
    number = payload["connectorId"]
    if payload["errorCode"] != "NoError":
        code, detail = payload["errorCode"], payload.get("info", "")
        box.say(f"fault_{number}", f"reports {code} {quoted(detail)} on connector {number}.")
    if number == 0:  # the chargepoint as a whole has no row
        return Reply({})
    outlet = _outlet(box, number)
    if outlet is None:
        return Reply({})
    age_ms = box.box_clock.age_ms(parse_timestamp(payload.get("timestamp", "")), box.clock.utc())
    if outlet.status_asked:  # some boxes give the time of the last change, not of the report
        age_ms = 0
    outlet.status_asked = False
    if age_ms > LIVE_MS:
        return Reply({})
    status = STATUSES[payload["status"]]
    at_ms = box.clock.now_ms() - age_ms
    if outlet.hear_status(status, at_ms):
        box.end(outlet, at_ms)
    if status in OCCUPIED:
        _settle_queued(box, outlet)
    box.changed()
    return Reply({})


def _authorize(box: Box, payload: Payload) -> Reply:
    return Reply({"idTagInfo": box.cards.authorize(payload["idTag"])})


async def _start(box: Box, payload: Payload) -> Reply:
    utc = box.clock.utc()
    text = payload["timestamp"]
    at = parse_timestamp(text)
    age_ms = box.box_clock.age_ms(at, utc)
    trusted = at is not None and box.box_clock.is_plausible(at, utc)
    begun = await box.ledger.begin(
        Transaction(
            id=0,
            identity=box.identity,
            connector=payload["connectorId"],
            tag=payload["idTag"].upper(),
            timestamp=text,
            meter_start_wh=payload["meterStart"],
            started_utc=at if at is not None and trusted else utc,
            clock_trusted=trusted,
            request=json.dumps(payload),
        )
    )
    box.cards.used(payload["idTag"])
    outlet = _outlet(box, payload["connectorId"])

    def running() -> None:
        if outlet is None or begun.ended:
            return
        if age_ms <= LIVE_MS:
            box.begin(outlet, begun.id)
        else:
            asyncio.get_running_loop().call_later(QUEUE_REST_S, _settle_queued, box, outlet)

    answer = {"transactionId": begun.id, "idTagInfo": box.cards.authorize(payload["idTag"])}
    return Reply(answer, running)


def _settle_queued(box: Box, outlet: Outlet) -> None:
    """A transaction told about late runs if its connector is occupied and its end has not come."""
    newest = box.ledger.running(box.identity, outlet.spec.number)
    if newest is not None and outlet.transaction is None and outlet.row["status"] in OCCUPIED:
        box.begin(outlet, newest.id)


async def _stop(box: Box, payload: Payload) -> Reply:
    utc = box.clock.utc()
    at = parse_timestamp(payload["timestamp"])
    plausible = at is not None and box.box_clock.is_plausible(at, utc)
    number = payload["transactionId"]
    stop = Stop(
        ended_utc=at if at is not None and plausible else utc,
        meter_stop_wh=payload["meterStop"],
        reason=payload.get("reason", "Local"),
        request=json.dumps(payload),
    )
    if not await box.ledger.end(box.identity, number, stop):
        box.say("orphan_stop", f"ended transaction {number}, which is not open here; recorded as an orphan.")

    def ended() -> None:
        for outlet in box.outlets.values():
            if outlet.transaction is not None and outlet.transaction.id == number:
                box.end(outlet, box.clock.now_ms())

    tag = payload.get("idTag")
    return Reply({"idTagInfo": box.cards.authorize(tag)} if tag else {}, ended)


def _meter_values(box: Box, payload: Payload) -> Reply:
    number = payload["connectorId"]
    if number == 0:  # the meter of the whole chargepoint
        return Reply({})
    outlet = _outlet(box, number)
    if outlet is None:
        return Reply({})
    newest: tuple[int, Sample] | None = None
    known = (outlet.spec.phases, outlet.max_ma, outlet.efficiency)
    for sample in read_samples(payload["meterValue"], *known):
        for fault in sample.faults:
            box.say(f"reading_{number}", f"reads {fault} on connector {number}; not believed.")
        age_ms = _age_of_sample(box, sample)
        _note_energy(box, payload, sample, age_ms)
        if sample.current_ma is not None and (newest is None or age_ms <= newest[0]):
            newest = (age_ms, sample)
        if age_ms <= LIVE_MS and sample.soc_percent != UNKNOWN:
            outlet.row["soc_percent"] = sample.soc_percent
        if age_ms <= LIVE_MS:
            _adopt(box, outlet, payload.get("transactionId"))
    if newest is not None and newest[0] <= LIVE_MS and newest[1].current_ma is not None:
        outlet.row["total_ma"] = newest[1].total_ma
        box.hear_current(outlet, newest[1].current_ma, box.clock.now_ms() - newest[0])
    return Reply({})


def _age_of_sample(box: Box, sample: Sample) -> int:
    at, utc = parse_timestamp(sample.timestamp), box.clock.utc()
    if sample.context == "Trigger":
        box.box_clock.learn(at, utc)
    return box.box_clock.age_ms(at, utc)


def _note_energy(box: Box, payload: Payload, sample: Sample, age_ms: int) -> None:
    number = payload.get("transactionId")
    if sample.energy_wh is None or number is None:
        return
    if box.ledger.transaction(box.identity, number) is not None:
        box.ledger.energy(number, sample.energy_wh, _before(box.clock.utc(), age_ms))


def _before(utc: datetime, age_ms: int) -> datetime:
    return datetime.fromtimestamp(utc.timestamp() - age_ms / 1000, utc.tzinfo)


def _adopt(box: Box, outlet: Outlet, number: int | None) -> None:
    """A live reading names a transaction of this connector: it runs, whatever was missed."""
    if number is None or number <= 0 or outlet.transaction is not None:
        return
    known = box.ledger.transaction(box.identity, number)
    if known is not None and known.connector == outlet.spec.number:
        box.begin(outlet, known.id)
    elif known is None and number != outlet.ended and outlet.row["status"] in OCCUPIED:
        box.adopt(outlet, number)


def _transfer(box: Box, payload: Payload) -> Reply:
    return Reply({"status": "UnknownVendorId"})


def _progress(box: Box, payload: Payload) -> Reply:
    box.say(f"progress_{payload['status']}", f"reports {payload['status']} of firmware or diagnostics.")
    return Reply({})


def _security_event(box: Box, payload: Payload) -> Reply:
    kind, detail = quoted(payload["type"]), quoted(payload.get("techInfo", ""))
    box.say("security_event", f"reports a security event: {kind} {detail}.")
    return Reply({})


def _sign(box: Box, payload: Payload) -> Reply:
    box.say("sign_certificate", "asks for a certificate; none is signed here, put one into it by hand.")
    return Reply({"status": "Rejected"})


def _outlet(box: Box, number: int) -> Outlet | None:
    outlet = box.outlets.get(number)
    if outlet is None:
        box.say(
            f"connector_{number % 1000}",
            f"speaks of connector {number}, which the site file does not have; add it or mend the box.",
        )
    return outlet


_ACTIONS: Final[dict[str, Callable[[Box, Payload], Reply | Awaitable[Reply]]]] = {
    "BootNotification": _boot,
    "Heartbeat": _heartbeat,
    "StatusNotification": _status,
    "Authorize": _authorize,
    "StartTransaction": _start,
    "StopTransaction": _stop,
    "MeterValues": _meter_values,
    "DataTransfer": _transfer,
    "FirmwareStatusNotification": _progress,
    "DiagnosticsStatusNotification": _progress,
    "SecurityEventNotification": _security_event,
    "SignCertificate": _sign,
}
