"""Every timer and threshold of the controller, in one table.

Times in ms, currents in mA, shares in per mille. Each line names its source: [C n] is section n of
docs/control.md, [A] an assumption of the design, [S] a standard. Kernels take these as constants.
"""

from __future__ import annotations

from typing import Final

# -- numbers ---------------------------------------------------------------------------------------
NEVER: Final = -1  # "has not happened", in every field that holds a time
UNKNOWN: Final = -(2**62)  # a missing measurement; never 0
UNLIMITED_MA: Final = 1_000_000_000
PHASE_COUNT: Final = 3
LINES: Final = 4  # what a grid limits: its three phases, and their sum
TOGETHER: Final = 3  # the sum: a power at nominal voltage
MAX_STEPS: Final = 16  # set-points of a box that knows only some
MAX_DEPTH: Final = 8  # grids between a connector and the connection, both included

# -- margin and measurement error ---------------------------------------------------------- [C 1, 2]
MARGIN_MIN_MA: Final = 2_000
MARGIN_PER_MILLE: Final = 30
POOLED_TOLERANCE_MA: Final = 500  # times the square root of the connectors drawing on the phase
TOLERANCE_MIN_MA: Final = 700  # tol = max(0.7 A, 5 %)                                        [C 3]
TOLERANCE_PER_MILLE: Final = 50
WAKING_SLACK_MA: Final = 2_000  # sum (K - hi)+ that may explain a rise                      [C 4]
ESTIMATE_STEP_MA: Final = 500  # a rise of U smaller than this is noise                      [C 4]
ASK_FALL_MA: Final = 3_000  # U_hi that far below the estimate: ask for readings             [C 4]
ASK_EVERY_MS: Final = 10_000
WAKING_PATIENCE_MS: Final = 3_000

# -- delays ------------------------------------------------------------------------------------ [C 1]
CYCLE_MS: Final = 1_000
LINK_MS: Final = 5_000  # T_L, to the answer
DOWN_MS: Final = 5_000  # T_D, a car follows a lower limit               [S: IEC 61851-1 Annex A]
UP_MS: Final = 30_000  # T_U, a car follows a higher limit
SAMPLE_GRACE_MS: Final = 5_000  # on top of the sample interval                               [C 3]
CLOCK_ERROR_MS: Final = 2_000  # of a chargepoint that ends a lease by itself                [C 5]

# -- meters ------------------------------------------------------------------------------------ [C 7]
METER_FRESH_MS: Final = 3_000  # older: nothing is raised
METER_LOST_MS: Final = 10_000  # older: panic or safe current
METER_RETURN_SAMPLES: Final = 3  # good readings in a row before a lost meter counts again
METER_ROUND_MS: Final = 65_000  # T_M, longest gap between two readings of a connector           [C 1]
METER_PEAK_MS: Final = 900_000  # an ageing meter is taken at its highest estimate of 15 min
METER_ABSURD_FACTOR: Final = 10  # a reading above this many times the fuse is no reading
CONSUMER_FALL_MS: Final = 5_000  # falls of a consumer meter are held this long
METER_FROZEN_MS: Final = 60_000  # the same reading for so long, while cars under it change: frozen
METER_FROZEN_MOVE_MA: Final = 3_000
METER_ERROR_MA: Final = 500  # added to each reading of a consumer meter
METER_APART_MS: Final = 10_000  # boards measure more than their feeder: both take the larger load
METERS_DISAGREE_MS: Final = 60_000  # guard and consumer meters do not fit together for so long
TOTAL_POWER_PER_MILLE: Final = 1_100  # current of a meter that knows only power: power factor 0.91
RESPONSE_MIN_MA: Final = 5_000  # a step of our own that shows how a meter is wired
RESPONSE_STORAGE_MA: Final = 2_000  # the same of batteries and inverters alone, read each second
RESPONSE_SOON_MS: Final = 30_000  # of their wrong answers only those that come by then count
SIGN_TRIAL_MA: Final = 6_000  # a battery gives and takes no more until its guard has shown a step rightly [A]
SIGN_TRIAL_MS: Final = 60_000  # between two such steps, where the first was not answered          [A]
SIGN_PATIENCE_MS: Final = 180_000  # a calm moment for a step is waited for no longer than this    [A]
RESPONSE_WITHIN_MS: Final = 300_000  # an answer after longer than this is the building's
RESPONSE_SURE: Final = 2  # answers in a row that must agree on what is wrong
RESPONSE_CLEARS: Final = 3  # right answers in a row that end the doubt

# -- panic ------------------------------------------------------------------------------------- [C 8]
PANIC_PER_MILLE: Final = 1_100
PANIC_PENDING_MS: Final = 3_000
PANIC_HOLD_MS: Final = 30_000

# -- quarters of an hour ----------------------------------------------------------------------- [C 14]
QUARTER_MS: Final = 900_000
QUARTER_REST_MS: Final = 60_000  # what is left of a quarter is spread over this long at least

# -- orders ------------------------------------------------------------------------------------ [C 5]
ANSWER_MS: Final = 10_000  # no answer: outcome unknown, send again
RESEND_MS: Final = 10_000  # first back-off, doubled each time
RESEND_TIMES: Final = 3
RENEWAL_SLACK_PER_MILLE: Final = 60  # of a lease: a due renewal waits so long for another cause to look
REFUSED_RETRY_MS: Final = 60_000
DAY_MS: Final = 86_400_000  # in which a box bears so many orders, where the site file says how many
WORTH_MA: Final = 1_000  # a change of target below max(1 A, 10 %) is not worth a write       [C 2]
WORTH_PER_MILLE: Final = 100
SMALL_RAISE_MS: Final = 60_000  # 1 A or more that is not worth a write at once waits so long   [C 6]
ROUND_GAP_MS: Final = 1_000  # on top of T_G, between two rounds of raises                    [C 4]
SETTLED_MS: Final = 60_000  # a settled controller looks again after this long at the latest

# -- proof of obedience ------------------------------------------------------------------------ [C 5]
PROOF_OFFER_MA: Final = 10_000
PROOF_STEP_PER_MILLE: Final = 800
PROOF_RETRY_MS: Final = 300_000  # a box whose car drew nothing waits this long for its next proof
PROOF_MIN_FALL_MA: Final = 1_000
DRAWING_MA: Final = 500  # above min_c + this a car surely draws

# -- phases ------------------------------------------------------------------------------------ [C 7]
PHASE_IN_USE_MA: Final = 4_000
PHASE_IDLE_MA: Final = 500
PHASE_READINGS: Final = 2
PHASE_DWELL_MS: Final = 900_000  # between two changes from one phase to three or back: wear of the contactor
PHASE_WIDEN_MS: Final = 600_000  # surplus for three phases for so long, and one goes back to three

LEARN_STEP_MA: Final = 5_000  # a lone step that shows which phases a car loads
LEARN_SLACK_MA: Final = 1_000  # or a quarter of the step: what else the meter may show meanwhile
LEARN_STEPS: Final = 3  # in a row that agree
LEARN_TRIES: Final = 8  # steps made for learning, per session
LEARN_EVERY_MS: Final = 60_000
LEARN_PATIENCE_MS: Final = 120_000  # a step that is not seen by then teaches nothing

# -- notes and the last resort ----------------------------------------------------------------- [C 5]
STUBBORN_MA: Final = 2_000  # above its limit
STUBBORN_AFTER_MS: Final = 30_000
LAST_RESORT_MS: Final = 60_000  # a hard limit breached, with a connector that follows no order

# -- reclaim and turns ------------------------------------------------------------------------- [C 6]
RECLAIM_AFTER_MS: Final = 60_000
LIFT_WAIT_MS: Final = 300_000
LIFT_WAIT_MAX_MS: Final = 3_600_000
SLOT_MS: Final = 900_000
FULL_PROBE_MS: Final = 90_000
FULL_MA: Final = 500  # a car that takes less at its minimum seems full
WAKE_AFTER_MS: Final = 90_000  # a car that drew before its pause and does not by then sleeps
WAKE_PAUSE_MS: Final = 10_000  # 0 A before it is offered more
WAKE_OFFER_MA: Final = 10_000  # some cars stay asleep at the minimum
WAKE_WAIT_MS: Final = 300_000  # before the next attempt, doubled each time
WAKE_TRIES: Final = 3
PV_CREDIT_PER_MILLE: Final = 300  # of a fuse, that feed-in may lend to cars                 [C 8]
FULL_PROBE_EVERY_MS: Final = 3_600_000

# -- limits from outside ------------------------------------------------------ docs/instructions.md
LOOK_AHEAD_MS: Final = 86_400_000  # schedules are unrolled that far and looked at again then
CLOCK_STEP_MS: Final = 1_000  # a calendar that moved more than this is looked up anew
DIMMED_DEVICE_W: Final = 4_200  # P_min of one device           [S: section 14a EnWG, BK6-22-300]
DIMMED_FIRST_PER_MILLE: Final = 800  # simultaneity of two devices, unverified
DIMMED_STEP_PER_MILLE: Final = 50  # less for each more
DIMMED_LEAST_PER_MILLE: Final = 450  # of nine and more

# -- planning by departures ---------------------------------------------------- docs/departures.md
PLAN_EVERY_MS: Final = 300_000
PLAN_VALID_MS: Final = 900_000  # a plan that is not renewed stops to count
PLAN_WEIGHT_MIN: Final = 10  # percent: least and most that a plan multiplies a weight by
PLAN_WEIGHT_MAX: Final = 1_000
PLAN_HEAD_S: Final = 3_600  # the horizon's weights are its mean currents over the first hour
PLAN_PAUSE_PER_MILLE: Final = 100  # of its minimum: who is planned less waits without current
PLAN_TAPER_WH: Final = 8_000  # the draw falls over the last of a battery; cars of the twin: 3 to 20 kWh
TYPICAL_STAY_S: Final = 16_200  # ElaadNL 2019-2020: median at work 4.9 h, in public 4.4 h
TYPICAL_NEED_WH: Final = 15_000  # ElaadNL 2019-2020: mean at work 14.3 kWh, in public 15.7 kWh
HISTORY_SESSIONS: Final = 20  # newest sessions of a card that count
HISTORY_MIN: Final = 3  # with fewer nothing is expected of it
HISTORY_SPREAD_MS: Final = 7_200_000  # between the quarters of its stays; of less habit nothing is expected
HISTORY_STAY_PERCENT: Final = 25  # quantile of its stays: it may leave early
HISTORY_ENERGY_PERCENT: Final = 75  # quantile of its energies
WISH_MAX_WH: Final = 250_000  # above any battery of a car
WISH_MAX_MS: Final = 2_592_000_000  # 30 days
PLAN_LIMIT_MS: Final = 60_000  # a plan that takes longer is not waited for

# -- batteries, export, sun ------------------------------------------------------------------ [C 15]
GIVES_PER_MILLE: Final = 800  # of what a battery was ordered to give and is measured to
GIVES_AFTER_MS: Final = 10_000  # seen to give for this long before it counts
GIVES_MIN_MA: Final = 1_000  # less is no discharge; an inverter that fed in less was asleep
SOC_BAND: Final = 20  # per mille, to leave an end of the window of a state of charge again
STORAGE_GRACE_MS: Final = 3_000  # on top of the sample interval                                 [A]
STORAGE_LOOK_MS: Final = 5_000  # with batteries or inverters the next cycle is never later          [A]
DEAD_BAND_MA: Final = 650  # 150 W over the phases: neither surplus nor load                       [A]
PEAK_BAND_MA: Final = 4_350  # 1 kW below the peak a battery charges again                         [A]
EXPORT_BAND_MA: Final = 500  # below a limit of export, and 3 % of it                             [A]
EXPORT_PANIC_MIN_MA: Final = 2_000  # above a limit of export, or a tenth of it                     [A]
CURTAIL_EVERY_MS: Final = 10_000  # between two orders that ease an inverter                       [A]
GUESS_EVERY_MS: Final = 60_000  # a curtailed inverter may have more sun: tried this often         [A]
GUESS_PER_MILLE: Final = 100  # of its rating
SOLAR_START_MS: Final = 120_000  # surplus for the minimum of a car for so long, and it starts
SOLAR_STOP_MS: Final = 300_000  # too little for so long, and it stops
SETPOINT_STEP_MA: Final = 300  # a smaller change is no order                                      [A]
