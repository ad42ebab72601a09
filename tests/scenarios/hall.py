"""A hall for stories of faults: four bays in two grids, the larger too small for its cars."""

from collections import defaultdict
from datetime import UTC, datetime
from functools import cache

from controller.decision import Alarm, Note
from controller.site import build
from controller.topology import compile_site
from scenarios.judge import Judge
from scenarios.run import play
from scenarios.scenario import Story
from twin.conditions import Conditions
from twin.sessions import Car, Session

LENGTH_S = 1020
CARS = {0: Car(3, 16_000), 1: Car(1, 32_000), 2: Car(3, 32_000), 3: Car(2, 16_000)}


@cache
def site():
    """`hall` with bays 1 and 2 under `main` with bays 3 and 4; both are guarded."""
    bays = {
        f"bay_{number}": {
            "identity": f"HALL-{number}",
            "fed_by": "hall" if number < 3 else "main",
            "lease_s": 120,
            "connector": [
                {"number": 1, "max_current_a": 32, "rotation_confirmed_by": "test"},
            ],
        }
        for number in range(1, 5)
    }
    tables = {
        "name": "hall",
        "timezone": "Europe/Amsterdam",
        "grid": {
            "main": {"id": 0, "max_current_a": 63, "worst_load_a": 40},
            "hall": {"id": 1, "fed_by": "main", "max_current_a": 32, "worst_load_a": 6},
        },
        "meter": {
            "main": {"grid": "main", "role": "guard", "on_failure": {"safe_current_a": 12}},
            "hall": {"grid": "hall", "role": "guard", "on_failure": {"safe_current_a": 8}},
        },
        "chargepoint": bays,
    }
    return build(tables, "hall")


def story(faults, *, late=None, need_wh=None, cars=None, length_s=LENGTH_S, **tables):
    """Four cars that came a while ago, a building of 14, 10 and 6 A, and what goes wrong."""
    sessions = tuple(
        Session(
            f"car {row}",
            row,
            (late or {}).get(row, 5 + 3 * row) * 1000,
            10**8,
            (need_wh or {}).get(row, 60_000.0),
            car,
            card_after_ms=0,
        )
        for row, car in (CARS | (cars or {})).items()
    )
    building = {"kind": "load_step", "grid": "main", "at_s": 0, "current_a": [14, 10, 6]}
    built = site()
    return Story(
        name="hall",
        site=built,
        topology=compile_site(built),
        conditions=Conditions.model_validate(tables | {"fault": [building, *faults]}),
        sessions=sessions,
        loads=(),
        start_utc=datetime(2026, 5, 12, 8, 0, tzinfo=UTC),
        length_ms=length_s * 1000,
        seed=1,
    )


class Eye(Judge):
    """Remembers alarms and notes by name, and the least, most and last that was drawn."""

    def begin(self, world):
        super().begin(world)
        self.alarms = defaultdict(lambda: Alarm(0))
        self.notes = defaultdict(lambda: Note(0))
        self.cars_a = []

    def cycle(self, image, decision):
        super().cycle(image, decision)
        topology = self.world.topology
        if self.world.now_ms < 60_000:
            return  # everything is new to it
        for names, rows in (
            (topology.grid_names, decision.grids),
            (topology.connector_names, decision.connectors),
        ):
            for name, row in zip(names, rows, strict=True):
                self.alarms[name] |= Alarm(int(row["alarm"]))
                self.notes[name] |= Note(int(row["note"]))
        drawn = self.world.outlets["draw_ma"].sum(axis=1) / 1000
        self.cars_a.append((self.world.now_ms / 1000, drawn.tolist()))

    def mean_a(self, from_s, until_s, row=None):
        seen = [
            sum(drawn) if row is None else drawn[row] for at, drawn in self.cars_a if from_s <= at <= until_s
        ]
        return sum(seen) / len(seen)


def watch(faults, **words):
    """Play it; result and what was seen."""
    eye = Eye()
    return play(story(faults, **words), onlooker=eye), eye
