"""measure -> calculate -> distribute: the controller as one pure function and a ten-line loop."""

from __future__ import annotations

from controller.alone import leave_alone
from controller.check import check
from controller.commitments import follow_orders
from controller.comparison import compare_meters
from controller.decision import Decision, Memory, empty_decision
from controller.demand import weigh_demands
from controller.export import report_export, steer_inverters, watch_export
from controller.headroom import bound_draws, estimate_loads, sum_book
from controller.image import Image
from controller.kernel import kernel
from controller.learning import conclude_step, watch_for_step
from controller.limits import narrow_limits, open_limits
from controller.notes import take_note
from controller.orders import plan
from controller.outcome import ask_for_readings, report
from controller.ports import Journal, Plant
from controller.raises import follow_round, raise_to_wishes
from controller.session import follow_sessions
from controller.sharing import share
from controller.stops import follow_stops, shut_off
from controller.storage import believe_storage, bound_storage, follow_setpoints, sum_storage
from controller.strategies import report_batteries, steer_batteries
from controller.sun import cap_by_sun, report_sun
from controller.table import copied
from controller.topology import Topology
from controller.trust import believe_connectors, believe_meters
from controller.wiring import Traces
from controller.work import Cycle, lay_out


def calculate(topology: Topology, image: Image, memory: Memory) -> tuple[Decision, Memory]:
    """The decision for this image, and what to remember. Pure: writes to none of its arguments."""
    decision = empty_decision(topology)
    memory = Memory(*(copied(table) for table in memory))
    _run(lay_out(topology, image, memory, decision), topology.traces)
    return decision, memory


@kernel
def _run(cy: Cycle, traces: Traces) -> None:
    follow_sessions(cy)
    open_limits(cy)
    believe_meters(cy)
    believe_connectors(cy)
    believe_storage(cy)
    follow_orders(cy)
    follow_setpoints(cy)
    conclude_step(cy)
    bound_draws(cy)
    sum_book(cy)
    bound_storage(cy)
    sum_storage(cy)
    compare_meters(cy)
    estimate_loads(cy)
    watch_export(cy)
    follow_stops(cy)
    weigh_demands(cy)
    cap_by_sun(cy)
    narrow_limits(cy)
    share(cy)
    shut_off(cy)
    plan(cy)
    leave_alone(cy)
    follow_round(cy)
    raise_to_wishes(cy)
    steer_batteries(cy)
    steer_inverters(cy)
    check(cy, traces)
    watch_for_step(cy)
    ask_for_readings(cy)
    report(cy)
    take_note(cy)
    report_batteries(cy)
    report_export(cy)
    report_sun(cy)


def run_cycle(topology: Topology, plant: Plant, memory: Memory, journal: Journal) -> tuple[Decision, Memory]:
    """One turn of the loop in either world."""
    image = plant.measure()
    decision, memory = calculate(topology, image, memory)
    journal.append(image, decision, memory)
    plant.distribute(decision)
    return decision, memory
