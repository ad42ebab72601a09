"""What a valid drawing says and its fuses, meters or devices will not let it do, one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from controller import electrical

if TYPE_CHECKING:
    from controller.calendar import TimeOfUse
    from controller.site import Grid, Site


def schedule_remarks(site: Site, name: str, grid: Grid, place: str, schedule: TimeOfUse) -> Iterator[str]:
    """A schedule that limits nothing, or that leaves more than its fuse bears."""
    for segment in schedule.segment:
        limit, fuse_ma = segment.limit(), [electrical.milliamps(amps) for amps in grid.max_current_a]
        wider = limit.sum_ma >= sum(fuse_ma)
        if wider and all(ma >= fuse for ma, fuse in zip(limit.phase_ma, fuse_ma, strict=True)):
            yield (
                f"{place} from {segment.begin} to {segment.end} allows more than the fuse of {name};"
                " the fuse holds, so the segment limits nothing."
            )
    under = [outlet for _, box, outlet in site.connectors() if name in site.path(box.fed_by)]
    least_a = sum(outlet.min_current_a for outlet in under)
    if schedule.keep_6a and least_a > min(grid.max_current_a):
        yield (
            f"{place} keep_6a: {len(under)} connectors at their minimum may take {least_a:g} A on a fuse of"
            f" {min(grid.max_current_a):g} A; the fuse holds, so not all of them keep it at once."
        )


def export_remarks(site: Site, name: str, grid: Grid) -> Iterator[str]:
    """A limit of export above the fuse, or one that its meter cannot watch."""
    limits = grid.max_export_a or grid.max_current_a
    pairs = zip(limits, grid.max_current_a, strict=True)
    for back_a, fuse_a in [(back_a, fuse_a) for back_a, fuse_a in pairs if back_a > fuse_a][:1]:
        yield (
            f"[grid.{name}] max_export_a: {back_a:g} is above the fuse of {fuse_a:g} A, which bears no more"
            f" backwards than forwards; {fuse_a:g} A holds."
        )
    if grid.max_export_a is None and grid.max_export_w is None:
        return
    for meter in site.meter.values():
        if meter.grid == name and meter.role == "guard" and meter.measures == "magnitudes":
            yield (
                f"[grid.{name}] has a limit of export and a guard that measures magnitudes: nobody sees what"
                " flows back, so inverters and batteries may together give no more than the limit, whatever"
                ' is used here; a meter with "currents" lets them give more.'
            )
