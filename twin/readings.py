"""What instruments say of the truth: the link model of every meter and of every connector's own meter.

A gauge is one instrument with all that may be wrong with it. Each reading passes, in this order: exchanged
and turned transformers, a wrong ratio, an offset, noise, the resolution of the display, how often that is
renewed, phases it says nothing of, and a link that delays or loses it. One row per instrument; currents are
mA in the instrument's own L1 L2 L3.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from controller.defaults import NEVER, UNKNOWN
from controller.kernel import direct, kernel
from controller.table import Table
from controller.topology import CONSUMER, CURRENTS
from twin.electrics import together_ma
from twin.streams import number, roll

SLOTS: Final = 64  # readings in flight on one link
WHOLE: Final = 2**31  # a chance of 1

GAUGE = np.dtype(
    [
        ("silent", "i8"),
        ("frozen", "i8"),  # 1: says for ever what it said last
        ("nan", "i8", (3,)),  # 1: says nothing of this phase
        ("reversed", "i8"),
        ("swapped", "i8"),  # 1: L1 and L2 exchanged
        ("altered", "i8"),  # 1: what stands below is in force
        ("factor", "f8", (3,)),
        ("offset_ma", "i8", (3,)),
        ("noise_ma", "f8"),
        ("coarse_ma", "i8"),  # resolution, 0: as fine as can be
        ("renew_ms", "i8"),  # its display is renewed this often, 0: always
        ("late_ms", "i8"),
        ("loss", "i8"),  # chance of 2^31 that a reading does not arrive
        ("shown_ma", "i8", (3,)),
        ("shown_at_ms", "i8"),
    ]
)

PROBE = np.dtype(
    [
        ("transaction", "i8"),  # the one that `due_ms` belongs to
        ("due_ms", "i8"),  # next periodic reading
        ("asked_at_ms", "i8"),  # when a request for a reading reaches the box, NEVER
        ("dice", "i8"),
        ("first", "i8"),
        ("count", "i8"),
        ("arrives_ms", "i8", (SLOTS,)),
        ("current_ma", "i8", (SLOTS, 3)),
        ("total_ma", "i8", (SLOTS,)),
    ]
)


def gauges(count: int) -> Table:
    """Instruments that tell the truth."""
    table = np.zeros(count, GAUGE)
    table["factor"] = 1.0
    table["shown_at_ms"] = NEVER
    return table


def links(seed: int, purpose: str, names: tuple[str, ...]) -> Table:
    """Links on which nothing is under way, each with a dice of its own."""
    table = np.zeros(len(names), PROBE)
    table["asked_at_ms"] = NEVER
    for row, name in zip(table, names, strict=True):
        row["dice"] = number(seed, purpose, name) & 0x7FFF_FFFF
    return table


@kernel
def put_in_flight(link: Any, arrives_ms: int) -> int:
    """A slot for one more reading; the oldest is overwritten when a link has far too many under way."""
    if link["count"] == SLOTS:
        link["first"] = (link["first"] + 1) % SLOTS
        link["count"] -= 1
    slot = (link["first"] + link["count"]) % SLOTS
    link["count"] += 1
    link["arrives_ms"][slot] = arrives_ms
    return int(slot)


@kernel
def noisy_ma(link: Any, noise_ma: float) -> int:
    """One throw of noise with this standard deviation."""
    total = 0.0
    for _ in range(12):  # twelve uniform numbers make a normal one
        link["dice"] = roll(link["dice"])
        total += link["dice"] / 2147483648.0
    return round(noise_ma * (total - 6.0))


@kernel
def is_lost(link: Any, gauge: Any) -> bool:
    """Whether this reading gets lost on the way."""
    if gauge["altered"] == 0 or gauge["loss"] == 0:
        return False
    link["dice"] = roll(link["dice"])
    return bool(link["dice"] < gauge["loss"])


@kernel
def late_ms(gauge: Any) -> int:
    """How much later than its link would it arrives."""
    return int(gauge["late_ms"] * gauge["altered"])


@kernel
def read_ma(link: Any, gauge: Any, own: int, truth_ma: int, now_ms: int) -> int:
    """What the instrument says of a phase that carries `truth_ma`; call it for own = 0, 1, 2 in turn."""
    value = truth_ma
    if gauge["reversed"] != 0:
        value = -value
    if gauge["altered"] != 0:
        value = round(value * gauge["factor"][own]) + gauge["offset_ma"][own]
        if gauge["noise_ma"] > 0.0:
            value += noisy_ma(link, gauge["noise_ma"])
        if gauge["coarse_ma"] > 0:
            value = round(value / gauge["coarse_ma"]) * gauge["coarse_ma"]
    stands = gauge["frozen"] != 0
    if gauge["altered"] != 0 and now_ms < gauge["shown_at_ms"] + gauge["renew_ms"]:
        stands = True
    if stands and gauge["shown_at_ms"] != NEVER:
        value = gauge["shown_ma"][own]
    else:
        gauge["shown_ma"][own] = value
        if own == 2:
            gauge["shown_at_ms"] = now_ms
    return int(value)


@direct
@kernel
def poll_meters(
    polls: Table,
    meters: Table,
    gauges: Table,
    grids: Table,
    boards: Table,
    now_ms: int,
    delay_ms: int,
    noise_ma: float,
) -> None:
    """Take what every meter sees now; it arrives `delay_ms` later."""
    for m in range(len(polls)):
        poll, gauge = polls[m], gauges[m]
        if is_lost(poll, gauge):
            continue
        slot = put_in_flight(poll, now_ms + delay_ms + late_ms(gauge))
        g = meters[m]["grid"]
        total = 0
        for own in range(3):
            wire = own
            if gauge["swapped"] != 0 and own < 2:
                wire = 1 - own
            p = meters[m]["phase"][wire]
            value = boards[g]["current_ma"][p]
            if meters[m]["role"] == CONSUMER:
                value, reactive = boards[g]["load_ma"][p], boards[g]["reactive_ma"][p]
                for child in range(len(grids)):
                    if grids[child]["parent"] == g and grids[child]["excluded"] != 0:
                        value -= boards[child]["load_ma"][p]
                        reactive -= boards[child]["reactive_ma"][p]
                value = together_ma(value, reactive)
            if noise_ma > 0.0:
                value += noisy_ma(poll, noise_ma)
            value = read_ma(poll, gauge, own, value * meters[m]["sign"], now_ms)
            known = gauge["nan"][own] == 0 and total != UNKNOWN
            total = total + value if known else UNKNOWN
            if meters[m]["measures"] != CURRENTS:
                value = abs(value)
            poll["current_ma"][slot][own] = UNKNOWN if gauge["nan"][own] != 0 else value
        poll["total_ma"][slot] = total


@kernel
def hear_meters(seen: Table, polls: Table, gauges: Table, now_ms: int) -> None:
    """Deliver the meter readings that have arrived."""
    for m in range(len(polls)):
        poll = polls[m]
        while poll["count"] > 0 and poll["arrives_ms"][poll["first"]] <= now_ms:
            slot = poll["first"]
            poll["first"] = (slot + 1) % SLOTS
            poll["count"] -= 1
            if gauges[m]["silent"] != 0:
                continue
            seen[m]["at_ms"] = poll["arrives_ms"][slot]
            for own in range(3):
                seen[m]["current_ma"][own] = poll["current_ma"][slot][own]
            seen[m]["total_ma"] = poll["total_ma"][slot]


@kernel
def _shows_ma(probe: Any, gauge: Any, outlet: Any, own: int, now_ms: int) -> int:
    """What the meter of a connector says of a phase; call it for own = 0, 1, 2 in turn."""
    wire = own
    if gauge["swapped"] != 0 and own < 2:
        wire = 1 - own
    value = read_ma(probe, gauge, own, outlet["draw_ma"][wire], now_ms)
    return int(UNKNOWN if gauge["nan"][own] != 0 else value)


@kernel
def sense(probes: Table, gauges: Table, outlets: Table, c: int, now_ms: int, current_ma: Any) -> int:
    """Lay what the meter of a connector says now into `current_ma`; returns after how many ms it is told.

    NEVER: it is not. For a box on a real wire, which has a link of its own.
    """
    if gauges[c]["silent"] != 0 or is_lost(probes[c], gauges[c]):
        return NEVER
    for own in range(3):
        current_ma[own] = _shows_ma(probes[c], gauges[c], outlets[c], own, now_ms)
    return late_ms(gauges[c])


@kernel
def take(probe: Any, outlet: Any, gauge: Any, now_ms: int, latency_ms: int, loss: int) -> None:
    """A reading of a connector sets out, unless the link is down or the message gets lost."""
    if outlet["offline"] != 0 or gauge["silent"] != 0:
        return
    probe["dice"] = roll(probe["dice"])
    if probe["dice"] < max(loss, outlet["loss"]) or is_lost(probe, gauge):
        return
    slot = put_in_flight(probe, now_ms + latency_ms + outlet["late_ms"] + late_ms(gauge))
    for own in range(3):
        probe["current_ma"][slot][own] = _shows_ma(probe, gauge, outlet, own, now_ms)


@kernel
def hear_connectors(
    seen: Table,
    probes: Table,
    gauges: Table,
    outlets: Table,
    connectors: Table,
    now_ms: int,
    latency_ms: int,
    loss: int,
    every_tick: bool,
) -> None:
    """Take the meter values that are due or asked for, and deliver those that have arrived.

    `loss` is the chance of 2^31 that a message does not arrive; `every_tick` reads at every look.
    """
    for c in range(len(probes)):
        probe, outlet, gauge = probes[c], outlets[c], gauges[c]
        wanted = False
        if outlet["transaction"] != 0:
            every_ms = connectors[c]["sample_ms"]
            if probe["transaction"] != outlet["transaction"]:
                probe["transaction"] = outlet["transaction"]
                probe["due_ms"] = (outlet["transaction_at_ms"] + 999) // 1000 * 1000 + every_ms
            wanted = every_tick
            if now_ms >= probe["due_ms"]:
                # Due times that were jumped over had the same value: nothing happened since.
                missed = (now_ms - probe["due_ms"]) // every_ms
                if missed > 0:
                    at_ms = probe["due_ms"] + (missed - 1) * every_ms
                    take(probe, outlet, gauge, at_ms, latency_ms, loss)
                take(probe, outlet, gauge, probe["due_ms"] + missed * every_ms, latency_ms, loss)
                probe["due_ms"] += (missed + 1) * every_ms
                wanted = False
        if probe["asked_at_ms"] != NEVER and now_ms >= probe["asked_at_ms"]:
            probe["asked_at_ms"] = NEVER
            wanted = True
        if wanted:
            take(probe, outlet, gauge, now_ms, latency_ms, loss)
        while probe["count"] > 0 and probe["arrives_ms"][probe["first"]] <= now_ms:
            slot = probe["first"]
            probe["first"] = (slot + 1) % SLOTS
            probe["count"] -= 1
            if outlet["offline"] == 0:
                seen[c]["reading_at_ms"] = probe["arrives_ms"][slot]
                for own in range(3):
                    seen[c]["current_ma"][own] = probe["current_ma"][slot][own]
