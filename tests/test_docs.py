"""The documents say what the code says: constants, keys of the files, commands, and tests that exist."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from controller import defaults
from controller.calendar import DayAhead, Segment, TimeOfUse
from controller.charging_profile import ChargingProfile, ChargingSchedule, SchedulePeriod
from controller.decision import Alarm, Because, Note, StorageBecause
from controller.external import ExternalLimit, Input, ProfileSet, Stop
from controller.image import Source, Status
from controller.setpoints import BatterySchedule, BatterySegment, Setpoint
from controller.site import Battery, Chargepoint, Connector, Grid, Inverter, Meter, SafeCurrent, Site
from hardware.links import BoxTable, DigitalInput, Listen, MeterLink, ModbusListen, SecurityTable, StorageLink
from hardware.points import SHAPES
from hardware.registers import Quantity, RegisterMap
from hardware.storage_maps import Scaled, StorageMap, storage_map_names
from hardware.storage_maps import Told as Written
from scenarios.emulate.passes import Security
from scenarios.figures import Figures
from scenarios.scenario import Bound, During, FromFile, Generated, LoadProfile, Production, Scenario, Wishes
from scenarios.size import Building, Study, StudyChargepoint
from scenarios.strain import Strained
from twin import conditions, faults
from twin.cards import CardTerms
from twin.habits import Habit
from twin.outside import Told
from twin.sources import Motor
from twin.sun import Sun

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
CODE = [
    path
    for name in ("controller", "twin", "hardware", "scenarios", "dashboards", "tests")
    for path in sorted((ROOT / name).rglob("*.py"))
]


@cache
def text(name):
    return (ROOT / "docs" / name).read_text("utf-8")


@cache
def chapter(name, title):
    """The text from this heading, its number left out, to the next heading."""
    lines = text(name).splitlines()
    starts = [n for n, line in enumerate(lines) if re.sub(r"^#+ (\d+\. )?", "", line) == title != line]
    assert len(starts) == 1, f"docs/{name} has {len(starts)} headings {title}"
    body = lines[starts[0] + 1 :]
    ends = [n for n, line in enumerate(body) if re.match("#+ ", line)]
    return "\n".join(body[: ends[0]] if ends else body)


def rows(body):
    """First cell (without backticks) -> the other cells, of every table in a text."""
    found = {}
    for line in body.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found[cells[0].strip("`")] = cells[1:]
    return found


def as_toml(default):
    """A default as somebody would write it in a file."""
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str | Path):
        return f'"{default}"'
    if isinstance(default, int | float):
        return f"{default:g}"
    if isinstance(default, Listen):
        return f"{default.host}:{default.port}"
    if isinstance(default, tuple | list):
        return f"[{', '.join(map(as_toml, default))}]" if default else "[]"
    return "a table"


def default_of(field):
    return as_toml(field.default_factory() if field.default_factory else field.default)


# -- control.md -----------------------------------------------------------------------------------------


def test_every_timer_and_threshold_stands_in_the_table_with_its_value():
    told = {
        name: -(2**62) if value == "-2^62" else int(value)
        for name, (value, *_) in rows(chapter("control.md", "Every timer and threshold")).items()
    }
    real = {name: value for name, value in vars(defaults).items() if name.isupper()}
    assert told == real


def test_every_section_that_the_code_cites_exists():
    sections = set(re.findall(r"^## (\d+)\. ", text("control.md"), re.MULTILINE))
    cited = set()
    for path in CODE:
        source = path.read_text("utf-8")
        for numbers in re.findall(r"\[C ([\d, ]+)\]|docs/control\.md (\d[\d, -]*)", source):
            cited |= set(re.findall(r"\d+", "".join(numbers)))
    assert cited
    assert cited <= sections


# -- tables of files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "title", "model"),
    [
        ("site-file.md", "The site", Site),
        ("site-file.md", "`[grid.NAME]`", Grid),
        ("site-file.md", "`[meter.NAME]`", Meter),
        ("site-file.md", "`on_failure`", SafeCurrent),
        ("site-file.md", "`link` of a meter", MeterLink),
        ("site-file.md", "`[chargepoint.NAME]`", Chargepoint),
        ("site-file.md", "`connector`", Connector),
        ("site-file.md", "`[battery.NAME]`", Battery),
        ("site-file.md", "`[inverter.NAME]`", Inverter),
        ("site-file.md", "`link` of a battery or an inverter", StorageLink),
        ("architecture.md", "Keys of a storage map", StorageMap),
        ("architecture.md", "Quantities of a storage map", Scaled),
        ("architecture.md", "`write` of a storage map", Written),
        ("site-file.md", "`[box]`", BoxTable),
        ("site-file.md", "`ocpp` and `api`", Listen),
        ("site-file.md", "`[box.security]`", SecurityTable),
        ("site-file.md", "`[box.modbus.NAME]`", ModbusListen),
        ("site-file.md", "`[box.digital_input.NAME]`", DigitalInput),
        ("architecture.md", "Keys of a register map", RegisterMap),
        ("architecture.md", "Quantities of a register map", Quantity),
        ("instructions.md", "`[[grid.NAME.time_of_use]]`", TimeOfUse),
        ("instructions.md", "`segment`", Segment),
        ("instructions.md", "`[[grid.NAME.profile]]`", ProfileSet),
        ("instructions.md", "`profile`", ChargingProfile),
        ("instructions.md", "`chargingSchedule`", ChargingSchedule),
        ("instructions.md", "`chargingSchedulePeriod`", SchedulePeriod),
        ("instructions.md", "An external limit", ExternalLimit),
        ("instructions.md", "`[[grid.NAME.input]]`", Input),
        ("instructions.md", "A day-ahead series", DayAhead),
        ("instructions.md", "`[[battery.NAME.schedule]]`", BatterySchedule),
        ("instructions.md", "`segment` of a battery", BatterySegment),
        ("instructions.md", "A set-point", Setpoint),
        ("instructions.md", "A stop", Stop),
        ("scenarios.md", "The scenario", Scenario),
        ("scenarios.md", "Sessions from a file", FromFile),
        ("scenarios.md", "Generated drivers", Generated),
        ("drivers.md", "Habits", Habit),
        ("scenarios.md", "`wishes`", Wishes),
        ("scenarios.md", "`[[load]]`", LoadProfile),
        ("scenarios.md", "`[[production]]`", Production),
        ("scenarios.md", "`[[motor]]`", Motor),
        ("scenarios.md", "`[[sun]]`", Sun),
        ("scenarios.md", "`[expect]`", Bound),
        ("scenarios.md", "`[[during]]`", During),
        ("scenarios.md", "`[[instruction]]`", Told),
        ("scenarios.md", "`[security]`", Security),
        ("scenarios.md", "`[conditions]`", conditions.Conditions),
        ("scenarios.md", "`[conditions.meters]`", conditions.MeterLink),
        ("scenarios.md", "`[conditions.links]`", conditions.ChargepointLink),
        ("scenarios.md", "`[conditions.cable.NAME]`", conditions.Cable),
        ("scenarios.md", "`[conditions.transformer]`", conditions.Transformer),
        ("scenarios.md", "`[conditions.pauses]`", conditions.Pauses),
        ("scenarios.md", "`[conditions.sleepers]`", conditions.Sleepers),
        ("scenarios.md", "`[conditions.card.NUMBER]`", CardTerms),
        ("scenarios.md", "The study", Study),
        ("scenarios.md", "`[chargepoint]` of a study", StudyChargepoint),
        ("scenarios.md", "`[building]`", Building),
    ],
)
def test_every_key_is_documented_with_its_default(document, title, model):
    told = {name: cells[1].strip("`") for name, cells in rows(chapter(document, title)).items()}
    real = {field.alias or name: default_of(field) for name, field in model.model_fields.items()}
    assert told == real


def test_every_kind_of_fault_is_documented_with_the_keys_it_needs():
    told = {
        kind: set(re.findall(r"`(\w+)`", cells[0]))
        for kind, cells in rows(chapter("scenarios.md", "Kinds of faults")).items()
    }
    common = set(faults._Fault.model_fields) | {"kind"}
    every = faults.Fault.__origin__.__args__
    real = {
        kind: set(fault.model_fields) - common
        for fault in every
        for kind in fault.model_fields["kind"].annotation.__args__
    }
    assert told == real
    assert common == set(rows(chapter("scenarios.md", "Spans of a fault"))) | {"kind"}


def test_every_figure_that_an_expectation_may_bound_is_named():
    assert set(rows(chapter("scenarios.md", "Names of figures"))) == {*Figures.names(), *Strained.names()}


def test_every_register_map_is_named():
    maps = {path.stem for path in (ROOT / "hardware" / "maps").glob("*.toml")}
    assert set(rows(chapter("site-file.md", "Register maps"))) == maps


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.title)
def test_every_register_is_documented_with_its_place(shape):
    told = rows(chapter("modbus.md", f"Block {shape.type}: {shape.title}"))
    real, at = {}, 2
    for point in shape.points:
        real[point.name] = [f"+{at}", point.kind, point.unit, "yes" if point.writes else "", point.says]
        at += point.size
    assert told == real
    assert f"{shape.length + 2} registers" in chapter("modbus.md", f"Block {shape.type}: {shape.title}")


def test_the_numbers_that_registers_say_are_those_of_the_controller():
    kinds = {
        "status": Status,
        "allowed_by": Source,
        "reason of a connector": Because,
        "reason of a battery, an inverter": StorageBecause,
        "alarms": Alarm,
        "notes": Note,
    }
    real = {
        name: [
            ", ".join(
                f"{int(one)} {one.name.lower().replace('_', ' ')}" for one in kind if one.name != "NONE"
            )
        ]
        for name, kind in kinds.items()
    }
    assert rows(chapter("modbus.md", "Numbers")) == real


def test_every_storage_map_is_named():
    assert set(rows(chapter("site-file.md", "Storage maps"))) == set(storage_map_names())


# -- commands -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "document"), [("edge", "operations.md"), ("edge-twin", "scenarios.md")])
def test_every_command_and_option_is_documented(name, document):
    from hardware.__main__ import app as edge
    from scenarios.__main__ import app as twin

    told = rows(chapter(document, "Commands"))
    app = edge if name == "edge" else twin
    for command in app.registered_commands:
        assert command.callback is not None
        word = command.name or command.callback.__name__
        line = next((cell for cell in told if f"{cell} ".startswith(f"{name} {word} ")), None)
        assert line, f"docs/{document} does not tell of {name} {word}"
        for parameter in inspect.signature(command.callback, eval_str=True).parameters.values():
            declared = getattr(parameter.annotation, "__metadata__", ())[0]
            if type(declared).__name__ == "OptionInfo":
                spelt = [declared.default, *(declared.param_decls or ())]
                given = (word for word in spelt if isinstance(word, str) and word.startswith("--"))
                option = next(given, "--" + parameter.name.replace("_", "-"))
                assert option in line + told[line][0], f"docs/{document}: {name} {word} has {option}"


# -- what the documents point at ------------------------------------------------------------------------


def test_every_path_that_a_document_names_exists():
    path = re.compile(r"`((?:controller|twin|hardware|scenarios|dashboards|tests|docs)/[\w./-]*)`")
    missing = [
        f"{document.name}: {name}"
        for document in DOCS
        for name in path.findall(document.read_text("utf-8"))
        if not (ROOT / name).exists()
    ]
    assert not missing, "\n" + "\n".join(missing)


def test_every_link_between_documents_leads_somewhere():
    for document in DOCS:
        for target in re.findall(r"\]\(([\w./-]+\.md)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@cache
def functions_of(path):
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_the_rulebook_names_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text("rulebook.md"))
    assert len(named) > 100
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).exists() or name not in functions_of(path)
    ]
    assert not missing, "\n" + "\n".join(missing)


def test_every_line_of_the_rulebook_names_a_test_or_says_that_there_is_none():
    lines = [line for line in text("rulebook.md").splitlines() if line.startswith("| ")]
    silent = [
        line
        for line in lines
        if not re.match(r"\| (rule|line|bug) \|", line) and "::test_" not in line and "no test" not in line
    ]
    assert lines
    assert not silent, "\n" + "\n".join(silent)


# -- faults.md ------------------------------------------------------------------------------------------

CATALOGUE = {"M": 24, "O": 38, "E": 19, "G": 14, "P": 12, "B": 15, "S": 20}


def catalogue():
    """Id -> what happens, what plays it, what shows it."""
    lines = [line for line in text("faults.md").splitlines() if line.startswith("| `")]
    table = rows("\n".join(lines))
    assert len(table) == len(lines), "docs/faults.md has an id twice"
    return table


def test_every_fault_of_the_catalogue_has_its_line():
    known = {f"{letter}{number:02d}" for letter, count in CATALOGUE.items() for number in range(1, count + 1)}
    assert known <= set(catalogue())


def test_what_plays_a_fault_exists():
    kinds = {
        kind
        for fault in faults.Fault.__origin__.__args__
        for kind in fault.model_fields["kind"].annotation.__args__
    }
    told = {word for cells in catalogue().values() for word in re.findall(r"`(\w+)`", cells[-2])}
    assert kinds <= told, kinds - told
    others = set(Scenario.model_fields) | set(conditions.Conditions.model_fields) | set(Figures.names())
    others |= {key for model in (Site, Meter, Chargepoint, Battery, Inverter) for key in model.model_fields}
    others |= {key for fault in faults.Fault.__origin__.__args__ for key in fault.model_fields}
    assert told <= kinds | others, told - kinds - others


def test_what_shows_a_fault_exists_or_it_is_said_that_there_is_nothing():
    from tests.scenarios.test_faults import ROWS

    ids = {row.id for row in ROWS}
    shown = set()
    for name, cells in catalogue().items():
        played = set(re.findall(r"\brow ([\w+-]+(?: (?:meter|readings)\b)?)", cells[-1]))
        tests = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", cells[-1])
        assert played <= ids, f"{name}: {played - ids}"
        missing = [f"{path}::{test}" for path, test in tests if test not in functions_of(path)]
        assert not missing, f"{name}: {missing}"
        said = re.search(r"not: |no test|every row|bay 2|^as `", cells[-1])
        assert played or tests or said, f"{name} has nothing that shows it"
        shown |= played
    assert shown == ids
