"""An emulated OCPP 1.6 chargepoint: what it says by itself, and the limit its profiles leave in force.

It behaves as the standard wants a real box to behave, and it shares no code with the central system, so that
one misreading cannot hide at both ends. Time is `now_ms` of the emulated site; the box keeps its own UTC
clock, which the central system sets. Currents are mA in the connector's own L1 L2 L3.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from scenarios.emulate.answers import answer_of
from scenarios.emulate.frames import Conversation, Message
from scenarios.emulate.outlets import FAULTED, Nameplate, Outlet, PowerSide, Running, samples, settings_of
from scenarios.emulate.passes import Pass
from scenarios.emulate.profiles import Profile, ProfileStore, Refused, Transaction, read_profile, utc_ms

REBOOT_MS = 5_000
RESTART_MS = 1_000
CLOCK_TOLERANCE_MS = 1_500
SAMPLES_KEPT = 50
"""MeterValues that a box without link keeps; then the oldest goes."""


class Chargepoint:
    """The electronics of one box. Its owner opens and closes the link, looks and ticks; see `due_ms`."""

    def __init__(
        self,
        nameplate: Nameplate,
        power: PowerSide,
        now_ms: Callable[[], int],
        utc_at_0: datetime,
        shown: Pass | None = None,
    ) -> None:
        self.nameplate = nameplate
        self.shown = shown or Pass()
        self.settings = settings_of(nameplate)
        if self.shown.profile:
            self.settings.fixed["SecurityProfile"] = str(self.shown.profile)
        self.store = ProfileStore(
            nameplate.hardware_ma, max_stack_level=nameplate.max_stack_level, purposes=nameplate.purposes
        )
        self.outlets = [Outlet(number) for number in range(1, len(nameplate.hardware_ma) + 1)]
        self.conversation = Conversation(
            answer_of(self),
            now_ms,
            lambda: max(power.late_ms(outlet.number) for outlet in self.outlets),
            loses=self._loses,
        )
        self.hang_up: Callable[[], None] = lambda: None
        """Set by whoever holds the socket."""
        self.reachable_ms = 0
        """When the box, rebooting until then, dials again."""
        self.writes = 0
        """Charging profiles taken so far."""
        self._power = power
        self.now_ms = now_ms
        self._utc_offset_ms = round(utc_at_0.timestamp() * 1000)
        self._booted = False
        self._boot_due_ms: int | None = None
        self._heartbeat_due_ms: int | None = None
        self._change_due_ms: int | None = None
        self._restart_due_ms: int | None = None
        self.apply_limits()

    # -- the link --------------------------------------------------------------------------------------

    def open(self, send: Callable[[str], None]) -> None:
        """The socket is up: boot, or after a mere loss of link tell what has changed meanwhile."""
        self.conversation.open(send)
        if self._booted:
            self._accepted()
        else:
            self.boot()

    def close(self) -> None:
        """The socket is gone."""
        self.conversation.close()
        self._boot_due_ms = self._heartbeat_due_ms = None

    def boot(self) -> None:
        """BootNotification; nothing else is said before it is accepted."""
        about = {
            "chargePointVendor": self.nameplate.vendor,
            "chargePointModel": self.nameplate.model,
            "chargePointSerialNumber": self.nameplate.identity[:25],
            "firmwareVersion": self.nameplate.firmware,
        }
        self.conversation.call(
            "BootNotification", lambda: json.dumps(about), self._boot_answered, urgent=True
        )

    def reboot(self) -> None:
        """Power away for a few seconds; profiles stay, transactions do not."""
        self.store.reboot()
        self._booted, self._restart_due_ms = False, None
        self.conversation.held = True
        for outlet in self.outlets:
            outlet.told = ""
        self.reachable_ms = self.now_ms() + REBOOT_MS
        self.apply_limits()
        self.hang_up()

    def restart_soon(self, reason: str) -> None:
        """Reset: end what runs, say so, and reboot a moment later."""
        for outlet in self.outlets:
            self.stop(outlet, reason)
        self._restart_due_ms = self.now_ms() + RESTART_MS

    def _boot_answered(self, answer: Message | None) -> None:
        retry_s = 60
        if answer is not None:
            self._set_clock(answer)
            self.settings.values["HeartbeatInterval"] = str(answer.get("interval") or 300)
            if answer.get("status") == "Accepted":
                self._booted = True
                self.conversation.release()
                self._accepted()
                return
            retry_s = answer.get("interval") or retry_s
        if self.conversation.online:
            self._boot_due_ms = self.now_ms() + retry_s * 1000

    def _accepted(self) -> None:
        self._boot_due_ms = None
        self._schedule_heartbeat()
        if not any(outlet.told for outlet in self.outlets):
            self.notify(0, "Available")
        for outlet in self.outlets:
            self._tell(outlet)

    # -- time ------------------------------------------------------------------------------------------

    @property
    def due_ms(self) -> int | None:
        """When `tick` must be called next, if nothing happens before."""
        dues = [due for outlet in self.outlets for due in (outlet.sample_due_ms, outlet.asked_due_ms)]
        dues += [self._boot_due_ms, self._restart_due_ms, self._heartbeat_due_ms, self._change_due_ms]
        dues += [self.conversation.due_ms, self.reachable_ms or None]
        return min((due for due in dues if due is not None), default=None)

    def tick(self) -> None:
        """Do what is due now."""
        now = self.now_ms()
        self.conversation.expire()
        if self._restart_due_ms is not None and now >= self._restart_due_ms:
            self.reboot()
        if self._boot_due_ms is not None and now >= self._boot_due_ms:
            self._boot_due_ms = None
            self.boot()
        if self._heartbeat_due_ms is not None and now >= self._heartbeat_due_ms:
            self.heartbeat()
        if self._change_due_ms is not None and now >= self._change_due_ms:
            self.apply_limits()
        for outlet in self.outlets:
            self._sample(outlet)

    def heartbeat(self) -> None:
        """Heartbeat; its answer sets the clock."""
        self.conversation.call("Heartbeat", lambda: "{}", lambda answer: self._set_clock(answer or {}))
        self._schedule_heartbeat()

    def _schedule_heartbeat(self) -> None:
        interval_s = self.settings.whole("HeartbeatInterval")
        self._heartbeat_due_ms = self.now_ms() + interval_s * 1000 if interval_s else None

    def utc_ms(self) -> int:
        """The box's own clock, ms since 1970."""
        return self._utc_offset_ms + self.now_ms()

    def timestamp(self, at_ms: int | None = None) -> str:
        """A dateTime of the box's own clock, now if not said otherwise."""
        at = datetime.fromtimestamp((self.utc_ms() if at_ms is None else at_ms) / 1000, UTC)
        return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"

    def _set_clock(self, answer: Message) -> None:
        """A clock that runs well enough is left alone: relative schedules would jump with it."""
        try:
            told_ms = utc_ms(answer["currentTime"])
        except (KeyError, Refused):
            return
        if abs(told_ms - self.utc_ms()) > CLOCK_TOLERANCE_MS:
            self._utc_offset_ms = told_ms - self.now_ms()

    def refuses(self, connector: int) -> bool:
        """The box takes no profile for this connector at the moment; 0 asks for all."""
        return any(self._power.refuses(o.number) for o in self.outlets if connector in (0, o.number))

    def _loses(self, payload: Message) -> bool:
        """Whether a message to a connector, or the answer to it, gets lost on the way."""
        connector = payload.get("connectorId")
        return isinstance(connector, int) and any(
            self._power.loses(outlet.number) for outlet in self.outlets if outlet.number == connector
        )

    # -- connectors ------------------------------------------------------------------------------------

    def look(self) -> None:
        """Take note of cars that came or went and of what the outlets show, and tell it."""
        for outlet in self.outlets:
            truth = self._power.truth(outlet.number)
            came, went = truth.plugged and not outlet.plugged, outlet.plugged and not truth.plugged
            outlet.plugged, outlet.shown = truth.plugged, truth.status
            if went:
                self.stop(outlet, "EVDisconnected")
                outlet.finished = False
            self._tell(outlet)
            if came and self.now_ms() < outlet.remote_until_ms:
                self.start(outlet, outlet.remote_card)

    def swipe(self, connector: int, card: str) -> None:
        """Somebody holds a card to an outlet; the card of the running transaction ends it."""
        outlet = self.outlets[connector - 1]
        if outlet.running:
            if outlet.running.card == card:
                self.stop(outlet, "Local")
            return

        def decided(answer: Message | None) -> None:
            if answer is None or _accepted(answer):
                self.start(outlet, card)

        if self.conversation.online and self._booted:
            self.conversation.call("Authorize", lambda: json.dumps({"idTag": card}), decided)
        else:
            decided(None)

    def start(self, outlet: Outlet, card: str) -> None:
        """Begin a transaction with the car that is there."""
        if outlet.running or not outlet.plugged or not outlet.operative:
            return
        running = outlet.running = Running(card, self.utc_ms())
        meter_wh = self._power.truth(outlet.number).energy_wh
        began = self.timestamp(running.began_ms)
        message = {"connectorId": outlet.number, "idTag": card, "meterStart": meter_wh, "timestamp": began}
        outlet.finished = False
        self._power.switch(outlet.number, on=True)
        self._schedule_sample(outlet)
        self.conversation.call(
            "StartTransaction",
            lambda: json.dumps(message),
            lambda answer: self._started(outlet, running, answer),
            keep=True,
        )
        self.apply_limits()

    def _started(self, outlet: Outlet, running: Running, answer: Message | None) -> None:
        running.number = answer["transactionId"] if answer else 0
        if outlet.running is not running:
            return
        self.store.begin(outlet.number, Transaction(running.number, running.began_ms))
        if outlet.remote_profile is not None:
            self._install_from_remote(outlet)
        self.apply_limits()
        refused = answer is not None and not _accepted(answer)
        if refused and self.settings.values["StopTransactionOnInvalidId"] == "true":
            self.stop(outlet, "DeAuthorized")

    def _install_from_remote(self, outlet: Outlet) -> None:
        """The profile that came with RemoteStartTransaction; one that does not fit is dropped silently."""
        message, outlet.remote_profile = outlet.remote_profile, None
        try:
            self.store.install(self.read_profile(outlet.number, message or {}))
        except Refused:
            return

    def read_profile(self, connector: int, message: Message) -> Profile:
        """A profile as this box understands it. Raises Refused."""
        return read_profile(connector, message, self.utc_ms(), self.nameplate.efficiency(connector))

    def stop(self, outlet: Outlet, reason: str) -> None:
        """End the transaction, if one runs; the contactor may have opened already."""
        running, outlet.running = outlet.running, None
        if running is None:
            return
        outlet.finished, outlet.sample_due_ms = True, None
        meter_wh, at = self._power.truth(outlet.number).energy_wh, self.timestamp()
        self._power.switch(outlet.number, on=False)
        self.store.end(outlet.number)

        def message() -> str:
            return json.dumps(
                {
                    "transactionId": running.number or 0,
                    "idTag": running.card,
                    "meterStop": meter_wh,
                    "timestamp": at,
                    "reason": reason,
                }
            )

        self.conversation.call("StopTransaction", message, keep=True)
        self.apply_limits()

    def apply_limits(self, told: int | None = None) -> None:
        """Hand the limits in force to the pilots and note when they change by themselves.

        A pilot that stands right is left alone, unless its connector (0: every one) has just been `told`.
        """
        utc = self.utc_ms()
        running = [outlet for outlet in self.outlets if outlet.running]
        running.sort(key=lambda outlet: outlet.running.began_ms if outlet.running else 0)
        limits = self.store.limits_ma(utc, tuple(outlet.number for outlet in running))
        for outlet in self.outlets:
            limit_ma = limits[outlet.number]
            if told in (0, outlet.number) or limit_ma != self._power.pilot_ma(outlet.number):
                self._power.set_pilot(outlet.number, limit_ma, self.store.phases(outlet.number, utc))
        self.look()
        change_ms = self.store.next_change_ms(utc)
        self._change_due_ms = None if change_ms is None else change_ms - self._utc_offset_ms

    # -- what it reports -------------------------------------------------------------------------------

    def _tell(self, outlet: Outlet) -> None:
        """StatusNotification when the status is not the one that was told; without link it is told later."""
        if outlet.status != outlet.told and self.conversation.online and self._booted:
            outlet.told = outlet.status
            self.notify(outlet.number, outlet.status)

    def notify(self, connector: int, status: str) -> None:
        """StatusNotification of a connector, 0 for the chargepoint itself."""
        at = self.timestamp()
        error = "OtherError" if status == FAULTED else "NoError"
        text = f'{{"connectorId":{connector},"errorCode":"{error}","status":"{status}","timestamp":"{at}"}}'
        self.conversation.call("StatusNotification", lambda: text)

    def schedule_samples(self) -> None:
        """The sample interval has been changed."""
        for outlet in self.outlets:
            if outlet.running:
                self._schedule_sample(outlet)

    def _schedule_sample(self, outlet: Outlet) -> None:
        interval_s = self.settings.whole("MeterValueSampleInterval")
        outlet.sample_due_ms = _next_second(self.now_ms() - 1) + interval_s * 1000 if interval_s else None

    def ask_reading(self, outlet: Outlet) -> None:
        """MeterValues are wanted: the meter of a box measures once a second."""
        outlet.asked_due_ms = _next_second(self.now_ms())

    def _sample(self, outlet: Outlet) -> None:
        """MeterValues when they are due or asked for."""
        now, context = self.now_ms(), ""
        if outlet.sample_due_ms is not None and now >= outlet.sample_due_ms:
            context = "Sample.Periodic"
            self._schedule_sample(outlet)
        if outlet.asked_due_ms is not None and now >= outlet.asked_due_ms:
            context, outlet.asked_due_ms = "Trigger", None
        if context:
            self.meter_values(outlet, context)

    def meter_values(self, outlet: Outlet, context: str) -> None:
        """MeterValues of a connector, with what the settings ask for; without link only some are kept."""
        if not self.conversation.online and self.conversation.waiting("MeterValues") >= SAMPLES_KEPT:
            self.conversation.forget_oldest("MeterValues")
        running, at = outlet.running, self.timestamp()
        keep = running is not None and self.nameplate.keeps_samples
        reading, efficiency = self._power.reading(outlet.number), self.nameplate.efficiency(outlet.number)
        if reading is None:
            return
        truth, late_ms = reading
        wanted = self.settings.values["MeterValuesSampledData"].split(",")
        values = ",".join(sample for name in wanted for sample in samples(name, truth, context, efficiency))

        def message() -> str:
            number = f'"transactionId":{running.number},' if running and running.number else ""
            return (
                f'{{"connectorId":{outlet.number},{number}'
                f'"meterValue":[{{"timestamp":"{at}","sampledValue":[{values}]}}]}}'
            )

        self.conversation.call("MeterValues", message, keep=keep, after_ms=late_ms)


def _accepted(answer: Message) -> bool:
    return bool(answer.get("idTagInfo", {}).get("status") == "Accepted")


def _next_second(now_ms: int) -> int:
    """The first whole second after `now_ms`."""
    return (now_ms // 1000 + 1) * 1000
