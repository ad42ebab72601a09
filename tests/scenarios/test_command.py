"""The `edge-twin` command as a user meets it: a process, its words and its exit code."""

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORY = """
name = "Two cars"
start = 2026-05-12T08:00:00
length_s = "0:20"
sessions = { kind = "csv", file = "cars.csv" }
conditions = {}

[site]
name = "Yard"
timezone = "Europe/Amsterdam"
grid.main = { id = 0, max_current_a = 40 }
meter.main = { grid = "main", role = "guard" }

[site.chargepoint.bay]
identity = "YARD-1"
fed_by = "main"
lease_s = 300
connector = [{ number = 1, max_current_a = 32 }, { number = 2, max_current_a = 32 }]

[expect]
own_as = { at_most = 0 }
fuse_trips = { at_most = 0 }
"""
CARS = """connector,plug_in,plug_out,energy_kwh,phases,max_current_a
bay/1,2026-05-12T08:01:00,2026-05-12T08:18:00,20,3,32
bay/2,2026-05-12T08:03:00,2026-05-12T09:30:00,20,3,16
"""


pytestmark = pytest.mark.timeout(300)  # the first process of a fresh clone compiles the kernels


def edge_twin(*arguments, timeout=280):
    command = [sys.executable, "-m", "scenarios", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


@pytest.fixture
def story(tmp_path):
    (tmp_path / "cars.csv").write_text(CARS)
    path = tmp_path / "yard.toml"
    path.write_text(STORY)
    return path


def test_help_names_every_command_and_imports_no_kernel_and_no_pandas():
    code = (
        "import sys, scenarios.__main__\n"
        "heavy = {'numba', 'numpy', 'pandas', 'mesa', 'simpy', 'scipy', 'rich', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    said = edge_twin("--help")
    assert said.returncode == 0
    for command in ("run", "demo", "serve", "emulate", "size", "regress", "replay"):
        assert f" {command} " in said.stdout


def test_the_version_is_that_of_the_package():
    assert edge_twin("--version").stdout == f"edge-twin {version('edge-twin')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["siz"], "edge-twin: No such command 'siz'. Did you mean 'size'?"),
        (["regress", "--cout", "3"], "edge-twin: No such option: --cout (Possible options: --count)"),
        (["regress", "--count", "0"], "edge-twin: Invalid value for '--count'"),
        (["size"], "edge-twin: Missing argument 'STUDY.toml'."),
        (["run", "nowhere.toml"], "nowhere.toml: cannot be read: No such file or directory"),
        (["size", "nowhere.toml"], "nowhere.toml: there is no such file; check the path."),
        (["replay", "nowhere.rec"], "nowhere.rec: is no recording that can be read"),
        (["replay", "README.md"], "README.md: is no recording that can be read"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_exit_code_2(arguments, said):
    done = edge_twin(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_run_prints_its_figures_and_a_recording_replays_to_the_last_bit(story, tmp_path):
    kept = tmp_path / "yard.rec"
    done = edge_twin("run", story, "--record", kept, "--bound")
    assert done.returncode == 0, done.stderr
    assert "own-caused" in done.stdout
    assert "Perfect foresight could have served" in done.stdout
    again = edge_twin("replay", kept)
    assert again.returncode == 0, again.stderr
    assert "every bit the same" in again.stdout
    later = edge_twin("replay", kept, "--from", 1)
    assert later.returncode == 0
    too_late = edge_twin("replay", kept, "--from", 99)
    assert too_late.returncode == 2
    assert "--from 99: the checkpoints are 0 to" in too_late.stderr


def test_a_broken_expectation_is_exit_code_1(story):
    story.write_text(STORY + "served_of_possible_percent = { at_least = 100.5 }\n")
    done = edge_twin("run", story)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout


def test_mode_and_seed_of_the_call_replace_those_of_the_file(story):
    done = edge_twin("run", story, "--mode", "minute", "--seed", 41)
    assert "minute mode, seed 41" in done.stdout


def test_a_recording_that_could_not_be_written_is_refused_before_the_run(story, tmp_path):
    done = edge_twin("run", story, "--record", tmp_path / "none" / "x.rec")
    assert done.returncode == 2
    assert "the folder does not exist" in done.stderr


def test_ctrl_c_ends_a_farm_with_130_and_what_was_finished():
    process = subprocess.Popen(
        [sys.executable, "-m", "scenarios", "regress", "--count", "5000", "--jobs", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(12)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Stopped after" in stdout
    assert "Traceback" not in stdout + stderr


def test_one_seed_is_explained_with_everything_it_did():
    done = edge_twin("regress", "--only-seed", 3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Seed 3: 4 grids, 9 connectors" in done.stdout
    assert "Every rule was kept." in done.stdout
