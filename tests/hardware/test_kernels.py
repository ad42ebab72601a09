"""Compiled and interpreted are one controller; a disk that keeps no kernels only makes it slower."""

import os
import subprocess
import sys
from pathlib import Path

import controller.cycle
from controller.cycle import calculate
from controller.decision import first_memory
from controller.topology import compile_site
from hardware.kernels import interpreted
from tests.hardware.test_journal import Garage, same, site_of

ROOT = Path(__file__).parents[2]


def test_the_interpreted_copy_decides_the_same_and_calls_no_compiled_kernel():
    topology = compile_site(site_of(3, 2))
    plain = interpreted(calculate)
    garage, memory = Garage(topology), first_memory(topology, proven=True)
    before = list(getattr(controller.cycle._run, "signatures", []))
    thought = []
    for second in range(1, 90):
        image = garage.look(1000 * second, memory.connectors["target_ma"], memory.connectors["order_seq"])
        decision, after = plain(topology, image, memory)
        thought.append((image, memory, decision, after))
        memory = after
    assert list(getattr(controller.cycle._run, "signatures", [])) == before
    assert memory.connectors["target_ma"].max() > 6_000
    for image, memory, decision, after in thought:
        again, after_again = calculate(topology, image, memory)
        assert same(again, decision)
        assert same(after_again, after)


PROGRAM = """
import sys
from pathlib import Path
from hardware.kernels import keep_in
print(keep_in(Path(sys.argv[1])))
import numba, os
print(numba.config.DISABLE_JIT, numba.config.CACHE_DIR)
"""


def kept_in(store):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(store)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_kernels_are_kept_in_a_folder_of_this_edition_and_those_of_others_go(tmp_path):
    (tmp_path / "kernels" / "of-another-edition").mkdir(parents=True)
    sentence, settings = kept_in(tmp_path)
    (folder,) = (tmp_path / "kernels").iterdir()
    assert sentence == ""
    assert settings == f"0 {folder}"
    assert kept_in(tmp_path) == ["", f"0 {folder}"]


def test_where_no_kernels_can_be_kept_the_controller_is_interpreted_and_says_so(tmp_path):
    (tmp_path / "kernels").write_text("in the way")
    sentence, settings = kept_in(tmp_path)
    assert "cannot keep compiled kernels" in sentence
    assert "runs interpreted" in sentence
    assert settings.split()[0] == "1"
