"""What `make bench-peers` compares with: one judge for all, and cases that every simulator can express."""

import sys

import pytest

from tests.bench.peers.__main__ import disagreements, faults
from tests.bench.peers.case import day_of_200, week, week_on_one_phase
from tests.bench.peers.environment import Environment, Missing, Peer
from tests.bench.peers.judge import judge

TOLD = {
    "name": "two cars",
    "tick_s": 120,
    "ticks": 3,
    "supply_v": 230,
    "stations": [
        {"name": "one phase", "max_a": 16.0, "lines": [1]},
        {"name": "three phases", "max_a": 16.0, "lines": [2, 0, 1]},
    ],
    "grids": [{"name": "main", "feeder": -1, "limit_a": [20.0, 20.0, 20.0], "stations": [0, 1]}],
    "sessions": [
        {"key": "a", "station": 0, "from_tick": 0, "to_tick": 2, "energy_wh": 1000.0},
        {"key": "b", "station": 1, "from_tick": 1, "to_tick": 3, "energy_wh": 184.0},
    ],
}
ONE_W, THREE_W = 16 * 230.0, 16 * 690.0


def ran(*power_w):
    return {"tick_s": 60, "ticks": 6, "cpu_s": 0.0012, "power_w": power_w}


def test_the_judge_counts_energy_shares_speed_and_amperes_by_phase():
    # Alone car a could take 16 A for four minutes; b needs one minute at 16 A on three phases.
    found = judge(TOLD, ran((ONE_W, 0), (ONE_W, 0), (0, THREE_W), (0, 0), (0, 0), (0, 0)))
    assert found.us_per_station_tick == pytest.approx(100)
    assert found.energy_kwh == pytest.approx((2 * ONE_W + THREE_W) / 60 / 1000)
    assert found.served_percent == pytest.approx(100 * (2 * ONE_W + THREE_W) / (4 * ONE_W + THREE_W))
    assert found.p10_share_percent == pytest.approx(55)  # shares 0.5 and 1
    assert found.jain_index == pytest.approx(1.5**2 / (2 * 1.25))
    assert (found.peak_over_a, found.over_minutes) == (0, 0)


def test_power_below_the_limit_of_all_phases_is_over_the_fuse_of_one():
    found = judge(TOLD, ran((0, 0), (0, 0), (ONE_W, THREE_W), (ONE_W, THREE_W), (0, 0), (0, 0)))
    assert ONE_W + THREE_W < 3 * 20 * 230 + 1500
    assert found.peak_over_a == pytest.approx(12)  # 16 + 16 A on L2, on a fuse of 20 A
    assert found.over_minutes == 2


@pytest.mark.parametrize("make", [week, week_on_one_phase, day_of_200])
def test_cases_can_be_expressed_by_every_simulator(make):
    case = make()
    told = case.told
    assert len(told["sessions"]) == len(case.story.sessions) > 250
    last = {}
    for session, own in zip(told["sessions"], case.story.sessions, strict=True):
        station = told["stations"][session["station"]]
        free = last.get(session["station"], 0) + 1  # an empty tick between two
        assert session["from_tick"] >= free
        assert session["from_tick"] + 2 <= session["to_tick"] <= told["ticks"]
        last[session["station"]] = session["to_tick"]
        assert len(station["lines"]) == own.car.phases
        assert own.plug_in_ms == session["from_tick"] * told["tick_s"] * 1000
    assert sum(grid["feeder"] < 0 for grid in told["grids"]) == 1


def outcomes(*kwh):
    session = {"key": "a", "station": 0, "from_tick": 0, "to_tick": 3, "energy_wh": 1e6}
    told = TOLD | {"sessions": [session]}
    return [judge(told, ran(*[(one * 1000 / 6 * 60, 0)] * 6)) for one in kwh]


def test_another_energy_and_another_order_of_algorithms_are_told():
    assert disagreements(outcomes(9, 6, 5), outcomes(9.05, 7, 4)) == []
    assert disagreements(outcomes(9, 6, 5), outcomes(9.1, 7, 4)) == [
        "Uncontrolled, our energy is +1.11 % off that of acnportal; 1 % is allowed."
    ]
    (sentence,) = disagreements(outcomes(9, 5, 6), outcomes(9, 6, 5))
    assert sentence.startswith("By energy acnportal ranks uncontrolled, round robin, least laxity; we rank ")


def test_a_peer_that_cannot_be_installed_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    nobody = Peer("Nobody 1.0", "with_nobody.py", ("edge-peer-that-nobody-has==1.0",), ("any",))
    with pytest.raises(Missing) as reason:
        Environment(nobody, tmp_path)
    (sentence,) = faults([reason.value])
    assert sentence.startswith("Nobody 1.0 cannot be installed from PyPI here and is left out: ")
    assert "\n" not in sentence
    assert sys.executable not in sentence
