"""Generated stories: valid, varied, and the same from the same number."""

from collections import Counter

import numpy as np
import pytest

from controller import site as sites
from controller.topology import CONSUMER, GUARD, NO_METER, compile_site
from scenarios import generate, generate_storage

LENGTH_S = 1800.0
SEEDS = range(1, 121)


@pytest.fixture(scope="module")
def drawn():
    return {seed: generate.draw_site(seed) for seed in SEEDS}


def test_every_drawn_site_is_valid_and_compiles(drawn):
    for site in drawn.values():
        again = sites.build(site.model_dump(exclude_none=True, by_alias=True), site.name)
        assert again == site
        compile_site(again)


def test_the_same_number_draws_the_same_story_and_another_number_another(drawn):
    def story(seed):
        told = generate.draw_story(seed)
        return told.site, told.sessions, told.loads, told.conditions

    assert story(7) == story(7)
    assert all(one != other for one, other in zip(story(1), story(12), strict=True))


def test_the_stories_cover_what_a_site_can_be(drawn):
    topologies = [compile_site(site) for site in drawn.values()]
    levels = {int(t.connectors["depth"].max()) for t in topologies}
    kinds = Counter(int(kind) for t in topologies for kind in t.grids["kind"])
    rows = np.concatenate([t.connectors for t in topologies])
    assert levels >= {1, 2, 3, 4}
    assert max(len(site.path(grid)) for site in drawn.values() for grid in site.grid) == 5
    assert set(kinds) == {GUARD, CONSUMER, NO_METER}
    assert min(len(t.connectors) for t in topologies) <= 5
    assert max(len(t.connectors) for t in topologies) >= 55
    assert 0.2 < rows["confirmed"].mean() < 0.8
    assert {c.phases for site in drawn.values() for _, _, c in site.connectors()} == {1, 3}
    assert {bool(site.accept_unsafe_fallback) for site in drawn.values()} == {True, False}
    assert (rows["lease_ms"] > 0).any()
    assert (rows["fallback_ma"] > 0).any()


def test_some_sites_have_batteries_and_inverters_with_every_setting_that_safety_hangs_on(drawn):
    sites = [site for site in drawn.values() if site.battery]
    assert 0.3 < len(sites) / len(drawn) < 0.6
    batteries = [battery for site in sites for battery in site.battery.values()]
    inverters = [inverter for site in sites for inverter in site.inverter.values()]
    for field in ("counts_for_fuse", "feeds_cars", "grid_charging"):
        assert {getattr(battery, field) for battery in batteries} == {False, True}
    assert {battery.strategy for battery in batteries} == set(generate_storage.STRATEGIES)
    assert any(battery.fallback_w for battery in batteries)
    assert {inverter.curtailable for inverter in inverters} == {False, True}
    grids = [grid for site in sites for grid in site.grid.values()]
    assert any(grid.max_export_a for grid in grids)
    assert any(grid.max_export_w == 0 for grid in grids)
    kinds = {
        fault.kind
        for seed, site in drawn.items()
        for fault in generate.draw_conditions(seed, site, LENGTH_S).faults
    }
    assert kinds >= {"battery_dies", "battery_silent", "battery_fights", "soc_lost", "inverter_dies", "cloud"}


def test_the_conditions_cover_every_fault_and_name_only_what_the_site_has(drawn):
    kinds: Counter[str] = Counter()
    for seed, site in drawn.items():
        conditions = generate.draw_conditions(seed, site, LENGTH_S)
        assert list(conditions.complaints(site)) == []
        kinds.update(fault.kind for fault in conditions.faults)
        kinds["pauses"] += conditions.pauses is not None
        kinds["loss"] += conditions.links.loss > 0
        kinds["unproven"] += not conditions.proven
    assert min(
        kinds[kind]
        for kind in (
            "chargepoint_offline",
            "ignores_lowerings",
            "refuses_limits",
            "answers_late",
            "meter_silent",
            "meter_nan",
            "load_step",
            "pauses",
            "loss",
            "unproven",
        )
    ) > 5  # fmt: skip


def test_declared_loads_bound_the_true_ones(drawn):
    """Else a grid without a meter could be over its fuse without anybody having done anything wrong."""
    for seed, site in drawn.items():
        most_a = generate.own_loads_a(site)
        reached = dict.fromkeys(most_a, 0.0)
        for load in generate.draw_loads(seed, site, LENGTH_S):
            reached[load.grid] += load.peak_w * max(load.profile.values) * max(load.split) / 230
        for fault in generate.draw_conditions(seed, site, LENGTH_S).faults:
            if fault.kind == "load_step":
                reached[fault.grid] += max(fault.current_a)
        assert all(reached[name] <= most_a[name] + 0.1 for name in most_a)
        unmetered = [n for n, g in site.grid.items() if g.uncontrolled_a is not None or g.chargepoints_only]
        assert all(reached[n] <= max(site.grid[n].uncontrolled_a or (0,)) + 0.1 for n in unmetered)


def test_the_delay_of_every_meter_is_within_what_its_site_file_declares(drawn):
    for seed, site in drawn.items():
        true = generate.draw_conditions(seed, site, LENGTH_S).meters
        assert all(true.delay_s + true.poll_s <= meter.delay_s for meter in site.meter.values())


def test_a_confirmed_rotation_is_never_a_wrong_one(drawn):
    for seed, site in drawn.items():
        turned = generate.draw_conditions(seed, site, LENGTH_S).wiring
        confirmed = {f"{n}/{c.number}" for n, _, c in site.connectors() if c.rotation_confirmed_by}
        assert not confirmed & set(turned)


def test_cars_at_one_connector_come_one_after_the_other(drawn):
    for seed, site in drawn.items():
        busy_until: dict[int, int] = {}
        for session in generate.draw_sessions(seed, site, LENGTH_S):
            assert session.plug_in_ms > busy_until.get(session.connector, -1)
            assert session.plug_out_ms > session.plug_in_ms
            busy_until[session.connector] = session.plug_out_ms
