"""Run by an interpreter that has acnportal: CASE.json RESULT.json ALGORITHM."""

import json
import sys
import time
import warnings
from datetime import datetime
from pathlib import Path

warnings.simplefilter("ignore")

from acnportal import acnsim, algorithms  # noqa: E402

ALGORITHMS = {
    "uncontrolled": algorithms.UncontrolledCharging,
    "round robin": lambda: algorithms.RoundRobin(algorithms.first_come_first_served),
    "least laxity": lambda: algorithms.SortedSchedulingAlgo(algorithms.least_laxity_first),
    "first come": lambda: algorithms.SortedSchedulingAlgo(algorithms.first_come_first_served),
}


def volts(case, station):
    """A station of three phases counts as one with three times the voltage."""
    return case["supply_v"] * len(station["lines"])


def network(case):
    """Stations of 6 A or more in whole amperes, and one constraint for every grid and line.

    All phase angles are 0: currents of one line add up, and lines are constraints of their own.
    """
    made = acnsim.ChargingNetwork()
    for station in case["stations"]:
        rates = [0, *range(6, int(station["max_a"]) + 1)]
        made.register_evse(acnsim.FiniteRatesEVSE(station["name"], rates), volts(case, station), 0)
    for grid in case["grids"]:
        for line in range(3):
            on_it = [case["stations"][c] for c in grid["stations"]]
            names = [station["name"] for station in on_it if line in station["lines"]]
            if names:
                current = acnsim.Current(dict.fromkeys(names, 1))
                made.add_constraint(current, grid["limit_a"][line], f"{grid['name']} L{line + 1}")
    return made


def arrivals(case):
    events = []
    for session in case["sessions"]:
        station = case["stations"][session["station"]]
        need_kwh = session["energy_wh"] / 1000
        battery = acnsim.Battery(2 * need_kwh, need_kwh, station["max_a"] * volts(case, station) / 1000)
        car = acnsim.EV(
            session["from_tick"], session["to_tick"], need_kwh, station["name"], session["key"], battery
        )
        events.append(acnsim.PluginEvent(session["from_tick"], car))
    return acnsim.EventQueue(events)


case_path, result_path, algorithm = sys.argv[1:]
case = json.loads(Path(case_path).read_text("utf-8"))
sites = network(case)
simulator = acnsim.Simulator(
    sites,
    ALGORITHMS[algorithm](),
    arrivals(case),
    datetime(2019, 5, 13),
    period=case["tick_s"] / 60,
    verbose=False,
)
began_s = time.process_time()
simulator.run()
cpu_s = time.process_time() - began_s

rates_a = simulator.charging_rates[:, : case["ticks"]]
order = [sites.station_ids.index(station["name"]) for station in case["stations"]]
power_w = [[0.0] * len(order) for _ in range(case["ticks"])]
for number, row in enumerate(order):
    for tick, rate_a in enumerate(rates_a[row]):
        power_w[tick][number] = float(rate_a) * volts(case, case["stations"][number])
found = {"tick_s": case["tick_s"], "ticks": simulator.iteration, "cpu_s": cpu_s, "power_w": power_w}
Path(result_path).write_text(json.dumps(found), "utf-8")
