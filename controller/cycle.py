"""measure -> calculate -> distribute: the controller as one pure function and a ten-line loop."""

from __future__ import annotations

from controller.alone import feed_in_alone, leave_alone
from controller.check import check
from controller.commitments import follow_orders
from controller.comparison import compare_meters, stir, stir_by_storage
from controller.decision import Decision, Memory, copy_of, empty_decision
from controller.demand import weigh_demand
from controller.export import report_export, steer_inverters, watch_export
from controller.headroom import bound_draw, close_book, enter_in_book, estimate_loads, open_book
from controller.image import Image
from controller.kernel import direct, kernel
from controller.learning import conclude_step, watch_for_step
from controller.limits import narrow_limits, open_limits
from controller.notes import note_connector, note_grids
from controller.orders import plan
from controller.outcome import ask_for_reading, look_again, report_connector, report_grids, somebody_waits
from controller.phases import follow_phases
from controller.ports import Journal, Plant
from controller.raises import follow_round, may_raise, raise_to_wishes
from controller.session import follow_session
from controller.sharing import share
from controller.stops import follow_breaches, follow_stops, shut_off
from controller.storage import believe_storage, bound_storage, follow_setpoints, sum_storage
from controller.strategies import report_batteries, steer_batteries
from controller.sun import cap_by_sun, follows_sun
from controller.topology import Topology
from controller.trust import believe_connector, believe_meters
from controller.wiring import Traces
from controller.work import Cycle, lay_out


def calculate(topology: Topology, image: Image, memory: Memory) -> tuple[Decision, Memory]:
    """The decision for this image, and what to remember. Pure: writes to none of its arguments."""
    decision = empty_decision(topology)
    memory = copy_of(memory, topology)
    _run(lay_out(topology, image, memory, decision), topology.traces)
    return decision, memory


@direct
@kernel
def _run(cy: Cycle, traces: Traces) -> None:
    """One connector after the other through all that concerns it alone: so its rows are fetched once."""
    open_limits(cy)
    believe_meters(cy)
    believe_storage(cy)
    follow_setpoints(cy)
    open_book(cy)
    for c in range(len(cy.built)):
        follow_session(cy, c)
        believe_connector(cy, c)
        follow_orders(cy, c)
        follow_phases(cy, c)
        conclude_step(cy, c)
        bound_draw(cy, c)
        enter_in_book(cy, c)
        stir(cy, c)
    close_book(cy)
    bound_storage(cy)
    sum_storage(cy)
    stir_by_storage(cy)
    compare_meters(cy)
    estimate_loads(cy)
    watch_export(cy)
    follow_breaches(cy)
    sunny = False
    for c in range(len(cy.built)):
        follow_stops(cy, c)
        weigh_demand(cy, c)
        sunny = sunny or follows_sun(cy, c)
    if sunny:
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
    report_grids(cy)
    note_grids(cy)
    waiting, closed = somebody_waits(cy), not may_raise(cy)
    for c in range(len(cy.built)):
        ask_for_reading(cy, c)
        report_connector(cy, c)
        look_again(cy, c, waiting, closed)
        note_connector(cy, c)
    report_batteries(cy)
    report_export(cy)
    feed_in_alone(cy)


def run_cycle(topology: Topology, plant: Plant, memory: Memory, journal: Journal) -> tuple[Decision, Memory]:
    """One turn of the loop in either world."""
    image = plant.measure()
    decision, memory = calculate(topology, image, memory)
    journal.append(image, decision, memory)
    plant.distribute(decision)
    return decision, memory
