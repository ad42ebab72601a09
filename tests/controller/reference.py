"""References for sharing: the lexicographic max-min optimum and the best admitted set, by HiGHS."""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array, hstack

from controller.topology import compile_site
from tests.controller.desk import drawn
from tests.controller.test_sharing import MARGIN_A, ROTATIONS, Case, connector

MINIMUM_MA = 6_000
LEVELS = 5


class Tree(Case):
    """A random tree of `grids` boards with `cars` cars of one to three phases, wired in any rotation.

    `plenty` is the mean room that a connector has above its minimum, A; below 0 not all minimums fit.
    With `power` every board also has a limit on its phases together.
    """

    def __init__(self, seed, cars, grids, *, plenty=5.0, step_ma=1, one_phase=False, power=False):
        dice = np.random.default_rng(seed)
        feeders, levels = [0], [1]
        for _ in range(1, grids):
            feeder = int(dice.choice([g for g in range(len(levels)) if levels[g] < LEVELS]))
            feeders.append(feeder)
            levels.append(levels[feeder] + 1)
        homes = dice.integers(0, grids, cars)
        names = {
            f"g{g}": {"max_current_a": 9_000, "margin_a": MARGIN_A, "rotation": str(dice.choice(ROTATIONS))}
            | ({"fed_by": f"g{feeders[g]}", "chargepoints_only": True} if g else {})
            for g in range(grids)
        }
        outlets = [
            {
                "fed_by": f"g{homes[c]}",
                "rotation": str(dice.choice(ROTATIONS)),
                "rotation_confirmed_by": "test",
                "step_a": max(step_ma, 100) / 1000,
            }
            for c in range(cars)
        ]
        meters = {"g0": {"grid": "g0", "role": "guard"}}
        self.topology = compile_site(drawn(grids=names, outlets=outlets, meters=meters))
        self.topology.connectors["step_ma"] = step_ma
        self.above = [set(row["path"][: row["depth"]].tolist()) for row in self.topology.connectors]
        self.connectors = []
        for row in self.topology.connectors:
            used = 1 if one_phase else int(dice.choice([1, 1, 2, 3, 3, 3]))
            loaded = {int(phase) for phase in row["phase"][:used]}
            self.connectors.append(
                connector(
                    phases=tuple(int(p in loaded) for p in range(3)),
                    cap_ma=int(dice.integers(7, 33)) * 1_000,
                    weight=int(dice.choice([25, 50, 100, 100, 200, 400])),
                    step_ma=step_ma,
                )
            )
        lines = 4 if power else 3
        self.rooms_ma = np.zeros((grids, lines), "i8")
        loads = self.matrix().sum(axis=1).reshape(grids, lines)
        mean_ma = np.maximum(MINIMUM_MA + plenty * 1000 * dice.uniform(0, 2, (grids, lines)), 0)
        self.rooms_ma[:] = loads * mean_ma + dice.integers(0, 1_000, (grids, lines))

    def matrix(self):
        """What an ampere of a connector loads a line of a grid with, [grid * lines + line, connector]."""
        lines = self.rooms_ma.shape[1]
        bits = np.array([(*one["phases"], sum(one["phases"]))[:lines] for one in self.connectors])
        under = np.zeros((len(self.topology.grids), len(self.connectors)))
        for c, above in enumerate(self.above):
            under[list(above), c] = 1
        return (under[:, None, :] * bits.T[None, :, :]).reshape(-1, len(self.connectors))

    def most_fair_ma(self, connectors=None):
        """The lexicographic max-min optimum of current per weight, mA, for those that are admitted.

        Raise the common level as far as it goes; whose row has a price then is at its bottleneck in every
        optimum and is fixed there; go on with the others.
        """
        admitted = list(range(len(self.connectors))) if connectors is None else connectors
        low, cap, weight = (
            np.array([self.connectors[c][key] for c in admitted], float) / scale
            for key, scale in (("min_ma", 1e3), ("cap_ma", 1e3), ("weight", 1e2))
        )
        count = len(admitted)
        fuses = csr_array(self.matrix()[:, admitted])
        rooms = self.rooms_ma.reshape(-1) / 1000
        least, most = low.copy(), cap.copy()
        free = np.ones(count, bool)
        while free.any():
            rows = np.flatnonzero(free)
            falling = csr_array((-np.ones(len(rows)), (np.arange(len(rows)), rows)), shape=(len(rows), count))
            rising = csr_array(weight[rows][:, None])
            matrix = csr_array(
                np.vstack(
                    [
                        hstack([fuses, csr_array((fuses.shape[0], 1))]).toarray(),
                        hstack([falling, rising]).toarray(),
                    ]
                )
            )
            found = linprog(
                np.append(np.zeros(count), -1.0),
                A_ub=matrix,
                b_ub=np.concatenate([rooms, np.zeros(len(rows))]),
                bounds=[*zip(least, most, strict=True), (0, None)],
                method="highs-ds",
            )
            assert found.status == 0, found.message
            level = found.x[-1]
            priced = rows[found.ineqlin.marginals[-len(rows) :] < -1e-9]
            assert len(priced)
            least[priced] = most[priced] = np.clip(weight[priced] * level, low[priced], cap[priced])
            free[priced] = False
        return least * 1000

    def most_admitted(self):
        """How many cars could have their minimum at once."""
        matrix = self.matrix() * MINIMUM_MA
        found = milp(
            -np.ones(len(self.connectors)),
            constraints=LinearConstraint(matrix, ub=self.rooms_ma.reshape(-1)),
            integrality=np.ones(len(self.connectors)),
            bounds=Bounds(0, 1),
        )
        assert found.status == 0, found.message
        return round(-found.fun)


def farthest_ma(tree):
    """The largest difference of any share from the optimum, mA."""
    shares, _ = tree.shared()
    return float(np.abs(np.array(shares) - tree.most_fair_ma()).max())


def gap_per_mille(tree):
    """How much less all shares together are than in the optimum without steps."""
    shares, _ = tree.shared()
    best = tree.most_fair_ma().sum()
    return 1000 * (best - sum(shares)) / best


def admitted_of_most(tree):
    """Cars that get their minimum, and how many could have."""
    shares, _ = tree.shared()
    return sum(share > 0 for share in shares), tree.most_admitted()
