"""What holds of limits from outside whatever is told: random instructions, clocks and days."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.calendar import milliseconds
from controller.defaults import NEVER, UNLIMITED_MA
from controller.external import Instruction, Place, Stop
from tests.controller.test_calendar import WEEKENDS_OFF, absolute
from tests.controller.told import (
    BAY,
    DOUBLE,
    EVENINGS,
    HOUR_MS,
    LEVEL,
    MAIN,
    WEDNESDAY,
    allowed,
    api,
    compiled,
    garage,
    no_wider,
    non_firm,
    profile,
    rows,
)

AMPS = st.integers(0, 120)
GRIDS, OUTLETS = (
    st.sampled_from([MAIN, LEVEL]),
    st.sampled_from([BAY, DOUBLE, Place("connector", "double/2")]),
)


@st.composite
def limits(draw):
    place = draw(st.one_of(GRIDS, OUTLETS))
    keys = {
        "limit_a": draw(st.one_of(AMPS, st.tuples(AMPS, AMPS, AMPS).map(list))),
        "source": draw(st.sampled_from(["api", "modbus", "digital_input", "grid_operator"])),
    }
    if draw(st.booleans()):
        keys["limit_kw"] = draw(st.integers(0, 80))
    if draw(st.booleans()):
        keys["fallback_a"] = draw(AMPS)
    kinds = [{}, {"soft_limit": True}, {"keep_6a": True}, {"regulated_only": True}]
    kinds.append({"regulated_only": True, "keep_6a": True})
    if place.kind == "grid":
        kinds.append({"export_limit": True})
    keys |= draw(st.sampled_from(kinds))
    until_ms = draw(st.sampled_from([NEVER, 900, 1001, 5_000, 100_000, 2 * HOUR_MS]))
    return api(place, until_ms, draw(st.booleans()), **keys)


@st.composite
def profiles(draw):
    place = draw(st.one_of(GRIDS, OUTLETS))
    times = draw(st.lists(st.integers(1, 86_399), max_size=3, unique=True).map(sorted))
    periods = [(start, draw(AMPS)) for start in [0, *times]]
    document = absolute(periods, startSchedule=f"2026-06-0{draw(st.integers(2, 4))}T05:00:00")
    if draw(st.booleans()):
        document |= {
            "chargingProfileKind": "Recurring",
            "recurrencyKind": draw(st.sampled_from(["Daily", "Weekly"])),
        }
    terms = draw(st.sampled_from([{}, {"soft_limit": True}, {"keep_6a": True}, {"regulated_only": True}]))
    return profile(document, place, **terms)


STOPS = st.builds(
    Instruction,
    st.one_of(GRIDS, OUTLETS),
    st.builds(Stop, reason=st.sampled_from(["maintenance", "emergency_stop"])),
)
INSTRUCTIONS = st.one_of(limits(), profiles(), STOPS)
AROUND = st.one_of(
    st.just(WEDNESDAY),
    *(
        st.integers(0, 48).map(lambda halves, day=day: day + halves * 1_800_000)
        for day in (
            milliseconds(datetime(2026, 3, 28, 23, tzinfo=UTC)),
            milliseconds(datetime(2026, 10, 24, 22, tzinfo=UTC)),
        )
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(INSTRUCTIONS, max_size=5), INSTRUCTIONS, st.booleans(), AROUND)
def test_one_instruction_more_never_widens_anything(told, more, trusted, utc_ms):
    before = rows(told, EVENINGS, utc_ms=utc_ms, trusted=trusted)
    after = rows([*told, more], EVENINGS, utc_ms=utc_ms, trusted=trusted)
    assert no_wider(allowed(after), allowed(before))


@settings(max_examples=300, deadline=None)
@given(st.lists(INSTRUCTIONS, max_size=6), st.booleans(), AROUND)
def test_nothing_is_ever_above_the_fuse_or_the_outlet(told, trusted, utc_ms):
    found, topology = rows(told, EVENINGS, utc_ms=utc_ms, trusted=trusted), compiled(EVENINGS)
    for kind in ("hard", "soft", "charging", "export"):
        phases, fuses = found.grids[f"{kind}_ma"], topology.grids["limit_ma"]
        assert ((phases < fuses) | (phases == UNLIMITED_MA)).all()
        totals = found.grids[f"{kind}_sum_ma"]
        assert ((totals < fuses.sum(axis=1)) | (totals == UNLIMITED_MA)).all()
    assert (found.caps["wish_ma"] <= topology.connectors["max_ma"]).all()
    assert (found.caps["wish_ma"] >= 0).all()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(INSTRUCTIONS, max_size=5),
    st.booleans(),
    AROUND,
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_until_the_next_change_every_instant_gives_the_same_rows(told, trusted, utc_ms, shares):
    found = rows(told, EVENINGS, utc_ms=utc_ms, trusted=trusted)
    assert found.next_ms > 1000
    ahead_ms = min(found.next_ms, 1000 + 3 * 86_400_000) - 1000
    for later_ms in [int(share * (ahead_ms - 1)) for share in shares] + [ahead_ms - 1]:
        then = rows(told, EVENINGS, now_ms=1000 + later_ms, utc_ms=utc_ms + later_ms, trusted=trusted)
        assert then.grids.tobytes() == found.grids.tobytes()
        assert then.caps.tobytes() == found.caps.tobytes()


@settings(max_examples=100, deadline=None)
@given(st.lists(limits(), max_size=5))
def test_a_limit_that_expires_without_fallback_leaves_no_trace(told):
    late_ms = 3 * HOUR_MS
    kept = [one for one in told if one.until_ms == NEVER or one.what.fallback_a is not None]
    one, other = rows(told, now_ms=late_ms), rows(kept, now_ms=late_ms)
    assert (one.grids.tobytes(), one.caps.tobytes()) == (other.grids.tobytes(), other.caps.tobytes())


@pytest.mark.parametrize(
    "clock", ["2026-06-03T10:00", "2026-06-06T10:00", "2026-03-29T00:59", "2031-01-01T00:00"]
)
def test_no_trusted_clock_is_narrower_than_none(clock):
    """Whatever a clock may say: what holds without any is at least as tight."""
    site = garage(
        main=[{"segment": [{"begin": "07:00", "end": "19:00", "limit_a": 20}], "days": ["sat"]}],
        profiles=[{"profile": WEEKENDS_OFF}],
    )
    told = [non_firm("2026-06-03T09:00Z", [50.0, 23.0])]
    utc_ms = milliseconds(datetime.fromisoformat(clock).replace(tzinfo=UTC))
    trusted = rows(told, site, utc_ms=utc_ms)
    blind = rows(told, site, utc_ms=utc_ms, trusted=False)
    assert no_wider(allowed(blind), allowed(trusted))
