"""A chargepoint written by hand for the tests: it shares no code with the central system it talks to."""

import asyncio
import itertools
import json
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from urllib.parse import quote

from websockets.asyncio.client import connect

from controller.decision import empty_decision
from controller.image import blank_image
from controller.site import build
from controller.topology import compile_site
from hardware.cards import Cards
from hardware.clock import Clock
from hardware.ledger import Ledger
from hardware.notices import Notices
from hardware.ocpp import CentralSystem
from hardware.security import Admission

CONFIGURATION = {
    "MeterValueSampleInterval": "60",
    "MeterValuesSampledData": "Energy.Active.Import.Register",
    "HeartbeatInterval": "86400",
    "NumberOfConnectors": "1",
    "ChargeProfileMaxStackLevel": "8",
}


def site_of(*chargepoints, fallback_a=0, connectors=1, lease_s=0, phases=3, outlet=None):
    """A site of equal chargepoints on one board."""
    outlet = outlet or {"max_current_a": 32, "phases": phases}
    outlets = [{"number": n} | outlet for n in range(1, connectors + 1)]
    return build(
        {
            "name": "test",
            "timezone": "Europe/Amsterdam",
            "accept_unsafe_fallback": "a test, the tester",
            "grid": {"main": {"id": 0, "max_current_a": 100, "chargepoints_only": True}},
            "chargepoint": {
                f"bay_{i}": {
                    "identity": identity,
                    "fed_by": "main",
                    "fallback_a": fallback_a,
                    "lease_s": lease_s,
                    "connector": outlets,
                }
                for i, identity in enumerate(chargepoints, start=1)
            },
        },
        "test",
    )


class World:
    """A central system on loopback with its rows, ledger, cards and everything it said."""

    def __init__(self, site, path, *, keys=None, admission=None, unknown_cards="accept", ping_s=20.0):
        loop = asyncio.get_running_loop()
        self.site = site
        self.topology = compile_site(site)
        self.rows = blank_image(self.topology).connectors
        self.clock = Clock(loop.time)
        self.said = []
        self.notices = Notices(loop.time, self.said.append)
        self.ledger = Ledger(path, self.notices)
        self.cards = Cards(self.ledger, self.clock.utc, unknown_cards)
        self.changes = 0
        self.central = CentralSystem(
            site,
            self.topology,
            self.rows,
            self.clock,
            self.ledger,
            self.cards,
            self.notices,
            on_change=self._changed,
            admission=admission or Admission({}, keys or {}),
            ping_s=ping_s,
        )
        self.port = 0
        self._seq = 0

    def _changed(self):
        self.changes += 1

    def kinds(self):
        return {notice.kind for notice in self.said}

    def order(self, targets_a, *, ask=(), lease_until_ms=-1, phases=0):
        """Put down limits (A by row) and asks, as a decision of the controller does; returns the number."""
        self._seq += 1
        decision = empty_decision(self.topology)
        for row, amps in targets_a.items():
            decision.connectors[row]["put"] = 1
            decision.connectors[row]["order_seq"] = self._seq
            decision.connectors[row]["target_ma"] = round(amps * 1000)
            decision.connectors[row]["lease_until_ms"] = lease_until_ms
            decision.connectors[row]["order_phases"] = phases
        for row in ask:
            decision.connectors[row]["ask"] = 1
        self.central.distribute(decision)
        return self._seq

    async def until(self, condition, timeout_s=10.0):
        """Wait for something to become true; fails the test when it does not."""
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - it watches a table, nobody could set an event
                await asyncio.sleep(0.005)

    async def answered(self, seq, row=0):
        await self.until(lambda: self.rows[row]["answered_seq"] == seq, timeout_s=60)
        return int(self.rows[row]["answer"])


@asynccontextmanager
async def world(tmp_path, site, **options):
    here = World(site, tmp_path / "ledger.db", **options)
    here.port = await here.central.serve("127.0.0.1", 0)
    try:
        yield here
    finally:
        await here.central.close()
        here.ledger.close()


class Peer:
    """One chargepoint. `replies` overrides what it answers: action -> payload, the code of a CALLERROR, None
    for silence, or a function of the payload (perhaps async) that gives one of these."""

    def __init__(self, socket):
        self.socket = socket
        self.utc = lambda: datetime.now(UTC)
        self.replies = {}
        self.received = []  # (action, payload) of every CALL from the central system
        self.configuration = dict(CONFIGURATION)
        self.defaults = {}  # connector -> TxDefaultProfile
        self.composite_a = None  # overrides what the composite schedule says
        self._waiting = {}
        self._late = []
        self._ids = itertools.count(1)
        self._reader = asyncio.create_task(self._read())

    async def call(self, action, payload):
        """Send a CALL and return the payload of its answer, or the CALLERROR as a list."""
        id_ = f"p{next(self._ids)}"
        self._waiting[id_] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps([2, id_, action, payload]))
        async with asyncio.timeout(40):
            return await self._waiting[id_]

    async def raw(self, text):
        await self.socket.send(text)

    def asked(self, action):
        return [payload for name, payload in self.received if name == action]

    async def boot(self, **facts):
        return await self.call(
            "BootNotification", {"chargePointVendor": "Acme", "chargePointModel": "One", **facts}
        )

    async def status(self, status, connector=1, **more):
        payload = {"connectorId": connector, "errorCode": "NoError", "status": status, **more}
        return await self.call("StatusNotification", payload)

    async def start(self, tag="CARD1", connector=1, meter=1000, at=None):
        payload = {
            "connectorId": connector,
            "idTag": tag,
            "meterStart": meter,
            "timestamp": at or stamp(self.utc()),
        }
        return await self.call("StartTransaction", payload)

    async def stop(self, transaction, meter=2000, at=None, **more):
        payload = {
            "transactionId": transaction,
            "meterStop": meter,
            "timestamp": at or stamp(self.utc()),
            **more,
        }
        return await self.call("StopTransaction", payload)

    async def meter(self, *sampled, connector=1, at=None, **more):
        element = {"timestamp": at or stamp(self.utc()), "sampledValue": list(sampled)}
        return await self.call("MeterValues", {"connectorId": connector, "meterValue": [element], **more})

    async def close(self):
        for task in (self._reader, *self._late):
            task.cancel()
        with suppress(AttributeError):  # the library, when the other side has closed in mid-frame
            await self.socket.close()

    async def _read(self):
        async for text in self.socket:
            frame = json.loads(text)
            if frame[0] != 2:
                self._waiting.pop(frame[1]).set_result(frame[2] if frame[0] == 3 else frame)
                continue
            _, id_, action, payload = frame
            self.received.append((action, payload))
            answer = self.replies.get(action, getattr(self, f"_{action}", None))
            if callable(answer):
                answer = answer(payload)
            if asyncio.iscoroutine(answer):
                self._late.append(asyncio.create_task(self._answer_late(id_, answer)))
            else:
                await self._answer(id_, answer)

    async def _answer_late(self, id_, coming):
        await self._answer(id_, await coming)

    async def _answer(self, id_, answer):
        """A payload, a word for a CALLERROR, or None for silence."""
        if isinstance(answer, str):
            await self.socket.send(json.dumps([4, id_, answer, "", {}]))
        elif answer is not None:
            await self.socket.send(json.dumps([3, id_, answer]))

    def _GetConfiguration(self, payload):
        keys = [{"key": k, "readonly": False, "value": v} for k, v in self.configuration.items()]
        return {"configurationKey": keys, "unknownKey": []}

    def _ChangeConfiguration(self, payload):
        if payload["key"] not in self.configuration:
            return {"status": "NotSupported"}
        self.configuration[payload["key"]] = payload["value"]
        return {"status": "Accepted"}

    def _ClearChargingProfile(self, payload):
        self.defaults.clear()
        return {"status": "Accepted"}

    def _SetChargingProfile(self, payload):
        profile = payload["csChargingProfiles"]
        if profile["chargingProfilePurpose"] == "TxDefaultProfile":
            self.defaults[payload["connectorId"]] = profile
        return {"status": "Accepted"}

    def _GetCompositeSchedule(self, payload):
        profile = self.defaults.get(payload["connectorId"], self.defaults.get(0))
        limit = 32 if profile is None else profile["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"]
        limit = limit if self.composite_a is None else self.composite_a
        schedule = {
            "chargingRateUnit": "A",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
        }
        return {
            "status": "Accepted",
            "connectorId": payload["connectorId"],
            "scheduleStart": stamp(self.utc()),
            "chargingSchedule": schedule,
        }

    def _TriggerMessage(self, payload):
        return {"status": "Accepted"}

    def _UnlockConnector(self, payload):
        return {"status": "Unlocked"}

    def _accept(self, payload):
        return {"status": "Accepted"}

    _RemoteStartTransaction = _RemoteStopTransaction = _Reset = _ChangeAvailability = _accept


def stamp(at):
    return at.isoformat().replace("+00:00", "Z")


async def dial(port, identity, **options):
    """Open a socket; the caller closes it."""
    options.setdefault("subprotocols", ["ocpp1.6"])
    scheme = "wss" if options.get("ssl") else "ws"
    url = f"{scheme}://127.0.0.1:{port}/{quote(identity, safe='')}"
    return Peer(await connect(url, compression=None, ping_interval=None, proxy=None, **options))


@asynccontextmanager
async def peer(here, identity="CP-1", *, booted=True, ready=True, port=None, **options):
    """A connected chargepoint; `ready`: its set-up is over."""
    box = await dial(port or here.port, identity, **options)
    box.utc = here.clock.utc
    try:
        if booted:
            await box.boot()
        if booted and ready:
            await here.until(lambda: box.asked("TriggerMessage") and _set_up(box))
        yield box
    finally:
        await box.close()


def _set_up(box):
    return any(p["requestedMessage"] == "MeterValues" for p in box.asked("TriggerMessage"))
