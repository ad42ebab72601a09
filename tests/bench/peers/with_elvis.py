"""Run by an interpreter that has py-elvis: CASE.json RESULT.json ALGORITHM."""

import json
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from elvis.battery import EVBattery
from elvis.charging_event import ChargingEvent
from elvis.config import ScenarioRealisation
from elvis.result import ElvisResult
from elvis.sched import schedulers
from elvis.vehicle import ElectricVehicle

ALGORITHMS = {"discrimination free": schedulers.DiscriminationFree, "uncontrolled": schedulers.Uncontrolled}
START = datetime(2019, 5, 13)
simulation = sys.modules["elvis.simulate"]  # the package hides this module behind a function


def kilowatts(case, station, amps):
    return amps * case["supply_v"] * len(station["lines"]) / 1000


def infrastructure(case):
    """Transformer, boards, points: a third level it does not have. Points are numbered as they are made."""
    boards = [grid for grid in case["grids"] if grid["feeder"] >= 0 and not feeds(case, grid)] or case[
        "grids"
    ]
    root = next(grid for grid in case["grids"] if grid["feeder"] < 0)
    order = [c for board in boards for c in board["stations"]]
    stations = []
    for board in boards:
        points = [case["stations"][c] for c in board["stations"]]
        stations.append(
            {
                "min_power": 0,
                "max_power": sum(board["limit_a"]) * case["supply_v"] / 1000,
                "charging_points": [
                    {
                        "min_power": kilowatts(case, point, 6),
                        "max_power": kilowatts(case, point, point["max_a"]),
                    }
                    for point in points
                ],
            }
        )
    power = sum(root["limit_a"]) * case["supply_v"] / 1000
    return {"transformers": [{"min_power": 0, "max_power": power, "charging_stations": stations}]}, order


def feeds(case, grid):
    return any(case["grids"][other["feeder"]] is grid for other in case["grids"] if other["feeder"] >= 0)


def event(case, session):
    station = case["stations"][session["station"]]
    need_kwh, power = session["energy_wh"] / 1000, kilowatts(case, station, station["max_a"])
    capacity = max(60.0, 2 * need_kwh)
    vehicle = ElectricVehicle("any", "any", EVBattery(capacity, power, 0, 1), 1)
    hours = (session["to_tick"] - session["from_tick"]) * case["tick_s"] / 3600
    came = START + timedelta(seconds=session["from_tick"] * case["tick_s"])
    made = ChargingEvent(came, hours, 1 - need_kwh / capacity, vehicle)
    made.leaving_time = START + timedelta(seconds=session["to_tick"] * case["tick_s"])
    made.station = session["station"]
    return made


def to_its_own_point(free, busy, car, queue, rejected, *_):
    """ELVIS sends a car to any free point; the sessions say to which."""
    point = points[car.station]
    free.remove(point)
    busy.add(point)
    point.connect_vehicle(car)
    return queue, rejected


case_path, result_path, algorithm = sys.argv[1:]
case = json.loads(Path(case_path).read_text("utf-8"))
tree, order = infrastructure(case)
made = simulation.set_up_infrastructure(tree)
points = dict(zip(order, made, strict=True))
simulation.set_up_infrastructure = lambda _: made
simulation.handle_car_arrival = to_its_own_point

scenario = ScenarioRealisation.__new__(ScenarioRealisation)  # its own way in draws the sessions
scenario.charging_events = sorted(
    (event(case, one) for one in case["sessions"]), key=lambda one: one.arrival_time
)
scenario.infrastructure, scenario.scheduling_policy = tree, ALGORITHMS[algorithm]()
scenario.start_date, scenario.resolution = START, timedelta(seconds=case["tick_s"])
scenario.end_date = START + (case["ticks"] - 1) * scenario.resolution
scenario.queue_length, scenario.opening_hours, scenario.disconnect_by_time = 0, None, True
scenario.df_charging_period = timedelta(minutes=15)
scenario.transformer_preload = [0.0] * case["ticks"]

result = ElvisResult()
began_s = time.process_time()
for _ in simulation.simulate_async(scenario, result):
    pass
cpu_s = time.process_time() - began_s

power_w = [[0.0] * len(order) for _ in range(case["ticks"])]
for station, point in points.items():
    stored, power_kw = result.power_charging_points[point.id], 0.0  # changes alone are kept
    for tick in range(case["ticks"]):
        power_kw = stored.get(tick, power_kw)
        power_w[tick][station] = power_kw * 1000
found = {"tick_s": case["tick_s"], "ticks": case["ticks"], "cpu_s": cpu_s, "power_w": power_w}
Path(result_path).write_text(json.dumps(found), "utf-8")
