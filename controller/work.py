"""The bench of one cycle: every table a kernel reads or writes, and the scratch columns between them."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from controller.decision import Decision, Memory
from controller.defaults import LINES
from controller.image import IMAGE_KINDS, Image
from controller.table import Layout, Table
from controller.topology import Topology

WORK_GRID = np.dtype(
    [
        ("lines", "i8"),  # 4: its phases together are limited too
        ("fuse_ma", "i8", (LINES,)),  # what nobody lifts: the fuse, the power of the connection
        ("firm_ma", "i8", (LINES,)),  # the same with hard limits from outside: above it is an alarm
        ("limit_ma", "i8", (LINES,)),  # effective
        ("source", "i8", (LINES,)),  # of that
        ("margin_ma", "i8", (LINES,)),
        ("measured_ma", "i8", (LINES,)),  # guard reading
        ("measured_at_ms", "i8"),
        ("blind_ms", "i8"),  # T_G of its meter
        ("guarded", "i8"),  # 1: the guard reading is usable
        ("lost", "i8"),
        ("safe_ma", "i8"),
        ("ageing", "i8"),  # 1: its meter has not been heard for a while
        ("held", "i8"),  # 1: nothing is raised under it
        ("panic", "i8"),
        ("undirected", "i8"),  # phases of which its guard does not surely tell the direction, as bits
        ("load_ma", "i8", (LINES,)),  # uncontrolled load used in room and book
        ("committed_ma", "i8", (LINES,)),  # sum K
        ("targets_ma", "i8", (LINES,)),  # sum T
        ("minimum_ma", "i8", (LINES,)),  # sum of the minimums of who shares
        ("low_ma", "i8", (3,)),  # sum lo
        ("high_ma", "i8", (3,)),  # sum hi
        ("slack_ma", "i8", (3,)),  # sum (K - hi)+
        ("phantom_ma", "i8", (3,)),  # sum hi of connectors with unknown phases
        ("drawing", "i8", (3,)),
        ("oldest_ms", "i8", (3,)),  # oldest reading among those held to draw
        ("pending_ma", "i8", (LINES,)),  # falls ordered and not yet visible
        ("cut_ma", "i8", (LINES,)),  # guaranteed falls ordered in this cycle
        ("spare_ma", "i8", (LINES,)),  # what filling may still give
        ("over_ma", "i8", (LINES,)),  # what orders exceed the wishes by, less the room that wishes leave
        ("sought_ma", "i8", (LINES,)),  # what others wait for
        ("spare_u", "i8", (LINES,)),  # the same in 1/100000 mA
        ("slope", "i8", (LINES,)),  # weight that rises
        ("bound", "i8"),  # lines that are full at the present level, as bits
        ("left_ma", "i8", (LINES,)),  # what boxes of an earlier site file may still draw
        ("reserved_ma", "i8", (LINES,)),  # for proofs chosen in this cycle
        ("checked_ma", "i8", (LINES,)),  # sum K once more, by the last check
        ("checked_raises", "i8", (LINES,)),
        ("alone_ma", "i8", (3,)),  # worst load and what every box does alone if the controller dies
        ("stirred", "i8"),  # 1: an order under it has not been seen to act, or a reading is missing
        ("unshown", "i8"),  # 1: an order to a battery or inverter under it has not had the time to show
        ("below_ma", "i8", (3,)),  # what its boards measure together, or its cars
        ("beside_ma", "i8", (3,)),  # what consumer meters beside its guard say
        ("implausible", "i8"),  # 1: its boards or cars measure more than it does
        ("disagrees", "i8"),  # 1: guard and consumer meters do not fit
        ("gives_ma", "i8", (3,)),  # sum of the lo of batteries that discharge, 0 or less
        ("feeds_ma", "i8", (3,)),  # what inverters under it feed in, as far as known
        ("excess_ma", "i8", (LINES,)),  # what flows back beyond its limit; UNKNOWN: nobody measures
        ("hidden_ma", "i8"),  # of the connection: what curtailed inverters could feed in besides
        ("unseen_ma", "i8", (LINES,)),  # what inverters may feed in where nobody measures
        ("over_export", "i8"),
        ("export_panic", "i8"),
        ("unmet_ma", "i8", (LINES,)),  # what cars could use above the limit
        ("asks", "i8"),  # phases on which the estimate wants new readings, as bits
        ("falling", "i8"),  # 1: the estimate waits for a round of readings
    ]
)
WORK_CONNECTOR = np.dtype(
    [
        ("reading_ma", "i8", (3,)),
        ("draw_ma", "i8"),  # highest phase
        ("heard_ms", "i8"),  # time of that
        ("news", "i8"),  # 1: a reading that the last cycle did not have
        ("fresh", "i8"),
        ("blind_ms", "i8"),
        ("low_ma", "i8", (3,)),
        ("high_ma", "i8", (3,)),
        ("active", "i8"),  # 1: a transaction runs
        ("commandable", "i8"),
        ("book_target_ma", "i8"),
        ("target_before_ma", "i8"),
        ("committed_before_ma", "i8"),
        ("raised", "i8"),
        ("resend", "i8"),
        ("min_ma", "i8"),
        ("cap_ma", "i8"),
        ("weight", "i8"),
        ("share_class", "i8"),  # classes are served one after the other; 0: all at once
        ("last", "i8"),  # 1: seems full; served from what others leave
        ("admitted", "i8"),
        ("frozen", "i8"),
        ("queue", "i8"),  # slot of the list of connectors that filling has not stopped yet
        ("load", "i8", (LINES,)),  # what one ampere of it puts on each line
        ("line_bits", "i8"),  # lines it loads
        ("start_level", "i8"),
        ("cap_level", "i8"),
        ("proof", "i8"),  # 1: chosen for a proof in this cycle
        ("wish_ma", "i8"),
        ("stop", "i8"),  # 0, or the source that shuts it off
        ("why", "i8"),
        ("why_grid", "i8"),
        ("why_phase", "i8"),
        ("place", "i8"),  # in the queue, where not even all minimums fit
        ("solar_ma", "i8"),  # what surplus leaves it
    ]
)


WORK_BATTERY = np.dtype(
    [
        ("fresh", "i8"),
        ("news", "i8"),
        ("draw_ma", "i8"),  # highest phase of its newest reading, negative: it discharges
        ("commandable", "i8"),
        ("book_target_ma", "i8"),
        ("low_ma", "i8", (3,)),
        ("high_ma", "i8", (3,)),
        ("blind_ms", "i8"),
        ("wish_ma", "i8"),
        ("raised_from_ma", "i8"),  # commitment before a raise of this cycle
        ("raised", "i8"),
        ("why", "i8"),
        ("why_grid", "i8"),
        ("why_phase", "i8"),
    ]
)
WORK_INVERTER = np.dtype(
    [
        ("fresh", "i8"),
        ("feeds_ma", "i8"),  # what it feeds in, highest phase, as far as known
        ("why", "i8"),
        ("why_grid", "i8"),
        ("why_phase", "i8"),
    ]
)


class Cycle(NamedTuple):
    """All tables of one cycle. built: topology, seen: image, kept: memory (written), wanted: decision."""

    built_grids: Table
    built_meters: Table
    built: Table
    built_batteries: Table
    built_inverters: Table
    leaves_first: Table
    clock: Table
    seen_meters: Table
    seen_grids: Table
    seen: Table
    seen_batteries: Table
    seen_inverters: Table
    kept_site: Table
    kept_grids: Table
    kept_meters: Table
    kept: Table
    kept_batteries: Table
    kept_inverters: Table
    wanted_site: Table
    wanted_grids: Table
    wanted: Table
    wanted_batteries: Table
    wanted_inverters: Table
    grids: Table
    work: Table
    batteries: Table
    inverters: Table


def lay_out(topology: Topology, image: Image, memory: Memory, decision: Decision) -> Cycle:
    """A bench with cleared scratch columns; `memory` and `decision` will be written.

    Raises ValueError where the image is that of another site or edition: kernels look at no bounds.
    """
    grids, meters, *others = topology.rows
    if [*map(len, image)] != [1, meters, grids, *others] or [table.dtype for table in image] != IMAGE_KINDS:
        raise ValueError("the image is not one of this site, or of another edition of Edge")
    return Cycle(
        topology.grids,
        topology.meters,
        topology.connectors,
        topology.batteries,
        topology.inverters,
        topology.leaves_first,
        *image,
        *memory,
        *decision,
        *_layout(grids, *others).cleared(),
    )


@cache
def _layout(grids: int, connectors: int, batteries: int, inverters: int) -> Layout:
    return Layout(
        (grids, WORK_GRID),
        (connectors, WORK_CONNECTOR),
        (batteries, WORK_BATTERY),
        (inverters, WORK_INVERTER),
    )
