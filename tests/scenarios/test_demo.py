"""`make demo` as a visitor meets it: it comes up, it ends when told to, and leaves nobody behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controller.site import parse
from hardware.links import outside_loopback, read_links
from scenarios import demo
from scenarios.scenario import load, prepare

pytestmark = pytest.mark.timeout(240)


class Shown:
    """The demo as a process, with its children."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "scenarios", "demo", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def children(self):
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(pid): Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in found}

    def child(self, word):
        """The process of this package, once it is there; the dashboard turns into Streamlit with our page."""
        for _ in range(300):
            for pid, command in self.children().items():
                if any(word in part.split("/") for part in command):
                    return pid
            time.sleep(0.1)
        raise AssertionError(f"no {word} among {self.children()}")

    def until(self, text):
        for line in self.process.stdout:
            if text in line:
                return line
        raise AssertionError(f"it ended without saying {text!r}: {self.process.stderr.read()}")

    def ended(self):
        said, complaint = self.process.communicate(timeout=60)
        return self.process.returncode, said, complaint

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def runs(pid):
    return Path(f"/proc/{pid}").exists()


def test_the_demo_tells_its_address_and_ends_cleanly_on_ctrl_c():
    with Shown() as shown:
        pids = [shown.child("hardware"), shown.child("dashboards")]
        address = re.search(r"http://127\.0\.0\.1:\d+", shown.until("Open http")).group()
        assert address
        os.killpg(shown.process.pid, signal.SIGINT)
        code, said, complaint = shown.ended()
    assert (code, complaint) == (0, "")
    assert re.search(r"kWh into \d+ cars", said)
    assert re.search(r"main +\d+\.\d \(100\)", said)
    assert not any(runs(pid) for pid in pids)


def test_the_demo_ends_by_itself_after_the_seconds_it_was_given():
    with Shown("--seconds", "15") as shown:
        began = time.monotonic()
        code, said, complaint = shown.ended()
    assert (code, complaint) == (0, "")
    assert time.monotonic() - began < 60
    served, cars, written = re.search(r"([\d.]+) kWh into (\d+) cars.*?(\d+) limits", said).groups()
    assert int(cars) >= 3
    assert float(served) > 0
    assert int(written) >= 12


def test_a_child_that_dies_ends_the_demo_with_its_last_words():
    with Shown() as shown:
        dashboard, controller = shown.child("dashboards"), shown.child("hardware")
        shown.until("12 chargepoints")
        time.sleep(3)
        os.kill(controller, signal.SIGKILL)
        code, said, complaint = shown.ended()
    assert code == 1
    assert complaint.startswith("The controller has ended with exit code -9. Its last words:\n")
    assert "kWh" not in said
    assert not runs(dashboard)


def test_the_site_file_of_the_demo_says_the_same_as_the_drawing_and_stays_on_this_machine():
    story = prepare(load(demo.STORY))
    moved = demo._moved(story, demo._free_ports(story.site))
    read = parse(demo._site_text(moved.site), "demo")
    assert read == moved.site
    assert not list(outside_loopback(read_links(read, "demo")))
    assert read.grid == story.site.grid
    assert 10 <= len(list(read.connectors())) <= 14


def test_the_first_car_comes_within_seconds():
    story = prepare(load(demo.STORY))
    assert min(session.plug_in_ms for session in story.sessions) <= 3_000 * demo.SPEED
