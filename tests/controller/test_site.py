"""What is wrong in a site file is one sentence: file, table, key, and how to mend it."""

import pytest

from controller import site
from controller.outage import fallback_faults
from controller.site import SiteError

GOOD = """
name = "Harbour garage"
timezone = "Europe/Amsterdam"

[grid.main]
id = 0
max_current_a = [100, 100, 100]
worst_load_a = [30, 30, 30]

[grid.level_1]
id = 1
fed_by = "main"
rotation = "L2 L3 L1"
max_current_a = 63
chargepoints_only = true

[meter.main]
grid = "main"
role = "guard"
on_failure = { safe_current_a = 16 }

[chargepoint.bay_01]
identity = "NL-HG-0001"
fed_by = "level_1"
lease_s = 300
connector = [{ number = 1, max_current_a = 32 }]

[chargepoint.bay_02]
identity = "NL-HG-0002"
fed_by = "level_1"
connector = [{ number = 1, max_current_a = 32, rotation = "L1 L2 L3" }]
"""
LOOP = "".join(
    f"[grid.{name}]\nid = {number}\nfed_by = '{feeder}'\nmax_current_a = 9\nchargepoints_only = true\n"
    for name, number, feeder in (("a", 5, "b"), ("b", 6, "a"), ("c", 7, "a"))
)
TOWER = "".join(
    f"[grid.g{n}]\nid = {n}\nfed_by = '{f'g{n - 1}' if n > 2 else 'main'}'\nmax_current_a = 9\n"
    "chargepoints_only = true\n"
    for n in range(2, 10)
)
SECOND_GUARD = '[meter.second]\ngrid = "main"\nrole = "guard"\n'

# what the editor of the file did: text before, text after, what is said
WRONG = {
    "a loop in fed_by": (
        "id = 0",
        'id = 0\nfed_by = "level_1"',
        "[grid.main] fed_by: the grids feed each other in a loop (main -> level_1 -> main); break it.",
    ),
    "a loop beside the tree, with a grid hanging on it": (
        "[meter.main]",
        LOOP + "[meter.main]",
        "[grid.a] fed_by: the grids feed each other in a loop (a -> b -> a); break it.",
    ),
    "two connections": (
        'fed_by = "main"\n',
        "",
        (
            "[grid] only one grid is the connection, but main and level_1 have no fed_by;"
            " say what feeds the others."
        ),
    ),
    "a grid fed by nothing": (
        'fed_by = "main"',
        'fed_by = "mian"',
        '[grid.level_1] fed_by: there is no grid "mian"; did you mean "main"?',
    ),
    "a tree too deep": (
        "[meter.main]",
        TOWER + "[meter.main]",
        "[grid.g9] is more than 8 levels deep; flatten the tree.",
    ),
    "a meter on no grid": (
        'grid = "main"',
        'grid = "level_2"',
        '[meter.main] grid: there is no grid "level_2"; did you mean "level_1"?',
    ),
    "a chargepoint on no grid": (
        'fed_by = "level_1"',
        'fed_by = "roof"',
        '[chargepoint.bay_01] fed_by: there is no grid "roof"; add it or mend the name.',
    ),
    "a grid that nobody measures": (
        "chargepoints_only = true\n",
        "",
        (
            "[grid.level_1] has no meter: add uncontrolled_a (the most its other loads take, per phase)"
            " or chargepoints_only = true."
        ),
    ),
    "two guards": (
        "[chargepoint.bay_01]",
        SECOND_GUARD + "[chargepoint.bay_01]",
        '[meter.second] role: grid "main" already has the guard "main"; keep one.',
    ),
    "a meter that excludes what it does not feed": (
        'role = "guard"',
        'role = "guard"\nexcludes = ["main"]',
        '[meter.main] excludes: "main" is not a grid fed by "main"; take it out.',
    ),
    "what boxes do alone does not fit a fuse": (
        "[30, 30, 30]",
        "[30, 70, 30]",
        (
            "[grid.main] if the controller dies now, L2 may reach 102 A on a 100 A fuse (worst load 70 A,"
            " chargepoints alone 32 A): lower fallback_a and set lease_s, or declare"
            ' accept_unsafe_fallback = "reason, name".'
        ),
    ),
    "a phase named twice by a grid": (
        '"L2 L3 L1"',
        '"L2 L2 L1"',
        (
            '[grid.level_1] rotation: rotation "L2 L2 L1" names phase L2 twice; every phase must occur once'
            " (it is 'L2 L2 L1')."
        ),
    ),
    "a phase named twice by a connector": (
        '"L1 L2 L3"',
        '"RRT"',
        (
            '[chargepoint.bay_02.connector 1] rotation: rotation "RRT" names phase R twice; every phase must'
            " occur once (it is 'RRT')."
        ),
    ),
    "a rotation of two phases": (
        '"L2 L3 L1"',
        '"L2 L3"',
        (
            '[grid.level_1] rotation: rotation "L2 L3" is not three phases; write it like "L2 L3 L1" or "STR"'
            " (it is 'L2 L3')."
        ),
    ),
    "a rotation that is no text": (
        '"L2 L3 L1"',
        "[1, 1, 2]",
        '[grid.level_1] rotation: a rotation is text; write it like "L2 L3 L1" or "STR" (it is [1, 1, 2]).',
    ),
    "a key misspelt at the top": (
        "timezone",
        "timezoen",
        'timezoen: there is no such key; did you mean "timezone"?',
    ),
    "a table misspelt": (
        "[meter.main]",
        "[metre.main]",
        'metre: there is no such key; did you mean "meter"?',
    ),
    "a key misspelt in a grid": (
        "chargepoints_only",
        "chargepoint_only",
        '[grid.level_1] chargepoint_only: there is no such key; did you mean "chargepoints_only"?',
    ),
    "a key misspelt that had to be there": (
        'role = "guard"',
        'rol = "guard"',
        '[meter.main] rol: there is no such key; did you mean "role"?',
    ),
    "a key misspelt inside on_failure": (
        "safe_current_a",
        "safe_curent_a",
        '[meter.main.on_failure] safe_curent_a: there is no such key; did you mean "safe_current_a"?',
    ),
    "a key misspelt inside a connector": (
        'rotation = "L1 L2 L3"',
        'rotatoin = "L1 L2 L3"',
        '[chargepoint.bay_02.connector 1] rotatoin: there is no such key; did you mean "rotation"?',
    ),
    "a key misspelt in a chargepoint": (
        'identity = "NL-HG-0001"',
        'identiy = "NL-HG-0001"',
        '[chargepoint.bay_01] identiy: there is no such key; did you mean "identity"?',
    ),
    "a key like no other": (
        "name =",
        'colour = "red"\nname =',
        "colour: there is no such key; remove it or check its spelling.",
    ),
    "a fuse left out": ("max_current_a = 63\n", "", "[grid.level_1] max_current_a: is missing; add it."),
    "a connector without number": (
        "number = 1, ",
        "",
        "[chargepoint.bay_01.connector 1] number: is missing; add it.",
    ),
    "a name left out": ('name = "Harbour garage"\n', "", "name: is missing; add it."),
    "a grid number used twice": (
        "id = 1",
        "id = 0",
        "[grid.level_1] id: 0 is also that of [grid.main]; give it its own.",
    ),
    "an identity used twice": (
        "NL-HG-0002",
        "NL-HG-0001",
        "[chargepoint.bay_02] identity: 'NL-HG-0001' is also that of [chargepoint.bay_01]; give it its own.",
    ),
    "a connector number used twice": (
        "[{ number = 1, max_current_a = 32 }]",
        "[{ number = 1, max_current_a = 32 }, { number = 1, max_current_a = 16 }]",
        "[chargepoint.bay_01] connector: a connector number occurs twice; number them 1, 2, 3.",
    ),
    "a minimum above the maximum": (
        "max_current_a = 32 }",
        "max_current_a = 32, min_current_a = 40 }",
        (
            "[chargepoint.bay_01] connector 1: min_current_a 40 is above max_current_a 32;"
            " lower the one or raise the other."
        ),
    ),
    "a fallback above the rating": (
        "lease_s = 300",
        "lease_s = 300\nfallback_a = 40",
        "[chargepoint.bay_01] fallback_a: 40 is above max_current_a 32 of connector 1; lower it.",
    ),
    "a fallback that no car can follow": (
        "lease_s = 300",
        "lease_s = 300\nfallback_a = 3",
        (
            "[chargepoint.bay_01] fallback_a: 3 is below min_current_a 6 of connector 1, which no car can"
            " follow; give 0 or at least that."
        ),
    ),
    "an outlet that cannot charge": (
        "max_current_a = 32 }",
        "max_current_a = 0.5 }",
        (
            "[chargepoint.bay_01.connector 1] max_current_a: 0.5 A cannot charge a car; give the rating of"
            " the outlet (it is 0.5)."
        ),
    ),
    "a chargepoint without outlet": (
        "[{ number = 1, max_current_a = 32 }]",
        "[]",
        "[chargepoint.bay_01] connector: is empty; add at least one (it is []).",
    ),
    "a connector that is no list": (
        "[{ number = 1, max_current_a = 32 }]",
        "7",
        "[chargepoint.bay_01] connector: input should be a list in square brackets (it is 7).",
    ),
    "NaN": (
        "max_current_a = 63",
        "max_current_a = nan",
        "[grid.level_1] max_current_a: input should be a finite number (it is nan).",
    ),
    "an endless fuse": (
        "max_current_a = 63",
        "max_current_a = inf",
        "[grid.level_1] max_current_a: input should be a finite number (it is inf).",
    ),
    "a negative fuse": (
        "max_current_a = 63",
        "max_current_a = [63, -63, 63]",
        "[grid.level_1] max_current_a: input should be greater than or equal to 0 (it is -63).",
    ),
    "a fuse of two phases": (
        "max_current_a = 63",
        "max_current_a = [63, 63]",
        "[grid.level_1] max_current_a: give one number for all phases or three, for L1, L2 and L3.",
    ),
    "a truth value for a current": (
        "max_current_a = 63",
        "max_current_a = true",
        "[grid.level_1] max_current_a: input should be a valid number (it is True).",
    ),
    "text for a number": (
        "id = 1",
        'id = "1"',
        "[grid.level_1] id: input should be a valid integer (it is '1').",
    ),
    "a number for a table": (
        "[grid.level_1]",
        "[grid]\nroof = 5\n[grid.level_1]",
        "[grid] roof: input should be a table (it is 5).",
    ),
    "a word that is no role": (
        '"guard"',
        '"gaurd"',
        "[meter.main] role: input should be 'guard' or 'consumer' (it is 'gaurd').",
    ),
    "a word that is no failure rule": (
        "{ safe_current_a = 16 }",
        '"panik"',
        "[meter.main] on_failure: should be \"panic\" or like { safe_current_a = 16 } (it is 'panik').",
    ),
    "a time zone that does not exist": (
        "Europe/Amsterdam",
        "Europe/Amsterdm",
        "timezone: there is no such time zone; did you mean \"Europe/Amsterdam\"? (it is 'Europe/Amsterdm').",
    ),
    "a time zone that is a path": (
        "Europe/Amsterdam",
        "../../etc",
        "timezone: there is no such time zone; write it like \"Europe/Amsterdam\" (it is '../../etc').",
    ),
    "a bracket left open": (
        "[grid.main]",
        "[grid.main",
        "this is not TOML: Expected ']' at the end of a table declaration (at line 5, column 11)",
    ),
}


def test_the_good_file_is_good():
    assert site.parse(GOOD, "site.toml").path("level_1") == ("level_1", "main")


@pytest.mark.parametrize(("before", "after", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_told_in_one_sentence(before, after, said):
    assert before in GOOD
    with pytest.raises(SiteError) as caught:
        site.parse(GOOD.replace(before, after, 1), "site.toml")
    assert caught.value.lines == [f"site.toml: {said}"]


def test_several_mistakes_are_told_together():
    text = GOOD.replace("id = 1", 'id = "1"').replace('"guard"', '"gaurd"').replace("[100, 100, 100]", "nan")
    with pytest.raises(SiteError) as caught:
        site.parse(text, "site.toml")
    assert len(caught.value.lines) == 3


def test_an_unsafe_fallback_passes_when_somebody_answers_for_it():
    unsafe = GOOD.replace("[30, 30, 30]", "[30, 70, 30]")
    site.parse('accept_unsafe_fallback = "load shed by relay, J. Smit"\n' + unsafe, "site.toml")


def test_a_box_without_lease_counts_with_its_rating_and_one_with_lease_with_its_fallback():
    drawn = site.parse(GOOD.replace("[30, 30, 30]", "[68, 68, 68]"), "site.toml")  # 68 + 32 + 0 = 100
    tighter = drawn.model_copy(
        update={
            "grid": drawn.grid | {"main": drawn.grid["main"].model_copy(update={"worst_load_a": (69,) * 3})}
        }
    )
    assert list(fallback_faults(drawn)) == []
    assert len(list(fallback_faults(tighter))) == 1


def test_a_confirmed_one_phase_outlet_counts_on_its_own_phase_alone():
    one_phase = 'max_current_a = 32, phases = 1, rotation_confirmed_by = "test"'
    text = GOOD.replace("max_current_a = 32", one_phase).replace("lease_s = 300\n", "")
    text = text.replace("= 63", "= 80").replace(
        "[30, 30, 30]", "[68, 36, 68]"
    )  # its own L1 is L2 of the site: 36 + 32 + 32
    assert site.parse(text, "site.toml")
    with pytest.raises(SiteError, match="L2 may reach 101 A"):
        site.parse(text.replace("[68, 36, 68]", "[68, 37, 68]"), "site.toml")
