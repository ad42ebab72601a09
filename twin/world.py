"""The true site and the owner of its time.

`advance` takes everything from now to a later instant: SimPy carries what is discrete (plug-ins, departures,
messages in flight, faults), one kernel carries the cars, one the currents and one the fuses. Between two
events everything is a closed form, so the outcome does not depend on how often anybody looks.

Time is `now_ms`, 0 at the start. Rows of `outlets`, `boards` and `gauges` are those of the connectors, grids
and meters of the topology. The true site (`built`) may be wired otherwise than its drawing (`topology`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import simpy

from controller.defaults import NEVER
from controller.electrical import Rotation
from controller.image import Answer, Status
from controller.site import Site
from controller.topology import Topology, compile_site
from twin import boxes, course, curves, electrics, network, storage, vehicles
from twin.conditions import Conditions
from twin.events import (
    CardPresented,
    Event,
    FuseTripped,
    LinkChanged,
    Plugged,
    StatusChanged,
    TransactionEnded,
    TransactionStarted,
    Unplugged,
)
from twin.parking import TURNOVER_MS, Parking
from twin.physics import pass_time
from twin.readings import gauges
from twin.sessions import Car, Session
from twin.sources import Source
from twin.streams import stream

COLD_MS = 30 * 60_000
"""Plugged in for so long, a cold battery is warm."""
BOOT_MS = 30_000  # a box whose power comes back dials again


@dataclass(slots=True)
class Stay:
    """What became of a session so far; `delivered_wh` is final once `over`."""

    session: Session
    delivered_wh: float = 0.0
    began_wh: float = 0.0
    came: bool = False
    over: bool = False


class World:
    """A site with its cars, boxes, meters and fuses."""

    def __init__(
        self,
        site: Site,
        topology: Topology,
        conditions: Conditions,
        sessions: Sequence[Session],
        seed: int,
        start_utc: datetime,
        loads: Iterable[Source] = (),
        end_ms: int = 400 * 86_400_000,
    ) -> None:
        self.site = site
        self.topology = topology
        self.conditions = conditions
        as_built = conditions.as_built(site)
        self.built = compile_site(as_built)
        self._rotations = [as_built.rotation(grid) for grid in site.grid]
        self._outlets_drawn = [outlet for _, _, outlet in site.connectors()]
        self.seed = seed
        self.start_utc = start_utc.astimezone(UTC)
        self.now_ms = 0
        self.outlets = self._outlets()
        self.boards = electrics.boards(len(topology.grids))
        conditions.wire(site, self.boards)
        self._wires = network.wires(self.built, conditions) if conditions.drops else None
        self._trips_told = [0] * len(self.boards)
        self.cells = storage.cells(self.built, conditions.battery_soc)
        self.panels = storage.panels(self.built)
        self._parking = Parking()
        self.gauges, self.clamps = gauges(len(topology.meters)), gauges(len(self.outlets))
        self.stays = [Stay(session) for session in sorted(sessions, key=_arrival)]
        self._listener: Callable[[Event], None] | None = None
        self.watch: Callable[[int], None] | None = None
        """Called before every step of the physics with its length in ms: nothing changes in kind within."""
        self._events: list[Event] = []
        self._env = simpy.Environment()
        self._transactions = 0
        self._touched = True
        self._soon_ms = self._news_ms = self._stop_ms = vehicles.FAR_MS
        self._chargepoints = list(site.chargepoint)
        for load in loads:
            self._env.process(course.follow(self, self._env, load, end_ms))
        for fault in conditions.faults:
            self._env.process(course.go_wrong(self, self._env, fault, end_ms))
        self._env.process(self._arrivals())
        self.advance(0)

    def _outlets(self) -> Any:
        rows = self.topology.connectors
        table = vehicles.free(len(rows))
        table["direct"] = rows["balanced"]
        table["feed_factor"], table["lift"] = self.conditions.dc_power_factor, self.conditions.lift
        for field in ("pilot_ma", "claimed_ma", "left_ma", "decay_to_ma"):
            table[field] = rows["fallback_ma"]
        return table

    # -- time --------------------------------------------------------------------------------------

    def at(self, at_ms: int, action: Callable[[], None]) -> None:
        """Do something at a later instant: a message arrives, a fault begins."""
        due = self._env.timeout(max(0, at_ms - int(self._env.now)))
        due.callbacks.append(lambda _: action())

    def next_event_ms(self) -> int:
        """When something discrete happens next: a car, a message, a fault, a change of status."""
        self._settle()
        return min(self._peek(), self._soon_ms)

    def next_news_ms(self) -> int:
        """The same, or earlier when some car's draw will have drifted enough to matter by then."""
        self._settle()
        return min(self._peek(), self._news_ms)

    def advance(self, until_ms: int) -> None:
        """Take the world to `until_ms`, every event at its own instant, those of `until_ms` included."""
        if self._touched:
            self._settle()
        while True:
            event_ms = self._peek()
            stop_ms = min(until_ms, event_ms, self._stop_ms)
            if stop_ms > self.now_ms:
                self._flow_until(stop_ms)
            while event_ms <= stop_ms:
                self._env.step()
                event_ms = self._peek()
            if self._touched:
                self._settle()
            if stop_ms >= until_ms and self._peek() > until_ms and self._stop_ms > until_ms:
                return

    def touch(self) -> None:
        """Something that currents depend on was changed by hand."""
        self._touched = True

    def _peek(self) -> int:
        due = self._env.peek()
        return int(due) if due < vehicles.FAR_MS else vehicles.FAR_MS

    def _flow_until(self, until_ms: int) -> None:
        span_ms = until_ms - self.now_ms
        if self.watch:
            self.watch(span_ms)
        from_ms, self.now_ms = self.now_ms, until_ms
        self._look(from_ms)

    def _settle(self) -> None:
        """Let cars and currents take note of what was set by hand at this instant."""
        while self._touched:
            self._look(self.now_ms)

    def _look(self, from_ms: int) -> None:
        self._touched = False
        built = self.built
        self._soon_ms, self._news_ms, changed, opened = pass_time(
            self.outlets,
            built.connectors,
            self.boards,
            built.grids,
            built.leaves_first,
            self.cells,
            built.batteries,
            self.panels,
            built.inverters,
            from_ms,
            self.now_ms,
        )
        self._stop_ms = self._soon_ms
        if self._wires is not None:
            changed = self._feel_voltage(self._wires)
        if opened:
            self._darken()
        if changed:
            self._tell_statuses()

    def _feel_voltage(self, wires: Any) -> int:
        """Cars draw by the voltage that their own currents leave; returns how many changed their status."""
        built = self.built
        soon_ms, self._news_ms, changed = network.let_cars_feel(
            wires,
            self.boards,
            built.grids,
            built.leaves_first,
            self.outlets,
            built.connectors,
            self.cells,
            built.batteries,
            self.panels,
            built.inverters,
            self.conditions.supply_v,
            self.now_ms,
        )
        self._soon_ms = min(self._soon_ms, soon_ms)
        # Voltages stand between two looks, so there is one whenever a current has moved.
        self._stop_ms = min(self._soon_ms, self._news_ms)
        return changed

    def _tell_statuses(self) -> None:
        for row in self.outlets["status_changed"].nonzero()[0].tolist():
            outlet = self.outlets[row]
            outlet["status_changed"] = 0
            status = Status(int(outlet["status"]))
            if status is Status.SUSPENDED_EV and outlet["need_wh"] <= 0:
                self._is_full(int(outlet["session"]))
            self._tell(StatusChanged(int(outlet["status_at_ms"]), row, status))

    def _darken(self) -> None:
        """Fuses have opened: what hangs under them loses power, and the links of the boxes with it."""
        for g, board in enumerate(self.boards):
            if board["trips"] != self._trips_told[g]:
                self._trips_told[g], board["tripped_at_ms"] = int(board["trips"]), self.now_ms
                self._tell(FuseTripped(self.now_ms, self.topology.grid_names[g]))
        self.power_changed()

    def power_changed(self) -> None:
        """Boards went dark, came back or lost a phase: so do their boxes, which dial again after a while."""
        lost = (self.boards["lost"] != 0) | (self.boards["melted"] != 0)
        dead = (self.boards["tripped"] != 0) | (self.boards["cut_off"] != 0)
        for row, built in enumerate(self.built.connectors):
            above = built["path"][: built["depth"]]
            outlet = self.outlets[row]
            outlet["lost"] = lost[above].any(axis=0)[built["phase"]]
            powered = not dead[above].any()
            if powered == bool(outlet["powered"]):
                continue
            outlet["powered"] = powered
            name = self._chargepoints[int(built["chargepoint"])]
            if not powered and not outlet["offline"]:
                self.set_offline(name, offline=True)
            elif powered:
                self._start_current(row)
                self.at(self.now_ms + BOOT_MS, partial(self.set_offline, name, offline=False))
        self._touched = True

    # -- who comes and goes ------------------------------------------------------------------------

    def _arrivals(self) -> Generator[simpy.Event, None, None]:
        for number, stay in enumerate(self.stays):
            wait_ms = stay.session.plug_in_ms - int(self._env.now)
            if wait_ms > 0:
                yield self._env.timeout(wait_ms)
            if stay.session.bays:
                self._arrive(number, stay.session)
            else:
                self._plug_in(number, stay)

    def _arrive(self, number: int, session: Session) -> None:
        """The driver takes the best free connector, or waits behind whoever waits already."""
        row = None if self._parking.queue else self._parking.free_bay(session, self.outlets)
        if row is not None:
            self._park(number, row)
        elif session.patience_ms:
            self._parking.wait(number, session)
            until_ms = min(self.now_ms + session.patience_ms, session.plug_out_ms)
            self.at(until_ms, lambda: self._parking.give_up(number))

    def _park(self, number: int, row: int) -> None:
        stay = self.stays[number]
        stay.session = replace(stay.session, connector=row, plug_in_ms=self.now_ms)
        self._plug_in(number, stay)

    def _invite(self, row: int) -> None:
        """The first who waits takes this connector, if it is still free."""
        if self.outlets[row]["plugged"] or not self.outlets[row]["powered"]:
            return
        number = self._parking.next_for(row)
        if number is not None:
            self._park(number, row)

    def _is_full(self, number: int) -> None:
        """The car has what it asked for; some drivers come and move it."""
        after_ms = self.stays[number].session.moves_after_ms if number >= 0 else None
        if after_ms is not None:
            self.at(self.now_ms + after_ms, lambda: self._unplug(number))

    def bring(self, session: Session) -> None:
        """A car that was not expected plugs in now; nothing happens where another one stands."""
        self.stays.append(Stay(session))
        self._plug_in(len(self.stays) - 1, self.stays[-1])

    def _plug_in(self, number: int, stay: Stay) -> None:
        session, c = stay.session, stay.session.connector
        car = session.car.at(self._outlets_drawn[c], self.conditions.dc_power_factor)
        outlet = self.outlets[c]
        if outlet["plugged"] or session.plug_out_ms <= self.now_ms:
            return
        stay.came = True
        stay.began_wh = self.net_wh(c)
        outlet["plugged"], outlet["session"], outlet["finished"] = 1, number, 0
        vehicles.seat(outlet, car, session.energy_wh)
        cold = session.cold_dc if outlet["direct"] else session.cold
        if cold < 1:
            curves.bend(outlet, car.takes(), cold)
            self.at(self.now_ms + COLD_MS, lambda: self._warms(number, car))
        outlet["cable_ma"] = session.cable_ma or vehicles.FAR_MS
        sleepers = self.conditions.sleepers
        if sleepers and stream(self.seed, "sleeps", session.key).random() < sleepers.share:
            outlet["sleeps_after_ms"] = round(sleepers.after_s * 1000)
            outlet["wakes_on"] = sleepers.wakes_on
        outlet["paused"] = outlet["quiet"] = 0
        self._touched = True
        self._tell(Plugged(self.now_ms, c))
        self.at(self.now_ms + session.card_after_ms, lambda: self._present(number))
        self.at(session.plug_out_ms, lambda: self._unplug(number))
        if self.conditions.pauses:
            self._env.process(course.pause(self, self._env, number))

    def _warms(self, number: int, car: Car) -> None:
        outlet = self.outlets[self.stays[number].session.connector]
        if outlet["session"] == number:
            curves.bend(outlet, car.takes())
            self._touched = True

    def _present(self, number: int) -> None:
        session = self.stays[number].session
        outlet = self.outlets[session.connector]
        if outlet["session"] == number and not outlet["transaction"]:
            self._tell(CardPresented(self.now_ms, session.connector, session.card))

    def _unplug(self, number: int) -> None:
        stay = self.stays[number]
        if stay.over:
            return  # moved before its time
        c = stay.session.connector
        stay.session = replace(stay.session, plug_out_ms=self.now_ms)
        self.stop_transaction(c, "EVDisconnected")
        outlet = self.outlets[c]
        stay.delivered_wh = self.net_wh(c) - stay.began_wh
        stay.over = True
        outlet["plugged"], outlet["session"], outlet["finished"], outlet["paused"] = 0, -1, 0, 0
        self._touched = True
        self._tell(Unplugged(self.now_ms, c))
        if self._parking.queue:
            self.at(self.now_ms + TURNOVER_MS, lambda: self._invite(c))
        self._settle()

    # -- what links do to the boxes ----------------------------------------------------------------

    def set_pilot(
        self, connector: int, limit_ma: int, decays_at_ms: int = NEVER, to_ma: int = 0, phases: int = 0
    ) -> None:
        """What the box now holds: `limit_ma` until `decays_at_ms`, then `to_ma`; on so many `phases`."""
        rows = self.topology.connectors
        boxes.hold(self.outlets, rows, connector, limit_ma, phases, decays_at_ms, to_ma, self.now_ms)
        self._touched = True

    def order(self, connector: int, limit_ma: int, until_ms: int = NEVER) -> Answer:
        """Give a box a new limit until `until_ms`, as a TxProfile; its answer proves nothing."""
        self._touched = True
        rows = self.topology.connectors
        return Answer(boxes.take_order(self.outlets, rows, connector, limit_ma, 0, until_ms, self.now_ms))

    def order_device(self, row: Any, built: Any, target_ma: int, until_ms: int, *, at_once: bool) -> Answer:
        """Give a battery or an inverter an order until `until_ms`; Answer.NONE from one that is dead."""
        self._touched = True
        response_ms = 0 if at_once else int(built["response_ms"])
        return Answer(storage.take_order(row, target_ma, until_ms, self.now_ms, response_ms))

    def start_transaction(self, connector: int) -> int:
        """Close the contactor at the start current; returns the number of the transaction."""
        outlet = self.outlets[connector]
        if not outlet["plugged"]:
            raise ValueError(f"{self.topology.connector_names[connector]} has no car to start with")
        if outlet["transaction"]:
            return int(outlet["transaction"])
        self._transactions += 1
        outlet["transaction"], outlet["transaction_at_ms"] = self._transactions, self.now_ms
        outlet["finished"] = 0
        self._start_current(connector)
        self._tell(TransactionStarted(self.now_ms, connector, self._transactions, float(outlet["energy_wh"])))
        self._settle()
        return self._transactions

    def stop_transaction(self, connector: int, reason: str) -> None:
        """Open the contactor; nothing happens when no transaction runs."""
        outlet = self.outlets[connector]
        if not outlet["transaction"]:
            return
        ended, outlet["transaction"] = int(outlet["transaction"]), 0
        outlet["transaction_at_ms"], outlet["finished"] = self.now_ms, 1
        self._start_current(connector)
        self._tell(TransactionEnded(self.now_ms, connector, ended, float(outlet["energy_wh"]), reason))
        self._settle()

    def refuse_card(self, connector: int) -> None:
        """The card is not accepted: the car stays plugged in without a transaction."""
        self.outlets[connector]["finished"] = 0

    def _start_current(self, connector: int) -> None:
        outlet = self.outlets[connector]
        for field in ("pilot_ma", "claimed_ma", "left_ma"):
            outlet[field] = self.topology.connectors[connector]["fallback_ma"]
        outlet["decays_at_ms"], outlet["left_until_ms"] = NEVER, 0
        outlet["single"] *= outlet["sticks"]
        self._touched = True

    def set_offline(self, chargepoint: str, *, offline: bool) -> None:
        """Cut or mend the link of a chargepoint; the box goes on by itself."""
        for row in self.rows_of(chargepoint):
            self.outlets[row]["offline"] = int(offline or not self.outlets[row]["powered"])
        self._tell(LinkChanged(self.now_ms, chargepoint, not offline))

    # -- looking -----------------------------------------------------------------------------------

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Hear every event at its instant, those first that are waiting to be taken."""
        self._listener = listener
        for event in self.take_events():
            listener(event)

    def take_events(self) -> list[Event]:
        """What happened since the last call, in the order of time."""
        events, self._events = self._events, []
        return sorted(events, key=lambda event: event.at_ms)

    def net_wh(self, connector: int) -> float:
        """What a connector has given its cars, less what they fed back."""
        outlet = self.outlets[connector]
        return float(outlet["energy_wh"]) - float(outlet["given_wh"])

    def rows_of(self, chargepoint: str) -> list[int]:
        """Rows of the connectors of a chargepoint."""
        number = self._chargepoints.index(chargepoint)
        return [int(row) for row in np.flatnonzero(self.topology.connectors["chargepoint"] == number)]

    def phases_of_car(self, connector: int) -> int:
        """On how many phases the car at a connector would charge, 0 without one."""
        number = int(self.outlets[connector]["session"])
        return self.stays[number].session.car.at(self._outlets_drawn[connector]).phases if number >= 0 else 0

    def board_phases(self, grid: int) -> Rotation:
        """Phases of the site that really supply L1, L2, L3 of a board."""
        return self._rotations[grid]

    def _tell(self, event: Event) -> None:
        if self._listener is None:
            self._events.append(event)
        else:
            self._listener(event)


def _arrival(session: Session) -> tuple[int, int]:
    return session.plug_in_ms, session.connector
