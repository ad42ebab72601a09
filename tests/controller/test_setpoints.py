"""What a battery is told: by its schedule, from outside, by a stop; who is heard first, and for how long."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from controller.calendar import milliseconds
from controller.defaults import NEVER, UNLIMITED_MA
from controller.external import ExternalLimit, Instruction, Place, Stop, dimmable, instruction_faults
from controller.image import Source, blank_image
from controller.instructions import in_force, narrowed
from controller.sentences import sentences
from controller.setpoints import Setpoint
from controller.site import SiteError, build
from controller.topology import MANUAL, PEAK_SHAVING, SELF_CONSUMPTION, STANDBY, compile_site
from tests.controller.told import garage

CELLAR, SHED, ROOF = Place("battery", "cellar"), Place("battery", "shed"), Place("inverter", "roof")
AT_NIGHT = {"begin": "23:00", "end": "05:00", "power_kw": 6.9}
AT_TEA_TIME = {"begin": "17:00", "end": "20:00", "strategy": "peak_shaving", "target_kw": 23}
NOBODY = (0, 0, 0, UNLIMITED_MA)


def site(*segments, **schedule):
    device = {"capacity_wh": 20_000, "max_charge_w": 13_800, "max_discharge_w": 13_800}
    return build(
        {
            "name": "House",
            "accept_unsafe_fallback": "test, tester",
            "timezone": "Europe/Amsterdam",
            "grid": {
                "main": {"id": 0, "max_current_a": 63, "uncontrolled_a": 0, "worst_load_a": 0},
                "annex": {"id": 1, "fed_by": "main", "max_current_a": 40, "chargepoints_only": True},
            },
            "battery": {
                "cellar": device
                | {"fed_by": "main", "strategy": "self_consumption"}
                | ({"schedule": [{"segment": list(segments)} | schedule]} if segments else {}),
                "shed": device | {"fed_by": "annex", "phases": 1},
            },
            "inverter": {"roof": {"fed_by": "annex", "max_power_w": 5_000}},
        },
        "house",
    )


PLAIN = site()
DAILY = site(AT_NIGHT, AT_TEA_TIME)


def at(wall, zone_h=2):
    """UTC in ms of a clock in Amsterdam in June 2026."""
    day, clock = wall.split()
    hours, minutes = map(int, clock.split(":"))
    then = datetime(2026, 6, int(day), tzinfo=UTC) + timedelta(hours=hours - zone_h, minutes=minutes)
    return milliseconds(then)


def told(place=CELLAR, until_ms=NEVER, **what):
    return Instruction(place, Setpoint.model_validate({"ttl_s": 60} | what), until_ms)


def found(drawn, *instructions, utc_ms=0, trusted=True, now_ms=1000):
    book = {f"{n}": one for n, one in enumerate(instructions)}
    return in_force(drawn, compile_site(drawn), book, now_ms, utc_ms or at("3 12:00"), utc_trusted=trusted)


def orders(rows):
    """Strategy, set-point in A per phase, its source, import to hold in mA, of the battery in the cellar."""
    row = rows.batteries[0]
    amps = int(row["setpoint_ma"]) / 1000
    return (int(row["strategy"]), amps, int(row["setpoint_source"]), int(row["target_ma"]))


@pytest.mark.parametrize(
    ("wall", "order"),
    [
        ("3 16:59", NOBODY),
        ("3 17:00", (PEAK_SHAVING, 0, Source.TIME_OF_USE, 100_000)),
        ("3 19:59", (PEAK_SHAVING, 0, Source.TIME_OF_USE, 100_000)),
        ("3 20:00", NOBODY),
        ("3 23:00", (MANUAL, 10, Source.TIME_OF_USE, UNLIMITED_MA)),
        ("4 04:59", (MANUAL, 10, Source.TIME_OF_USE, UNLIMITED_MA)),
        ("4 05:00", NOBODY),
    ],
)
def test_a_schedule_says_what_the_battery_does_in_its_spans_and_nothing_between_them(wall, order):
    assert orders(found(DAILY, utc_ms=at(wall))) == order


def test_a_schedule_is_looked_at_again_when_its_next_span_begins_or_ends():
    assert found(DAILY, utc_ms=at("3 16:00")).next_ms == 1000 + 3_600_000
    assert found(DAILY, utc_ms=at("3 19:30")).next_ms == 1000 + 1_800_000


def test_nobody_follows_a_schedule_while_nobody_knows_what_time_it_is():
    assert orders(found(DAILY, utc_ms=at("3 23:30"), trusted=False)) == NOBODY


def test_a_schedule_that_is_switched_off_says_nothing():
    assert orders(found(site(AT_NIGHT, enabled=False), utc_ms=at("3 23:30"))) == NOBODY


@pytest.mark.parametrize(
    ("what", "order"),
    [
        ({"power_kw": 6.9}, (MANUAL, 10, Source.API, UNLIMITED_MA)),
        ({"power_kw": -6.9}, (MANUAL, -10, Source.API, UNLIMITED_MA)),
        ({"power_kw": 0.0}, (MANUAL, 0, Source.API, UNLIMITED_MA)),
        ({"strategy": "standby"}, (STANDBY, 0, Source.API, UNLIMITED_MA)),
        ({"strategy": "self_consumption"}, (SELF_CONSUMPTION, 0, Source.API, UNLIMITED_MA)),
        ({"strategy": "peak_shaving", "target_kw": 46}, (PEAK_SHAVING, 0, Source.API, 200_000)),
    ],
)
def test_what_is_told_from_outside_goes_before_the_schedule(what, order):
    assert orders(found(DAILY, told(**what), utc_ms=at("3 23:30"))) == order


def test_what_is_told_ends_with_its_time_and_the_schedule_goes_on():
    by_hand = told(power_kw=-6.9, until_ms=5_000)
    alive = found(DAILY, by_hand, utc_ms=at("3 23:30"), now_ms=4_999)
    assert orders(alive)[1] == -10
    assert alive.next_ms == 5_000
    assert orders(found(DAILY, by_hand, utc_ms=at("3 23:30"), now_ms=5_000))[1] == 10


def test_a_set_point_is_shared_by_the_phases_of_its_battery():
    rows = found(PLAIN, told(SHED, power_kw=2.3))
    assert rows.batteries["setpoint_ma"].tolist() == [0, 10_000]


@pytest.mark.parametrize(
    ("place", "batteries", "inverters"),
    [
        (Place("grid", "main"), [1, 1], [1]),
        (Place("grid", "annex"), [0, 1], [1]),
        (SHED, [0, 1], [0]),
        (ROOF, [0, 0], [1]),
    ],
)
def test_a_stop_reaches_every_battery_and_inverter_at_or_under_its_place(place, batteries, inverters):
    rows = found(PLAIN, Instruction(place, Stop(reason="emergency_stop")))
    stop = int(Source.EMERGENCY_STOP)
    assert rows.batteries["stop"].tolist() == [stop * one for one in batteries]
    assert rows.inverters["stop"].tolist() == [stop * one for one in inverters]


def test_a_stop_of_a_battery_leaves_a_chargepoint_of_the_same_name_alone():
    drawn = garage()
    namesake = Place("battery", next(iter(drawn.chargepoint)))
    assert not found(drawn, Instruction(namesake, Stop(reason="maintenance"))).caps["stop"].any()


def test_the_image_of_a_box_carries_the_orders():
    live = blank_image(compile_site(PLAIN))
    image = narrowed(live, found(PLAIN, told(power_kw=6.9), Instruction(ROOF, Stop(reason="maintenance"))))
    assert image.batteries["setpoint_ma"].tolist() == [10_000, 0]
    assert image.batteries["soc"].tolist() == live.batteries["soc"].tolist()
    assert image.inverters["stop"].tolist() == [Source.MAINTENANCE]


# -- what is wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({}, "give power_kw, 0 for nothing, or a strategy other than manual"),
        ({"strategy": "manual"}, "give power_kw, 0 for nothing, or a strategy other than manual"),
        (
            {"strategy": "standby", "power_kw": 1},
            'power_kw is for the strategy "manual"; leave it or "standby" out',
        ),
        (
            {"power_kw": 1, "target_kw": 3},
            'target_kw is for the strategy "peak_shaving"; name it beside target_kw',
        ),
    ],
)
def test_an_order_that_contradicts_itself_is_refused_in_one_sentence(what, said):
    with pytest.raises(ValidationError) as refused:
        Setpoint.model_validate({"ttl_s": 60} | what)
    (sentence,) = sentences("told", refused.value, Setpoint)
    assert said in sentence


def test_a_schedule_that_says_nothing_in_a_span_names_the_battery_and_the_segment():
    with pytest.raises(SiteError) as refused:
        site({"begin": "01:00", "end": "02:00"})
    assert "[battery.cellar.schedule 1] segment: give power_kw" in str(refused.value)


@pytest.mark.parametrize(
    ("place", "what", "said"),
    [
        (
            Place("grid", "main"),
            Setpoint(power_kw=1, ttl_s=60),
            "a set-point is for a battery; give the grid a limit or a stop.",
        ),
        (
            CELLAR,
            ExternalLimit(limit_a=(1, 1, 1), ttl_s=60),
            "limits are for grids, chargepoints and connectors; this is for a battery.",
        ),
        (
            Place("battery", "celar"),
            Setpoint(power_kw=1, ttl_s=60),
            'there is no battery "celar"; did you mean "cellar"?',
        ),
    ],
)
def test_an_instruction_for_the_wrong_place_is_refused(place, what, said):
    assert list(instruction_faults(PLAIN, place, what)) == [said]


@pytest.mark.parametrize(("charge_w", "devices"), [(4_200.0, 0), (4_300.0, 1)])
def test_batteries_that_charge_with_more_than_4_2_kw_count_for_section_14a_too(charge_w, devices):
    tables = PLAIN.model_dump()
    tables["battery"]["cellar"]["max_charge_w"] = charge_w
    tables["battery"]["shed"]["max_charge_w"] = 1_000.0
    assert dimmable(build(tables, "house"), "main") == devices
    assert dimmable(build(tables, "house"), "annex") == 0
