"""A simulated run behind the same contract as a site."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from controller.site import SiteError
from hardware.api import create_app
from scenarios import serve
from scenarios.scenario import load, prepare
from scenarios.serve import Stage
from tests.hardware.serving import serving

DEMO = Path(serve.__file__).parent / "library" / "demo.toml"
MINUTES = 60_000


@pytest.fixture(name="story", scope="module")
def _story():
    return replace(prepare(load(DEMO)), length_ms=20 * MINUTES)


def until(found, seconds=110):  # the first run of all compiles the kernels
    deadline = time.monotonic() + seconds
    while not (seen := found()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return seen


@pytest.fixture(name="over", scope="module")
def _over(story):
    """A run that went as fast as it goes, and is over."""
    stage = Stage(story, speed=None)
    stage.open()
    until(lambda: stage.view.snapshot().state == "ended")
    yield stage
    stage.close()


def test_a_run_ends_with_its_last_cycle_on_show(over, story):
    live = over.view.snapshot()
    assert live.sentence.startswith("The run is over. ")
    assert (live.at - story.start_utc).total_seconds() == story.length_ms / 1000
    assert live.charging > 0
    assert over.view.plate().world == "simulated"
    assert over.view.plate().scenario == story.name
    assert over.view.plate().speed is None


def test_every_current_is_explained_and_within_its_limit(over):
    live = over.view.snapshot()
    plates = {plate.name: plate for plate in over.view.plate().connectors}
    for connector in live.connectors:
        assert connector.sentence
        assert connector.gets_a <= plates[connector.name].max_a
    for grid in live.grids:
        assert all(phase.booked_a <= phase.limit_a for phase in grid.phases)


def test_the_hour_of_a_run_that_jumps_has_no_gap_in_its_values(over):
    history = over.view.history("main")
    assert len(history.at) > 20
    assert all(value is not None for line in history.measured_a for value in line[1:])


def test_sessions_are_those_of_the_drivers_newest_first(over, story):
    with serving(create_app(over.view, sessions=over.sessions)) as address:
        rows = httpx2.get(f"{address}/api/v1/sessions").json()
    came = [one for one in story.sessions if one.plug_in_ms < story.length_ms]
    assert 0 < len(rows) <= len(came)
    assert [row["began"] for row in rows] == sorted((row["began"] for row in rows), reverse=True)
    assert sum(row["energy_wh"] for row in rows) > 1000


def test_the_same_seed_shows_the_same_cycle_again(over):
    before = over.view.snapshot().model_dump(exclude={"age_s"})
    assert over.restart().endswith("begins again.")
    until(lambda: over.view.snapshot().state != "ended")
    until(lambda: over.view.snapshot().state == "ended")
    assert over.view.snapshot().model_dump(exclude={"age_s"}) == before


def test_a_paced_run_keeps_to_its_speed_and_can_be_started_again(story):
    stage = Stage(story, speed=120.0)
    stage.open()
    try:
        began_s = time.monotonic()
        until(lambda: stage.view.snapshot().cycle >= 120)
        assert 0.9 <= time.monotonic() - began_s < 20  # a minute of the world is half a second, or more
        assert stage.view.plate().speed == 120.0
        stage.restart()
        assert until(lambda: stage.view.snapshot().cycle < 100)
    finally:
        stage.close()


def test_a_speed_or_a_port_that_cannot_be_is_one_sentence():
    with pytest.raises(SiteError, match="--speed -1: give"):
        serve.main(DEMO, speed=-1.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SiteError, match=f"--port {port}: 127.0.0.1:{port} cannot be listened on"):
            serve.main(DEMO, port=port)


def test_the_process_serves_until_it_is_told_to_end():
    code = f"from pathlib import Path; from scenarios import serve; serve.main(Path({str(DEMO)!r}), port=0)"
    root = DEMO.parent.parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        said = process.stderr.readline()
        address = said.split("EDGE_API=")[1].split()[0]
        until(lambda: httpx2.get(f"{address}/api/v1/health").status_code == 200)
        assert httpx2.get(f"{address}/api/v1/site").json()["speed"] == 60.0
    finally:
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=20)[1]
    assert "Traceback" not in rest, rest
