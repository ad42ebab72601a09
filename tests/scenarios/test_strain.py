"""What wires and fuses bear, as expectations: each holds in the library, and breaks where a site is worse."""

from pathlib import Path

import pytest

from controller.site import SiteError
from scenarios.run import run
from scenarios.scenario import Scenario, load
from scenarios.strain import Strained

LIBRARY = Path(__file__).parents[2] / "scenarios" / "library"

WORSE = {
    "neutral_a": ("bad_neutral", {}, {"row": {"max_current_a": 80}}, {}),
    "lowest_v": ("bad_neutral", {"cable": {"row": {"r_ohm": 0.2}}}, {}, {}),
    "wire_loss_kwh": ("bad_neutral", {"cable": {"row": {"r_ohm": 0.2}}}, {}, {}),
    "transformer_percent": ("weak_supply", {}, {"main": {"max_current_a": 100}}, {}),
    "fuse_used_percent": ("warm_breaker", {"meters": {"delay_s": 25, "poll_s": 25}}, {}, {"delay_s": 60}),
}
"""Figure -> the story that bounds it, and what makes the site worse: conditions, grids, the guard meter."""


def worse(name, conditions, grids, meter):
    """The story of the library with other conditions and ratings."""
    story = load(LIBRARY / f"{name}.toml")
    tables = story.model_dump(mode="json", by_alias=True, exclude_unset=True)
    tables["conditions"] = tables.get("conditions", {}) | conditions
    for grid, values in grids.items():
        tables["site"]["grid"][grid] |= values
    tables["site"]["meter"]["main"] |= meter
    return Scenario.model_validate(tables).read_from(story.source)


@pytest.mark.parametrize("name", ["bad_neutral", "weak_supply", "warm_breaker"])
def test_a_story_about_wires_and_fuses_ends_as_it_must(name):
    result = run(load(LIBRARY / f"{name}.toml"))
    assert [verdict for verdict in result.verdicts if verdict.holds is not True] == []


@pytest.mark.parametrize("figure", WORSE)
def test_the_expectation_breaks_where_the_site_is_worse(figure):
    result = run(worse(*WORSE[figure]))
    broken = [verdict.expected for verdict in result.verdicts if verdict.holds is False]
    assert any(expected.startswith(f"{figure} ") for expected in broken), broken
    assert not result.passed


def test_every_figure_of_strain_is_bounded_by_a_story_that_can_fail():
    assert set(WORSE) == set(Strained.names())


def test_the_load_of_a_transformer_that_is_not_there_cannot_be_expected(tmp_path):
    path = tmp_path / "story.toml"
    text = (LIBRARY / "bad_neutral.toml").read_text().replace("neutral_a =", "transformer_percent =")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SiteError, match=r"\[expect\] transformer_percent: there is no transformer; give"):
        load(path)
