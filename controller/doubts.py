"""What a valid drawing says and its fuses, meters or devices will not let it do, one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from controller import electrical

if TYPE_CHECKING:
    from controller.calendar import TimeOfUse
    from controller.external import ProfileSet
    from controller.quantities import Limit
    from controller.site import Connector, Grid, Site


def schedule_remarks(site: Site, name: str, grid: Grid, place: str, schedule: TimeOfUse) -> Iterator[str]:
    """A schedule that limits nothing, or that leaves more than its fuse bears."""
    for segment in schedule.segment:
        if _is_wider(grid, segment.limit()):
            yield (
                f"{place} from {segment.begin} to {segment.end} allows more than the fuse of {name};"
                " the fuse holds, so the segment limits nothing."
            )
    if schedule.keep_6a:
        yield from _keep_remarks(site, name, grid, place)


def profile_remarks(site: Site, name: str, grid: Grid, place: str, told: ProfileSet) -> Iterator[str]:
    """The same for a charging profile."""
    if told.export_limit:
        return
    limit = told.profile.narrowest()
    if limit is not None and _is_wider(grid, limit):
        yield f"{place} allows more than the fuse of {name}; the fuse holds, so the profile limits nothing."
    if told.keep_6a:
        yield from _keep_remarks(site, name, grid, place)


def _is_wider(grid: Grid, limit: Limit) -> bool:
    fuse_ma = [electrical.milliamps(amps) for amps in grid.max_current_a]
    phases = zip(limit.phase_ma, fuse_ma, strict=True)
    return limit.sum_ma >= sum(fuse_ma) and all(most_ma >= fuse for most_ma, fuse in phases)


def _keep_remarks(site: Site, name: str, grid: Grid, place: str) -> Iterator[str]:
    least_a = [outlet.min_current_a for outlet in _outlets(site, name)]
    if sum(least_a) > min(grid.max_current_a):
        yield (
            f"{place} keep_6a: {len(least_a)} connectors at their minimum may take {sum(least_a):g} A on a"
            f" fuse of {min(grid.max_current_a):g} A; the fuse holds, so not all of them keep it at once."
        )


def _outlets(site: Site, grid: str) -> list[Connector]:
    return [outlet for _, box, outlet in site.connectors() if grid in site.path(box.fed_by)]


def safe_current_remarks(site: Site) -> Iterator[str]:
    """A safe current with which nobody can charge."""
    for name, meter in site.meter.items():
        under = [outlet.min_current_a for outlet in _outlets(site, meter.grid)]
        if meter.on_failure == "panic" or not under:
            continue
        safe_a = meter.on_failure.safe_current_a
        if 0 < safe_a < min(under):
            yield (
                f"[meter.{name}] on_failure: a safe_current_a of {safe_a:g} is below the {min(under):g} A"
                f" that any car under {meter.grid} takes at its least; when the meter is lost nobody charges."
            )


def solar_remarks(site: Site, name: str, grid: Grid) -> Iterator[str]:
    """Delays of a mode that no grid has which they count for."""
    below = [other for other in site.grid if name in site.path(other)]
    if any(site.nearest(other, "solar") == "solar_only" for other in below):
        return
    for key in ("solar_start_s", "solar_stop_s"):
        if getattr(grid, key) is not None:
            yield (
                f'[grid.{name}] {key}: is for solar = "solar_only", and no grid here is set so; it counts for'
                " cards and sessions with that mode alone."
            )


def battery_remarks(site: Site) -> Iterator[str]:
    """A target that nothing of the file holds."""
    for name, battery in site.battery.items():
        segments = [segment for schedule in battery.schedule for segment in schedule.segment]
        shaves = "peak_shaving" in {battery.strategy, *(segment.word() for segment in segments)}
        if battery.target_w is not None and not shaves:
            yield (
                f"[battery.{name}] target_w: is for peak shaving, and neither strategy nor schedule says so;"
                " it counts only when somebody outside does."
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
