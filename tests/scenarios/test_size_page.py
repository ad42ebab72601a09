"""The customer's report, from plain figures."""

import re
from html.parser import HTMLParser

import pytest

from scenarios.drawing import THIN, PhaseDay, nice_steps
from scenarios.size_page import Design, Findings, Outcome, WorstDay, choice, page

VOID = {"meta"}


def outcome(fuse_a, chargepoints, percent, seed=1, **others):
    asked = 100_000.0
    values = {
        "cars": 10,
        "turned_away": 0,
        "fully_charged": 9,
        "asked_wh": asked,
        "served_wh": asked * percent / 100,
        "bound_wh": asked,
        "shares": (1.0,) * 9 + (0.5,),
        "waits_s": (12.0,) * 10,
        "quarter_a": (40.0,) * 96,
        "peak_a": 60.0,
    } | others
    return Outcome(Design(fuse_a, chargepoints), seed, **values)


def findings(*outcomes, **others):
    values = {
        "name": "Harbour <office> & quay",
        "wanted_percent": 95.0,
        "span": "5 days",
        "outcomes": outcomes,
        "uncontrolled_a": (),
        "worst_day": None,
        "assumptions": (("Cars", "30 drivers"),),
        "version": "edge-twin 0.1.0",
        "command": "edge-twin size harbour.toml -o report.html",
        "study_text": 'name = "Harbour"',
    } | others
    return Findings(**values)


def day(**others):
    phase = PhaseDay([20.0] * 24, [50.0] * 24, [75.0] * 24, 80.0)
    values = {
        "date": "Wednesday 4 March 2026",
        "seed": 3,
        "first_hour": 0.0,
        "bin_h": 1.0,
        "phases": (phase, phase, phase),
        "own_as": 0.0,
        "disturbance_as": 0.0,
        "lie_as": 0.0,
        "longest_over_s": 0.0,
        "most_over_a": 0.0,
        "trips": 0,
        "minute_wh": 300_000.0,
        "true_wh": 299_000.0,
    } | others
    return WorstDay(**values)


def words(html):
    """What a reader sees, spaces made plain."""
    html = re.sub(r"<(style|svg).*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html).replace(THIN, " "))


class Balance(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.wrong = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_smallest_connection_that_serves_enough_with_every_seed_is_recommended():
    told = findings(
        outcome(63, 12, 70), outcome(80, 12, 94), outcome(80, 12, 99, seed=2),
        outcome(100, 12, 96), outcome(100, 12, 98, seed=2), outcome(160, 12, 100),
    )  # fmt: skip
    assert choice(told) == Design(100, 12)


def test_of_two_numbers_of_chargepoints_the_smaller_one_that_is_enough():
    told = findings(outcome(80, 12, 90), outcome(80, 18, 96), outcome(80, 24, 97), outcome(100, 12, 99))
    assert choice(told) == Design(80, 18)


def test_the_answer_comes_first_and_says_how_sure_it_is():
    html = page(findings(outcome(63, 12, 80), outcome(80, 12, 97.2), outcome(80, 12, 98.6, seed=2)))
    seen = words(html)
    assert (
        "A 3 × 80 A connection with 12 chargepoints serves 97.9 % of the energy that drivers ask for." in seen
    )
    assert "Over 2 simulated runs of 5 days it was between 97.2 % and 98.6 %" in seen
    assert "One step smaller, 3 × 63 A, would serve 80.0 %." in seen


def test_when_no_design_is_enough_the_answer_says_so():
    seen = words(page(findings(outcome(63, 12, 60), outcome(80, 12, 71))))
    assert "None of these designs serves 95 % of the energy that drivers ask for" in seen
    assert "a 3 × 80 A connection with 12 chargepoints comes closest with 71.0 %" in seen
    assert "recommended" not in seen


def test_the_connection_that_control_saves_is_said_only_when_it_saves_one():
    runs = [outcome(80, 12, 99)]
    assert "saves 64 A of connection" in words(page(findings(*runs, uncontrolled_a=((12, 144.0),))))
    assert "saves" not in words(page(findings(*runs, uncontrolled_a=((12, 60.0),))))


def test_a_little_less_than_everything_is_never_called_everything():
    seen = words(page(findings(outcome(80, 12, 99.94))))
    assert "serves 99.9 % of the energy" in seen


def test_cars_that_were_turned_away_show_per_day_and_as_nothing_got():
    shares = (1.0,) * 8 + (0.0, 0.0)
    seen = words(page(findings(outcome(80, 12, 96, turned_away=2, shares=shares))))
    assert re.search(r"20\.0 % get nothing", seen)
    assert re.search(r"80\.0 % leave with all they asked for", seen)
    assert re.search(r"3 × 80 A recommended 12 96\.0 % 96\.0–96\.0 % 90\.0 % 0\.0 % 2\.0 1 min 100 %", seen)


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({}, "No fuse was ever exceeded."),
        (
            {"disturbance_as": 40.0, "most_over_a": 3.4, "longest_over_s": 7.0},
            "by at most 3.4 A and for at most 7 s",
        ),
        ({"own_as": 12.0, "most_over_a": 1.0}, "The controller itself caused 12 A·s above a fuse"),
        ({"trips": 1, "most_over_a": 50.0}, "A fuse would have tripped (1 trip): do not build this design."),
    ],
)  # fmt: skip
def test_the_worst_day_says_plainly_what_happened_to_the_fuse(figures, said):
    seen = words(page(findings(outcome(80, 12, 99), worst_day=day(**figures))))
    assert said in seen
    assert "highest current was 75.0 A" in seen
    assert "300.0 kWh (+0.33 %)" in seen


def test_without_a_worst_day_nothing_is_said_about_fuses_being_kept():
    assert "exceeded" not in words(page(findings(outcome(80, 12, 99))))


def test_the_page_needs_nothing_from_anywhere():
    html = page(findings(outcome(80, 12, 99), outcome(100, 12, 100), worst_day=day()))
    assert not re.search(r"https?://|<script|<link|<img|@import|url\(", html)
    assert len(html) < 200_000


def test_the_page_is_well_formed_and_what_a_user_wrote_is_text():
    html = page(findings(outcome(80, 12, 99), worst_day=day(), study_text="<script>alert(1)</script>"))
    balance = Balance()
    balance.feed(html)
    assert (balance.wrong, balance.open) == ([], [])
    assert "Harbour &lt;office&gt; &amp; quay" in html
    assert "<script" not in html


def test_the_page_says_how_to_do_it_again_and_what_is_not_modelled():
    seen = words(page(findings(outcome(80, 12, 99, seed=4), outcome(80, 12, 99, seed=9))))
    assert "Seeds 4, 9" in seen
    assert "Version edge-twin 0.1.0" in seen
    assert "edge-twin size harbour.toml -o report.html" in seen
    assert "Not modelled, and what it would change" in seen
    assert "Simulated with the production controller. Nothing here was measured at this site." in seen


@pytest.mark.parametrize("top", [0.0, 0.4, 3, 17, 99.9, 100, 101, 640, 4000])
def test_axes_end_at_a_round_number_not_far_above_the_highest_value(top):
    steps = nice_steps(top)
    assert steps[0] == 0
    assert steps[-1] >= top
    assert len(steps) <= 8
    assert top < 1 or steps[-1] <= 2 * top
