"""What is wanted and what is remembered: the decision of a cycle with its reasons, and the Memory.

Rows follow the topology; currents mA in the phases of the site; times `now_ms` time, `NEVER` if not yet.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from functools import cache
from typing import NamedTuple

import numpy as np

from controller.defaults import LINES, NEVER, UNKNOWN
from controller.table import Layout, Table
from controller.topology import Topology


class Because(IntEnum):
    """Why a connector has the current it has; `because_grid` and `because_phase` say where."""

    IDLE = 0  # no transaction
    CONNECTOR = 1  # rating of the outlet
    FUSE = 2  # limit of a grid on a phase
    WISH = 3  # somebody outside wants no more
    CAR = 4  # the car does not take more
    TURN = 5  # waits for its turn: not even the minimums fit
    WAIT_CONFIRMATION = 6  # room is promised, others are still being lowered
    WAIT_READING = 7  # nothing is raised before it has reported itself
    PROOF = 8  # the box is being proven to obey
    METER_AGEING = 9  # no raise on an old reading
    METER_LOST_SAFE = 10  # meter lost: safe current
    METER_LOST_PANIC = 11  # meter lost: everything off
    PANIC = 12  # far over the limit
    OFFLINE = 13  # link down; stays booked
    NOT_OBEYING = 14  # accepted a limit and draws more
    REFUSED = 15  # every profile refused
    CUT = 16  # lowered because the load rose
    CHECK = 17  # the last check withheld a raise
    NOT_WORTH = 18  # a change too small for a write
    ROUND = 19  # an earlier round of raises is not closed yet
    FULL = 20  # seems full; probed once an hour
    MAINTENANCE = 21  # shut off by a person
    EMERGENCY_STOP = 22
    OUT_OF_SERVICE = 23  # the last resort has taken it out of service
    NO_LEASE = 24  # it would keep more for ever if the controller died, and that fits no more
    CARD_MINIMUM = 25  # its card charges at the least current
    CABLE = 26  # rating of the cable
    ASLEEP = 27  # did not resume after a pause; is being woken
    LEARNING = 28  # lowered for a moment to see which phases it loads
    SWITCHING = 29  # off while its box changes between one phase and three
    SOLAR = 30  # there is no more surplus of sun
    SPARED = 31  # its box bears no more orders today than are left for lowerings


class Alarm(IntFlag):
    """What is wrong with a grid or a connector."""

    NONE = 0
    METER_LOST = 1
    METER_AGEING = 2
    OVER_LIMIT = 4  # measured above the limit
    UNCONTROLLED_ABOVE_LIMIT = 8  # nothing left to lower
    PANIC = 16
    NOT_OBEYING = 32
    REFUSED = 64
    OFFLINE = 128
    READINGS_STALE = 256
    CHECK_FAILED = 512
    METER_ABSURD = 1024
    METER_FROZEN = 2048  # says the same while cars under it change
    METER_IMPLAUSIBLE = 4096  # its boards or cars together measure more
    METER_REVERSED = 8192  # answers our own steps the wrong way round
    METER_SWAPPED = 16384  # answers our own steps on another phase
    METERS_DISAGREE = 32768  # guard and consumer meters do not fit together
    OUT_OF_SERVICE = 65536  # it never obeyed, and a fuse was overloaded
    OVER_EXPORT = 1 << 20  # more flows back than may
    EXPORT_PANIC = 1 << 21


class Note(IntFlag):
    """What a person should know of a connector or a grid: triggers and endings in docs/notes.md."""

    NONE = 0
    FULL = 1
    ONE_PHASE_CHARGING = 2
    TWO_PHASE_CHARGING = 4
    CHARGING_PROFILE_REFUSED = 8
    METER_VALUES_TIMEOUT = 16
    COMMUNICATION_ERROR = 32
    NOT_READY = 64
    UNSUPPORTED = 128
    IN_ERROR = 256
    SLEEP_MODE_DETECTED = 512
    STATION_LIMIT = 1024
    ISO_15118 = 2048
    STUBBORN = 4096
    OVERSHOOT = 8192
    LIMIT_BY_TOU = 16384
    LIMIT_BY_PROFILE = 32768
    LIMIT_FROM_OUTSIDE = 65536
    MAINTENANCE = 131072
    EMERGENCY_STOP = 262144
    OUT_OF_SERVICE = 524288
    ONE_PHASE_REFUSED = 1048576
    OVER_EXPORT = 1 << 22


GRID_DECISION = np.dtype(
    [
        ("limit_ma", "i8", (3,)),  # effective limit
        ("source", "i8", (LINES,)),  # who set it
        ("margin_ma", "i8", (3,)),
        ("measured_ma", "i8", (3,)),  # newest believed guard reading, UNKNOWN
        ("estimate_ma", "i8", (3,)),  # of the uncontrolled load
        ("committed_ma", "i8", (3,)),  # sum of the commitments
        ("targets_ma", "i8", (3,)),  # sum of the targets
        ("lines", "i8"),  # LINES: its phases together are limited too; else what follows says nothing
        ("sum_limit_ma", "i8"),
        ("sum_margin_ma", "i8"),
        ("sum_measured_ma", "i8"),
        ("sum_estimate_ma", "i8"),
        ("sum_committed_ma", "i8"),
        ("sum_targets_ma", "i8"),
        ("lost", "i8"),  # 1: its meter is lost
        ("alarm", "i8"),
        ("note", "i8"),
        ("alone_ma", "i8", (3,)),  # what it may reach if the controller dies now
        ("dead_load_ma", "i8", (3,)),  # the load in that
        ("back_alone_ma", "i8", (LINES,)),  # what may flow back then, with nobody who uses any of it
    ]
)
CONNECTOR_DECISION = np.dtype(
    [
        ("wish_ma", "i8"),  # what sharing wants it to have
        ("target_ma", "i8"),  # the last limit put down
        ("committed_ma", "i8"),  # the most it may draw
        ("phases", "i8", (3,)),  # 1: it is booked on this phase
        ("known", "i8"),
        ("put", "i8"),  # 1: a new order in this cycle
        ("order_seq", "i8"),
        ("lease_until_ms", "i8"),  # NEVER: the order does not decay
        ("order_phases", "i8"),  # phases that the order is for, where the box can choose; else 0
        ("ask", "i8"),  # 1: trigger MeterValues now
        ("because", "i8"),
        ("because_grid", "i8"),  # row, -1
        ("because_phase", "i8"),  # 0..2, TOGETHER, -1
        ("alarm", "i8"),
        ("note", "i8"),
        ("stop_transaction", "i8"),  # 1: the last resort, until no transaction runs
        ("unavailable", "i8"),  # 1: out of service until a person releases it
    ]
)
SITE_DECISION = np.dtype(
    [
        ("now_ms", "i8"),
        ("next_ms", "i8"),  # the latest time at which the next cycle must run, if nothing changes before
        ("unsafe_alone", "i8"),  # 1: a fuse may be overloaded if the controller dies now
        ("settled", "i8"),  # 1: nothing in flight moves a current, nothing is due
        ("alarm", "i8"),
    ]
)


class StorageBecause(IntEnum):
    """Why a battery has its set-point or an inverter its limit."""

    STANDBY = 0  # nothing asks for it
    SURPLUS = 1  # takes what would flow back
    LOAD = 2  # covers the other load
    PEAK = 3  # holds the import
    RECHARGE = 4  # charges from the grid for the next peak
    SETPOINT = 5  # somebody outside says
    BRIDGE = 6  # makes room under a limit
    EMPTY = 7  # lower end of its window, or its reserve
    FULL = 8  # upper end of its window
    NO_ROOM = 9  # a limit leaves no more for charging; cars go first
    UNHEARD = 10  # its readings or those of the connection are lost
    NOT_OBEYING = 11
    FREE = 12  # an inverter without limit
    EXPORT = 13  # a limit of export
    EXPORT_PANIC = 14
    STOPPED = 15  # maintenance, emergency stop
    DIRECTION = 16  # nobody knows in which direction the current flows at a guard
    TRIAL = 17  # small steps until the guard has shown one the right way round


_DEVICE_DECISION = [
    ("target_ma", "i8"),  # per phase; of an inverter the most that it feeds in, positive
    ("power_w", "i8"),  # the same over its phases, at nominal voltage
    ("put", "i8"),  # 1: a new order in this cycle
    ("order_seq", "i8"),
    ("until_ms", "i8"),  # when the order ends by itself, NEVER
    ("because", "i8"),  # StorageBecause
    ("because_grid", "i8"),
    ("because_phase", "i8"),
    ("alarm", "i8"),
]
BATTERY_DECISION = np.dtype(
    [
        ("committed_ma", "i8"),  # the most it may take, per phase; below 0: what it surely gives
        ("strategy", "i8"),
        *_DEVICE_DECISION,
    ]
)
INVERTER_DECISION = np.dtype(_DEVICE_DECISION)


class Decision(NamedTuple):
    """The result of a cycle: `site` has one row, `grids` and `connectors` one per asset."""

    site: Table
    grids: Table
    connectors: Table
    batteries: Table
    inverters: Table


WINDOW = 12
"""Change points that a sliding maximum remembers; more are merged towards the safe side."""
SHORT_WINDOW = 4
"""The same for the few seconds of a meter's delay."""

GRID_MEMORY = np.dtype(
    [
        ("estimate_ma", "i8", (3,)),
        ("started", "i8"),  # 1: the estimate exists
        ("high_ma", "i8", (3, WINDOW)),  # sliding maximum of U_hi
        ("high_until_ms", "i8", (3, WINDOW)),
        ("high_count", "i8", (3,)),
        ("peak_ma", "i8", (3, WINDOW)),  # sliding maximum of the estimate over 15 min
        ("peak_until_ms", "i8", (3, WINDOW)),
        ("peak_count", "i8", (3,)),
        ("waking_since_ms", "i8", (3,)),  # a rise that a waking car may explain
        ("over_since_ms", "i8", (3,)),  # G > 1.1 F
        ("helpless_since_ms", "i8", (3,)),  # G - pending > 1.1 F
        ("panic_until_ms", "i8"),
        ("breach_since_ms", "i8", (3,)),  # a hard limit is exceeded
        ("apart_since_ms", "i8"),  # its boards together measure more than it does
        ("disagree_since_ms", "i8"),  # consumer meters beside the guard do not fit it
        ("calm_since_ms", "i8"),  # every order under it has been seen to act
        ("stepped", "i8"),  # own orders since the look below, of cars (1) and of storage (2)
        ("looked_at_ms", "i8"),  # the last calm look: what the guard measured, what the cars drew
        ("looked_measured_ma", "i8", (3,)),
        ("looked_drawn_ma", "i8", (3,)),
        ("export_since_ms", "i8"),  # since when far too much flows back
        ("export_panic_ms", "i8"),  # until when every exporter stays off
        ("flow_ma", "i8", (3,)),  # what flowed since the last cycle
        ("heat", "i8", (3,)),  # of its breaker, in millionths of what its rating heats it to
        ("quarter", "i8"),  # running quarter of an hour, counted from the epoch
        ("quarter_mas", "i8"),  # charge of it so far over all phases, mA s
        ("left_ma", "i8", (3,)),  # what boxes that the site file has here no more may still draw
        ("left_until_ms", "i8"),
    ]
)
METER_MEMORY = np.dtype(
    [
        ("at_ms", "i8"),  # newest believed reading
        ("current_ma", "i8", (3,)),  # in the phases of the site
        ("lost", "i8"),
        ("good_samples", "i8"),  # in a row, since it was lost
        ("absurd", "i8"),  # 1: the newest reading was not believed
        ("same_since_ms", "i8"),  # its reading has not changed since
        ("moved_ma", "i8", (3,)),  # by how much the cars under it have changed meanwhile
        ("frozen", "i8"),  # 1: they have, and it has not
        ("reversed", "i8"),  # phases that are taken as magnitudes, as bits
        ("wrong_way", "i8", (3,)),  # answers in a row with the wrong sign; negative: right ones
        ("swapped", "i8"),  # 1: its highest phase counts on all
        ("wrong_phase", "i8"),  # answers in a row on another phase; negative: right ones
    ]
)
CONNECTOR_MEMORY = np.dtype(
    [
        ("committed_ma", "i8"),  # K
        ("target_ma", "i8"),  # T
        ("before_ma", "i8"),  # K before the newest order was put down
        ("lowest_ma", "i8"),  # least of all orders not yet observed
        ("order_seq", "i8"),
        ("put_at_ms", "i8"),
        ("answer_at_ms", "i8"),  # when the newest order was accepted, NEVER: not yet
        ("sends", "i8"),
        ("spent_ms", "i8"),  # of a day, by its orders, less what has passed since
        ("retried", "i8"),  # 1: an order that was not obeyed has been sent once more
        ("observed", "i8"),  # 1: the newest order has been seen to hold
        ("observed_at_ms", "i8"),  # time of the reading that showed the last lowering
        ("falls_due_ms", "i8"),  # an unknown connector's K falls T_G after it was observed
        ("raise_at_ms", "i8"),
        ("raise_answer_ms", "i8"),
        ("closed", "i8"),  # the last raise has been observed
        ("limit_known", "i8"),  # 1: the limit in force is known (own order observed, or the default rules)
        ("proven", "i8"),
        ("proof_peak_ma", "i8"),  # reading on which the lowering under proof is judged
        ("proof_failed_at_ms", "i8"),
        ("ignored", "i8"),  # 1: declared not to obey
        ("refused_at_ms", "i8"),
        ("lease_until_ms", "i8"),
        ("assured_until_ms", "i8"),  # the newest *accepted* order surely holds until then, NEVER: none
        ("firmware", "i8"),
        ("seen", "i8"),  # 1: it has reported itself since this controller started
        ("reading_ma", "i8", (3,)),
        ("reading_at_ms", "i8"),
        ("previous_at_ms", "i8"),  # of the reading before
        ("event_at_ms", "i8"),  # a status or an end of transaction that says it draws nothing
        ("low_ma", "i8", (3, SHORT_WINDOW)),  # sliding minimum of lo, stored negated
        ("low_until_ms", "i8", (3, SHORT_WINDOW)),
        ("low_count", "i8", (3,)),
        ("high_ma", "i8", (3, SHORT_WINDOW)),  # sliding maximum of hi
        ("high_until_ms", "i8", (3, SHORT_WINDOW)),
        ("high_count", "i8", (3,)),
        ("fall_from_ma", "i8", (3,)),  # lo before the lowering that the meter cannot show yet
        ("fall_since_ms", "i8"),
        ("asked_at_ms", "i8"),
        ("ask_due_ms", "i8"),
        ("online", "i8"),
        ("phases", "i8", (3,)),  # booked
        ("known", "i8"),
        ("evidence", "i8"),  # phases that the last readings showed in use, as bits
        ("evidence_count", "i8"),
        ("spread", "i8"),  # phases that its total power is held to flow on, 0: its phases are told
        ("total_ma", "i8"),  # that power, when it was last read
        ("learnt", "i8"),  # 1: its phases were learnt from lone steps, for this session
        ("learn_cap_ma", "i8"),  # while one is being made, 0: none
        ("single", "i8"),  # 1: it is ordered to charge on one phase of three
        ("switching", "i8"),  # controller.phases: SETTLED, TO_ONE, TO_ALL
        ("switch_since_ms", "i8"),  # since when the sun would have it change
        ("switched_at_ms", "i8"),
        ("switch_failed", "i8"),  # 1: told to charge on one phase, and seen on more, in this session
        ("session", "i8"),  # counts plug-ins
        ("plugged", "i8"),
        ("transaction", "i8"),
        ("since_ms", "i8"),  # plug-in
        ("charge_mas", "i8"),  # charge taken over all phases, mA s
        ("on_since_ms", "i8"),  # NEVER: without current
        ("off_since_ms", "i8"),
        ("cap_ma", "i8"),  # reclaim
        ("slack_since_ms", "i8"),
        ("lift_wait_ms", "i8"),
        ("lifted_at_ms", "i8"),
        ("small_since_ms", "i8"),  # it has wanted a little more since then
        ("full", "i8"),
        ("probe_at_ms", "i8"),
        ("above_since_ms", "i8"),  # clearly above its limit
        ("barred", "i8"),  # 1: out of service
        ("released", "i8"),  # of the image, when it last counted
        ("solar_on", "i8"),  # 1: on solar only it has started
        ("solar_since_ms", "i8"),  # since when there is enough for a start, or too little to go on
        ("solar_tried_ms", "i8"),  # last start without knowing whether there is sun
        ("sleep", "i8"),  # controller.waking: QUIET, DRAWING, PAUSED, ASLEEP, GIVEN_UP
        # what few cycles look at: phases being learnt, a car being woken
        ("learnt_bits", "i8"),  # what the last step showed
        ("learnt_steps", "i8"),  # in a row that agree
        ("learn_tries", "i8"),  # steps made for it in this session
        ("hint", "i8"),  # site phase that own L1 was learnt to hang on, from 1; 0: nothing to suggest
        ("wake_at_ms", "i8"),  # when the next attempt to wake it begins or began
        ("wake_tries", "i8"),  # attempts that have failed
        ("delicate", "i8"),  # 1: it had to be woken, so it is the last to be turned off
    ]
)
_DEVICE_MEMORY = [
    ("target_ma", "i8"),  # T, the last order put down
    ("order_seq", "i8"),
    ("put_at_ms", "i8"),
    ("answer_at_ms", "i8"),  # when the newest order was accepted, NEVER: not yet
    ("sends", "i8"),
    ("observed", "i8"),  # 1: the newest order has been seen to hold
    ("ignored", "i8"),  # 1: accepted and does not obey
    ("until_ms", "i8"),  # when the newest order ends by itself, NEVER
    ("online", "i8"),
    ("heard", "i8"),  # 1: its reading was fresh in the last cycle
    ("reading_ma", "i8", (3,)),  # in the phases of the site
    ("reading_at_ms", "i8"),
]
BATTERY_MEMORY = np.dtype(
    [
        *_DEVICE_MEMORY,
        ("committed_ma", "i8"),  # K
        ("charge_ma", "i8"),  # most that it may be charging with, given all that was sent, at least 0
        ("lowest_ma", "i8"),  # least of all orders not yet observed
        ("closed", "i8"),  # 1: the last raise has been observed
        ("raise_at_ms", "i8"),
        ("low_ma", "i8", (3, SHORT_WINDOW)),  # sliding minimum of lo, stored negated
        ("low_until_ms", "i8", (3, SHORT_WINDOW)),
        ("low_count", "i8", (3,)),
        ("high_ma", "i8", (3, SHORT_WINDOW)),
        ("high_until_ms", "i8", (3, SHORT_WINDOW)),
        ("high_count", "i8", (3,)),
        ("fall_from_ma", "i8", (3,)),  # lo before the lowering that the meter cannot show yet
        ("fall_since_ms", "i8"),
        ("gives_since_ms", "i8"),  # since when it has been seen to discharge as ordered
        ("soc", "i8"),  # per mille, UNKNOWN
        ("empty", "i8"),  # 1: at the lower end of its window, until it is 2 % above
        ("spent", "i8"),  # 1: at its reserve
        ("full", "i8"),
        ("quarter", "i8"),  # running quarter of an hour, counted from the epoch
        ("quarter_mas", "i8"),  # import of it so far, mA s over all phases
        ("month", "i8"),
        ("peak_ma", "i8"),  # highest mean import of a quarter of this month
    ]
)
INVERTER_MEMORY = np.dtype(
    [
        *_DEVICE_MEMORY,
        ("eased_at_ms", "i8"),  # when its limit was last changed
        ("sun_ma", "i8"),  # what it could feed in, as far as anybody can guess
        ("guessed_at_ms", "i8"),
    ]
)
SITE_MEMORY = np.dtype(
    [
        ("now_ms", "i8"),  # of the last cycle
        ("round_open", "i8"),
        ("round_closed_at_ms", "i8"),
        ("lone", "i8"),  # row of the connector whose lone step is watched, from 1; 0: none
        ("lone_at_ms", "i8"),
        ("lone_draw_ma", "i8"),  # its draw before the step
        ("lone_used", "i8"),  # its own phases in use then
        ("lone_grid_ma", "i8", (3,)),  # what the guard meter showed then
        ("learn_at_ms", "i8"),  # when a step was last made for learning
    ]
)


class Memory(NamedTuple):
    """What one cycle hands to the next: `site` has one row, the others one per asset."""

    site: Table
    grids: Table
    meters: Table
    connectors: Table
    batteries: Table
    inverters: Table


def first_memory(topology: Topology, *, proven: bool = False) -> Memory:
    """Memory of a controller that knows nothing: every connector is booked at its declared fallback.

    `proven` starts with boxes that are known to obey (a warm start; never on a real box without journal).
    """
    memory = Memory(*_memory_layout(*topology.rows).cleared())
    for table in memory:
        for field in table.dtype.names or ():
            if field.endswith("_ms"):
                table[field] = NEVER
    memory.site["now_ms"] = 0
    memory.meters["current_ma"] = UNKNOWN
    rows = memory.connectors
    rows["committed_ma"] = topology.connectors["fallback_ma"]
    rows["target_ma"] = topology.connectors["fallback_ma"]
    rows["before_ma"] = topology.connectors["fallback_ma"]
    rows["lowest_ma"] = topology.connectors["fallback_ma"]
    rows["lift_wait_ms"] = 0
    rows["observed"] = 1
    rows["closed"] = 1
    rows["proven"] = int(proven)
    rows["limit_known"] = int(proven)
    rows["phases"] = topology.connectors["possible"]
    rows["cap_ma"] = topology.connectors["max_ma"]
    rows["firmware"] = UNKNOWN
    # Nobody knows what a battery was told before: it may charge with all it has.
    memory.batteries["committed_ma"] = topology.batteries["charge_ma"]
    memory.batteries["charge_ma"] = topology.batteries["charge_ma"]
    memory.batteries["soc"] = UNKNOWN
    memory.batteries["closed"] = 1
    memory.inverters["target_ma"] = topology.inverters["max_ma"]
    memory.inverters["observed"] = 1
    return memory


def copy_of(memory: Memory, topology: Topology) -> Memory:
    """To be written to. Raises ValueError where it is the memory of another site."""
    return Memory(*_memory_layout(*topology.rows).copied(memory))


def empty_decision(topology: Topology) -> Decision:
    """Zeroed tables for `calculate` to fill."""
    grids, _, *others = topology.rows
    return Decision(*_decision_layout(grids, *others).cleared())


@cache
def _memory_layout(grids: int, meters: int, connectors: int, batteries: int, inverters: int) -> Layout:
    return Layout(
        (1, SITE_MEMORY),
        (grids, GRID_MEMORY),
        (meters, METER_MEMORY),
        (connectors, CONNECTOR_MEMORY),
        (batteries, BATTERY_MEMORY),
        (inverters, INVERTER_MEMORY),
    )


@cache
def _decision_layout(grids: int, connectors: int, batteries: int, inverters: int) -> Layout:
    return Layout(
        (1, SITE_DECISION),
        (grids, GRID_DECISION),
        (connectors, CONNECTOR_DECISION),
        (batteries, BATTERY_DECISION),
        (inverters, INVERTER_DECISION),
    )
