"""The dashboard as a person sees it: real API, real Streamlit server, real Chromium."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from hardware.api import create_app
from hardware.liveview import LiveView
from tests.dashboards import garage
from tests.dashboards.garage import NOON_MS
from tests.hardware.serving import serving

pytestmark = pytest.mark.web

ROOT = Path(__file__).parent.parent.parent
DESKTOP, PHONE = {"width": 1400, "height": 900}, {"width": 360, "height": 740}
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)
ANSWER = "Safe. 7 of 10 cars charge; level_1 L2 is the bottleneck, 60 of 63 A."


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(name="chromium", scope="module")
def _chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    assert path, "Chromium is not installed: make test-web installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Garage:
    """A live view that is fed once a second, and its contract on a port that stays the same."""

    def __init__(self, bays=12):
        self.site, self.topology = garage.garage(bays)
        self.view = LiveView(self.site, self.topology, world="emulated", speed=20.0, scenario="busy evening")
        garage.hour(self.view, self.topology, seconds=600)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._over = threading.Event()
        self._feed = threading.Thread(target=self._cycles)
        self._feed.start()

    def _cycles(self):
        second = 0
        while not self._over.wait(0.5):
            second += 1
            self.view.update(*garage.cycle(self.topology), NOON_MS + second * 1000)

    def close(self):
        self._over.set()
        self._feed.join()

    def serving(self):
        app = create_app(
            self.view, {"restart": self.restart}, sessions=lambda limit: [garage.RUNNING][:limit]
        )
        return serving(app, self.port)

    def restart(self):
        self.view.restart()
        return "The run starts again."


@pytest.fixture(name="garage_12", scope="module")
def _garage_12():
    running = Garage()
    yield running
    running.close()


@pytest.fixture(name="dashboard", scope="module")
def _dashboard(garage_12):
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "dashboards", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "EDGE_API": garage_12.address},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                break
        except OSError:
            assert server.poll() is None, server.stderr.read()
            assert time.monotonic() < deadline, "the dashboard did not start"
            time.sleep(0.2)
    yield address
    server.terminate()
    said = server.communicate(timeout=20)[1]
    assert "Traceback" not in said, said


@pytest.fixture(name="page")
def _page(chromium, request):
    size, scheme = getattr(request, "param", (DESKTOP, "light"))
    context = chromium.new_context(viewport=size, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.thrown = []
    page.outside = []
    page.on("pageerror", lambda error: page.thrown.append(str(error)))
    page.on("request", lambda asked: page.outside.append(asked.url) if is_outside(asked.url) else None)
    yield page
    assert page.thrown == []
    assert page.outside == [], "a box without internet must show everything"
    context.close()


def is_outside(url):
    return url.startswith("http") and not url.startswith("http://127.0.0.1:")


def text_of(page, selector):
    return page.locator(selector).first.inner_text().replace("\u202f", " ")


def wait_for(page, selector, pattern):
    expect(page.locator(selector).first).to_contain_text(re.compile(pattern))


def no_error(page):
    assert page.locator('[data-testid="stException"], [data-testid="stAlert"]').count() == 0


def width_needed(page):
    return page.evaluate(
        "() => Math.max(document.documentElement.scrollWidth,"
        " document.querySelector('[data-testid=stMain]').scrollWidth)"
    )


def test_the_live_page_answers_shows_the_tree_and_says_why(garage_12, dashboard, page):
    with garage_12.serving():
        page.goto(dashboard)
        expect(page.locator(".tile")).to_have_count(12)
        assert ANSWER in text_of(page, ".edge-answer")
        assert "Emulated site" in text_of(page, ".edge-band")
        phases = page.locator(".edge-tree .grid").nth(1).locator(".phase .num")
        assert [one.replace("\u202f", " ") for one in phases.all_inner_texts()] == [
            "34 / 63 A",
            "60 / 63 A",
            "24 / 63 A",
        ]
        assert "fuse L2" in text_of(page, ".tile >> nth=0")
        assert "bay_09 is offline" in text_of(page, ".edge-alarms")
        assert "Check power and network of NL-HG-0009." in text_of(page, ".edge-alarms")
        expect(page.locator(".js-plotly-plot")).to_contain_text("fuse 100")
        expect(page.get_by_test_id("stDataFrame")).to_contain_text(re.compile("level_1 L2 is full"))
        no_error(page)


def test_values_move_by_themselves_and_the_layout_does_not(garage_12, dashboard, page):
    with garage_12.serving():
        page.goto(dashboard)
        wait_for(page, ".edge-below", r"\d\d:\d\d:\d\d")
        expect(page.locator(".js-plotly-plot")).to_contain_text("fuse 100")
        clock, place = text_of(page, ".edge-below"), page.locator(".edge-tiles").last.bounding_box()
        page.wait_for_function(
            "was => document.querySelector('.edge-below').innerText != was",
            arg=page.locator(".edge-below").inner_text(),
        )
        assert text_of(page, ".edge-below") != clock
        assert page.locator(".edge-tiles").last.bounding_box() == place


def test_a_tile_leads_to_the_page_that_says_why_and_what_binds(garage_12, dashboard, page):
    with garage_12.serving():
        page.goto(dashboard)
        page.locator(".tile").nth(7).click()
        wait_for(page, ".edge-answer", "bay_08 gets 13")
        assert "main L1 is full" in text_of(page, ".edge-answer")
        wait_for(page, ".edge-chain .binding", "main L1")
        assert "Less other load on main L1" in text_of(page, ".edge-below")
        assert "connector=bay_08%2F1" in page.url
        no_error(page)


@pytest.mark.parametrize(
    ("page", "path"),
    [
        ((PHONE, "light"), "/"),
        ((PHONE, "dark"), "/connector?connector=bay_03%2F1"),
        ((PHONE, "light"), "/sessions"),
    ],
    indirect=["page"],
)
def test_a_phone_needs_no_sideways_scrolling(garage_12, dashboard, page, path):
    with garage_12.serving():
        page.goto(dashboard + path)
        wait_for(page, ".edge-answer", r"\w")
        if path != "/sessions":
            expect(page.locator(".js-plotly-plot").first).to_be_visible()
        assert width_needed(page) == PHONE["width"]
        no_error(page)


@pytest.mark.parametrize("page", [(DESKTOP, "dark")], indirect=True)
def test_it_says_what_to_check_while_nobody_answers_and_comes_back_by_itself(garage_12, dashboard, page):
    page.goto(dashboard)
    wait_for(page, ".edge-answer", "No answer from the controller at " + re.escape(garage_12.address))
    assert "EDGE_API" in text_of(page, ".edge-answer")
    with garage_12.serving():
        wait_for(page, ".edge-answer", "Safe")
        expect(page.locator(".js-plotly-plot")).to_contain_text("fuse 100")
    wait_for(page, ".edge-answer", "No answer")
    # What was known stays, faded.
    expect(page.locator(".edge-old .tile")).to_have_count(12)
    with garage_12.serving():
        wait_for(page, ".edge-answer", "Safe")
        expect(page.locator(".edge-old")).to_have_count(0)
    no_error(page)


def test_a_run_can_be_started_again(garage_12, dashboard, page):
    with garage_12.serving():
        page.goto(dashboard)
        page.get_by_role("button", name="Start the run again").click()
        expect(page.get_by_test_id("stToast")).to_contain_text("The run starts again.")
