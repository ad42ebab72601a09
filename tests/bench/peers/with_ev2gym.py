"""Run by an interpreter that has EV2Gym: CASE.json RESULT.json ALGORITHM."""

import json
import math
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import yaml

warnings.simplefilter("ignore")
power_flow = ModuleType("ev2gym.models.grid")  # not used here, and needs packages that it does not list
power_flow.PowerGrid = None
sys.modules["ev2gym.models.grid"] = power_flow

import ev2gym  # noqa: E402
from ev2gym.baselines import heuristics  # noqa: E402
from ev2gym.models import ev2gym_env  # noqa: E402
from ev2gym.models.ev import EV  # noqa: E402

ALGORITHMS = {"round robin": heuristics.RoundRobin, "uncontrolled": heuristics.ChargeAsFastAsPossible}
EXAMPLE = Path(ev2gym.__file__).parent / "example_config_files" / "PublicPST.yaml"


def topology(case):
    """One transformer. Voltages such that ampere times voltage times root of phases is the true power."""
    root = next(grid for grid in case["grids"] if grid["feeder"] < 0)
    stations = {}
    for number, station in enumerate(case["stations"]):
        phases = len(station["lines"])
        stations[str(number)] = {
            "min_charge_current": 6,
            "max_charge_current": station["max_a"],
            "min_discharge_current": 0,
            "max_discharge_current": 0,
            "voltage": case["supply_v"] * math.sqrt(phases),
            "n_ports": 1,
            "charger_type": "AC",
            "phases": phases,
        }
    power_kw = sum(root["limit_a"]) * case["supply_v"] / 1000
    return {"0": {"max_power": power_kw, "charging_stations": stations}}, power_kw


def car(case, session):
    """It charges in its departing step as well: it is told to leave one earlier."""
    station = case["stations"][session["station"]]
    phases, need_kwh = len(station["lines"]), session["energy_wh"] / 1000
    capacity = max(60.0, 2 * need_kwh)
    return EV(
        id=0,
        location=session["station"],
        battery_capacity_at_arrival=capacity - need_kwh,
        time_of_arrival=session["from_tick"],
        time_of_departure=session["to_tick"] - 1,
        battery_capacity=capacity,
        max_ac_charge_power=station["max_a"] * case["supply_v"] * phases / 1000,
        ev_phases=phases,
        transition_soc=1,
        timescale=case["tick_s"] // 60,
    )


def environment(case):
    tables, power_kw = topology(case)
    config = yaml.safe_load(EXAMPLE.read_text())
    with tempfile.TemporaryDirectory() as folder:
        drawing, settings = Path(folder) / "topology.json", Path(folder) / "settings.yaml"
        drawing.write_text(json.dumps(tables))
        config |= {
            "timescale": case["tick_s"] // 60,
            "simulation_length": case["ticks"],
            "random_day": False,
            "hour": 0,
            "number_of_charging_stations": len(case["stations"]),
            "charging_network_topology": str(drawing),
        }
        settings.write_text(yaml.safe_dump(config))
        cars = [car(case, session) for session in case["sessions"]]
        ev2gym_env.load_ev_spawn_scenarios = lambda env: None
        ev2gym_env.load_ev_profiles = lambda env: cars
        ev2gym_env.load_power_setpoints = lambda env: np.full(case["ticks"], power_kw)
        prices = np.zeros((len(case["stations"]), case["ticks"]))
        ev2gym_env.load_electricity_prices = lambda env: (prices, prices)
        return ev2gym_env.EV2Gym(str(settings), seed=1)


case_path, result_path, algorithm = sys.argv[1:]
case = json.loads(Path(case_path).read_text("utf-8"))
env = environment(case)
policy = ALGORITHMS[algorithm](env=env)
power_w = []
cpu_s = 0.0
for _ in range(case["ticks"]):
    began_s = time.process_time()
    done = env.step(policy.get_action(env))[2]
    cpu_s += time.process_time() - began_s
    power_w.append([station.current_power_output * 1000 for station in env.charging_stations])
    if done:
        break
found = {"tick_s": case["tick_s"], "ticks": len(power_w), "cpu_s": cpu_s, "power_w": power_w}
Path(result_path).write_text(json.dumps(found), "utf-8")
