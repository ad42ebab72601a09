"""Bugs that somebody could make: the file, the true text, the wrong text, the test that must fail."""

from __future__ import annotations

from typing import NamedTuple


class Bug(NamedTuple):
    """One edit of one file of the controller; `old` stands there exactly once."""

    file: str
    old: str
    new: str
    caught_by: str


BUGS = {
    "a raise is not booked while it is on its way": Bug(
        "orders.py",
        'committed = max(kept["committed_ma"], target)\n    if',
        'committed = kept["committed_ma"]\n    if',
        "test_orders.py::test_a_raise_is_booked_in_the_cycle_in_which_it_is_put_down",
    ),
    "a lowering frees when it is put down": Bug(
        "orders.py",
        'committed = max(kept["committed_ma"], target)\n    if',
        "committed = target\n    if",
        "test_orders.py::test_a_lowering_frees_nothing_when_it_is_put_down_nor_when_it_is_answered",
    ),
    "a lowering frees on acknowledgement alone": Bug(
        "commitments.py",
        '        kept["refused_at_ms"] = NEVER\n        if kept["closed"] == 0 and',
        '        kept["refused_at_ms"] = NEVER\n        kept["committed_ma"] = kept["target_ma"]\n'
        '        if kept["closed"] == 0 and',
        "test_orders.py::test_a_lowering_frees_nothing_when_it_is_put_down_nor_when_it_is_answered",
    ),
    "a car is given no time to follow": Bug(
        "commitments.py",
        '    if heard < kept["answer_at_ms"] + DOWN_MS:',
        '    if heard < kept["answer_at_ms"]:',
        "test_orders.py::test_a_lowering_frees_when_a_reading_five_seconds_after_the_answer_shows_it",
    ),
    "a status counts as the reading that shows a lowering": Bug(
        "commitments.py",
        '    heard = kept["reading_at_ms"]\n    if work["active"] == 0 and',
        '    heard = work["heard_ms"]\n    if work["active"] == 0 and',
        "test_orders.py::test_a_status_alone_frees_nothing",
    ),
    "a time-out frees": Bug(
        "commitments.py",
        '    if now >= kept["put_at_ms"] + wait:\n',
        '    if now >= kept["put_at_ms"] + wait:\n        kept["committed_ma"] = kept["target_ma"]\n',
        "test_orders.py::test_an_order_without_answer_stays_booked_and_is_sent_again_with_growing_waits",
    ),
    "a lost box is held to draw what it drew before its lease ended": Bug(
        "headroom.py",
        'high = kept["committed_ma"]  # where',
        'high = max(kept["committed_ma"], draw)  # where',
        "test_orders.py::test_behind_a_lost_box_whose_lease_has_ended_no_rise_of_the_load_can_hide",
    ),
    "a guard that shows less than its cars draw is believed": Bug(
        "comparison.py",
        "below = max(below, cars)",
        "below = max(below, 0)",
        "test_comparison.py::test_cars_that_draw_more_than_their_guard_shows_are_an_alarm_and_their_draw_counts",
    ),
    "an offline box is freed": Bug(
        "commitments.py",
        'if end == NEVER or kept["proven"] == 0',
        'if kept["proven"] == 0',
        "test_orders.py::test_an_offline_box_stays_booked_as_long_as_it_is_away_and_hears_its_order_again",
    ),
    "a lease ends on the second": Bug(
        "commitments.py",
        "end + CLOCK_ERROR_MS + DOWN_MS",
        "end",
        "test_orders.py::test_a_lost_box_with_a_lease_is_freed_when_its_lease_has_surely_ended",
    ),
    "a liar is not booked at its maximum": Bug(
        "commitments.py",
        'tolerance_ma(kept["committed_ma"]):\n        _ignore(cy, c)',
        'tolerance_ma(kept["committed_ma"]):\n        return',
        "test_orders.py::test_a_box_that_draws_more_than_it_is_booked_at_is_caught_by_that_reading",
    ),
    "an unproven box is believed to obey": Bug(
        "orders.py",
        'if kept["proven"] == 0 and target > 0:',
        'if kept["proven"] == 2 and target > 0:',
        "test_proofs.py::test_boxes_that_wait_are_proven_in_batches_that_fit_at_their_maximum",
    ),
    "the commitment of unknown phases falls before the meter has seen it": Bug(
        "commitments.py",
        'kept["falls_due_ms"] = now + cy.work[c]["blind_ms"]',
        'kept["committed_ma"] = kept["target_ma"]',
        "test_orders.py::"
        "test_the_commitment_of_a_car_of_unknown_phases_falls_only_when_the_meter_has_seen_it_too",
    ),
    "a restart forgets an order that was on its way": Bug(
        "restart.py",
        '    row["before_ma"] = page["committed_ma"]\n',
        '    row["before_ma"] = page["committed_ma"]\n    row["committed_ma"] = page["target_ma"]\n',
        "test_orders.py::test_an_order_on_its_way_when_the_box_died_is_still_booked_and_sent_again",
    ),
    "a silent meter is believed": Bug(
        "trust.py",
        "if age > METER_LOST_MS:",
        "if age > 1000 * METER_LOST_MS:",
        "test_meters.py::test_a_meter_silent_for_ten_seconds_turns_everything_under_it_off",
    ),
    "an old reading may raise": Bug(
        "trust.py",
        "if age > METER_FRESH_MS or",
        "if age > METER_LOST_MS or",
        "test_meters.py::test_on_a_reading_older_than_three_seconds_nothing_is_raised",
    ),
    "a missing phase of a meter is a number": Bug(
        "trust.py",
        "if value == UNKNOWN or value > ceiling or value < -ceiling:",
        "if value > ceiling:",
        "test_meters.py::test_a_meter_that_gives_nothing_on_one_phase_is_not_believed_on_the_others",
    ),
    "the third phase is not booked": Bug(
        "headroom.py",
        '    for p in range(3):\n        if kept["phases"][p] == 0:\n            continue\n',
        '    for p in range(2):\n        if kept["phases"][p] == 0:\n            continue\n',
        "test_headroom.py::test_a_rotated_car_loads_the_phase_of_the_site_that_its_wires_end_on",
    ),
    "what an earlier site file has left is not in the book": Bug(
        "headroom.py",
        '            grid["committed_ma"][p] = grid["left_ma"][p]\n',
        "",
        "test_restart.py::test_a_box_that_is_taken_out_of_the_file_counts_where_it_hung_until_its_lease_has_surely"
        "_ended",
    ),
    "what an earlier site file has left is shared out": Bug(
        "sharing.py",
        ' + grid["load_ma"][line] + grid["left_ma"][line]',
        ' + grid["load_ma"][line]',
        "test_restart.py::test_nobody_is_raised_into_what_a_box_that_was_taken_out_may_still_draw",
    ),
    "what cars of a board draw is not in the book of its feeder": Bug(
        "headroom.py",
        '                feeder["low_ma"][p] += grid["low_ma"][p]\n',
        "",
        "test_headroom.py::test_what_a_car_under_a_board_draws_hides_no_fall_of_the_load_above_it",
    ),
    "what cars of a board are booked at is not in the book of its feeder": Bug(
        "headroom.py",
        '                feeder["committed_ma"][p] += grid["committed_ma"][p]\n',
        "",
        "test_headroom.py::test_nested_guards_keep_books_of_their_own_and_the_car_stands_in_both",
    ),
    "cuts that are ordered already are ordered again": Bug(
        "headroom.py",
        'grid["pending_ma"][p] += _invisible_fall(cy, c, g, p)',
        'grid["pending_ma"][p] += 0 * _invisible_fall(cy, c, g, p)',
        "test_meters.py::test_what_is_cut_already_and_not_yet_visible_is_not_cut_again",
    ),
    "the fall of an unknown car counts in full on every phase": Bug(
        "orders.py",
        '        if kept["known"] == 0:\n            fall = fall // 3\n',
        "",
        "test_meters.py::test_the_fall_of_a_car_of_unknown_phases_counts_a_third_on_each",
    ),
    "the wires of a connector are undone twice": Bug(
        "trust.py",
        'p = cy.built[c]["phase"][own]',
        'p = cy.built[c]["phase"][cy.built[c]["phase"][own]]',
        "test_headroom.py::test_a_rotated_car_loads_the_phase_of_the_site_that_its_wires_end_on",
    ),
    "the wires of a meter are undone twice": Bug(
        "trust.py",
        'p = built["phase"][own]',
        'p = built["phase"][built["phase"][own]]',
        "test_headroom.py::test_a_grid_that_nobody_measures_carries_what_the_file_declares_and_its_children",
    ),
    "unknown phases count on L1 alone": Bug(
        "session.py",
        'kept["phases"][p] = built["possible"][p]',
        'kept["phases"][p] = built["possible"][p] * int(p == 0)',
        "test_headroom.py::"
        "test_a_car_of_unknown_phases_is_booked_on_all_and_the_estimate_is_lower_by_its_draw_where_it_is_not",
    ),
    "an estimator that does not wait for a round of readings": Bug(
        "headroom.py",
        'kept["high_count"][p], now - window)',
        'kept["high_count"][p], now)',
        "test_headroom.py::test_an_unreported_pause_is_not_taken_for_less_load",
    ),
    "readings and the meter's sample are taken for simultaneous": Bug(
        "headroom.py",
        'keep_ms = work["blind_ms"]',
        "keep_ms = 0",
        "test_headroom.py::test_a_reading_newer_than_the_meters_sample_is_no_rise_of_the_load",
    ),
    "an idle outlet is held to draw its default": Bug(
        "headroom.py",
        "certain = idle or (",
        "certain = (",
        "test_headroom.py::test_a_rise_does_not_hide_behind_outlets_that_could_start_by_themselves",
    ),
    "a waking car is taken for load at once": Bug(
        "headroom.py",
        'if fits and grid["slack_ma"][p] > WAKING_SLACK_MA:',
        "if False:",
        "test_headroom.py::test_a_car_that_wakes_inside_its_own_offer_is_asked_before_its_draw_counts_as_load",
    ),
    "the estimate is not given back what an absent phase was held to draw": Bug(
        "headroom.py",
        'grid["estimate_ma"][p] += shift',
        'grid["estimate_ma"][p] += 0 * shift',
        "test_headroom.py::test_a_phase_taken_off_gives_the_estimate_back_what_it_was_held_to_draw_there",
    ),
    "a consumer meter forgets the children it does not see": Bug(
        "headroom.py",
        "load = _children_load(cy, g, p, 1)",
        "load = 0",
        "test_headroom.py::test_a_consumer_meter_adds_the_load_of_a_child_it_does_not_see",
    ),
    "raises without rounds": Bug(
        "raises.py",
        'return bool(cy.kept_site[0]["round_open"] == 0 and cy.clock[0]["now_ms"] >= next_round_ms(cy))',
        "return True",
        "test_headroom.py::test_rounds_of_raises_do_not_overlap",
    ),
    "raises into the margin": Bug(
        "raises.py",
        'room = min(room, (grid["limit_ma"][line] - grid["margin_ma"][line] - booked) // load)',
        'room = min(room, (grid["limit_ma"][line] - booked) // load)',
        "test_headroom.py::test_the_worked_example_is_reproduced_number_by_number",
    ),
    "shares are rounded up": Bug(
        "sharing.py",
        'max(at_most_ma(cy.built[c], work["wish_ma"]), work["min_ma"])',
        'max(above_ma(cy.built[c], work["wish_ma"]), work["min_ma"])',
        "test_sharing.py::test_the_remainder_of_the_steps_stays_with_who_already_has_it",
    ),
    "a step of the box takes a car's minimum": Bug(
        "demand.py",
        'max(at_most_ma(built, work["cap_ma"]), work["min_ma"])',
        'max(at_most_ma(built, work["cap_ma"]), 0)',
        "test_sharing.py::test_a_car_capped_below_the_first_step_keeps_its_minimum",
    ),
    "the last check looks away": Bug(
        "check.py",
        "if _sound(cy, traces):",
        "if _sound(cy, traces) or len(cy.work) > 0:",
        "test_check.py::test_a_corrupted_table_raises_nobody_and_the_alarm",
    ),
    "the discharge of a battery is headroom": Bug(
        "storage.py",
        'grid["low_ma"][p] += low',
        'grid["low_ma"][p] += max(low, 0)',
        "test_storage.py::test_the_discharge_of_a_battery_is_no_headroom",
    ),
    "a battery counts for every fuse": Bug(
        "storage.py",
        'if line != TOGETHER and built["counts_for_fuse"] == 0:\n        current_ma',
        "if line != TOGETHER and line < 0:\n        current_ma",
        "test_storage.py::test_what_it_surely_gives_counts_for_powers_and_for_fuses_only_where_the_site_says_so",
    ),
    "what a battery is told frees at once": Bug(
        "storage.py",
        'kept["committed_ma"] = kept["charge_ma"] if target >= 0 else before',
        'kept["committed_ma"] = kept["charge_ma"] = max(target, 0)',
        "test_storage.py::test_it_is_booked_with_its_charge_until_a_reading_shows_the_lower_order",
    ),
    "an inverter is never eased": Bug(
        "export.py",
        "(higher and shown and rested)",
        "(higher and shown and rested and target < 0)",
        "test_export.py::test_a_curtailed_inverter_is_eased_when_load_comes_and_freed_when_there_is_room_for_all_of_it",
    ),
    "more may flow back than the fuse bears": Bug(
        "topology.py",
        "min(electrical.milliamps(back_a), limit_ma)",
        "electrical.milliamps(back_a)",
        "test_export.py::test_what_flows_back_is_brought_under_the_tightest_limit_of_export",
    ),
    "a fuse that is hot from what flows back is left alone": Bug(
        "export.py",
        'hot = hot or (flows_back > cy.built_grids[g]["limit_ma"][line] and is_hot(cy, g, line))',
        "hot = hot or False",
        "test_export.py::test_a_fuse_that_is_hot_from_what_flows_back_ends_the_discharge_of_a_battery",
    ),
    "without direction nothing flows back": Bug(
        "trust.py",
        'grid["undirected"] = EVERY_PHASE if in_doubt else kept["reversed"]',
        'grid["undirected"] = 0',
        "test_export.py::test_without_direction_inverters_may_give_no_more_than_may_flow_back",
    ),
    "surplus is believed before the guard has shown its sign": Bug(
        "strategies.py",
        "if not follows or shows_direction(cy, cy.built_batteries[b], root):",
        "if not follows or len(cy.built) >= 0:",
        "test_direction.py::test_on_a_guard_mounted_backwards_a_battery_tries_a_little_and_gives_up_with_an_alarm",
    ),
    "orders to batteries tell nothing of a guard": Bug(
        "comparison.py",
        'cy.kept_grids[g]["stepped"] |= BY_STORAGE',
        'cy.kept_grids[g]["stepped"] |= 0',
        "test_direction.py::test_on_a_guard_mounted_backwards_a_battery_tries_a_little_and_gives_up_with_an_alarm",
    ),
    "without a controller inverters feed in nothing": Bug(
        "outage.py",
        "    yield from _feed_in_faults(site)\n",
        "",
        "test_outage.py::"
        "test_of_a_file_nameplates_and_what_batteries_keep_giving_must_fit_what_may_flow_back",
    ),
    "a building that trembles moves orders": Bug(
        "orders.py",
        "if worth and (alone or _in_the_way(cy, c)):",
        "if worth:",
        "test_calm.py::test_a_building_that_trembles_inside_the_band_moves_no_order",
    ),
    "nobody makes room for a car that waits": Bug(
        "orders.py",
        "(sought > 0 and over + sought > 0)",
        "False",
        "test_calm.py::test_orders_are_lowered_for_a_car_that_waits",
    ),
    "a cap from outside waits until somebody needs the room": Bug(
        "orders.py",
        'cy.work[c]["stop"] != 0 or cy.work[c]["cap_ma"] < target',
        'cy.work[c]["stop"] != 0',
        "test_calm.py::test_a_car_that_does_not_use_its_order_is_lowered_though_nobody_waits",
    ),
    "a small raise does not wait": Bug(
        "raises.py",
        'lasts = since != NEVER and cy.clock[0]["now_ms"] - since >= SMALL_RAISE_MS',
        "lasts = since != NEVER",
        "test_calm.py::test_a_raise_too_small_for_a_write_is_written_once_it_has_been_wanted_for_a_minute",
    ),
    "a proof is kept though its room is gone": Bug(
        "orders.py",
        "if waits or stage < CUT_PROOFS else 0",
        "",
        "test_proofs.py::test_a_proof_for_which_the_room_is_gone_is_ended_in_that_cycle",
    ),
    "who is booked for more may be raised without room": Bug(
        "raises.py",
        "    return room\n",
        "    return max(room, 0)\n",
        "test_proofs.py::test_a_box_that_refused_is_offered_no_proof_inside_a_booking_that_does_not_fit",
    ),
    "nobody looks at an open raise": Bug(
        "outcome.py",
        'look = min(look, kept["raise_answer_ms"] + ASK_EVERY_MS)',
        "pass",
        "test_calm.py::test_an_open_raise_is_looked_at_every_ten_seconds_until_it_is_closed",
    ),
    "an expired external limit is believed": Bug(
        "instructions.py",
        "    if instruction.until_ms > moment.now_ms:\n",
        "    if instruction.until_ms > 0:\n",
        "test_instructions.py::test_of_what_is_told_for_a_grid_the_tightest_of_each_kind_is_in_force",
    ),
    "the fallback of an expired limit is forgotten": Bug(
        "instructions.py",
        "    if not alive or instruction.doubtful:\n        fallback = limit.fallback(least_ma)\n",
        "    if not alive:\n        fallback = limit.fallback(least_ma)\n",
        "test_instructions.py::test_of_what_is_told_for_a_grid_the_tightest_of_each_kind_is_in_force",
    ),
    "a clock that nobody trusts may lift a schedule": Bug(
        "instructions.py",
        "            if moment.trusted and schedule.enabled:\n",
        "            if schedule.enabled:\n",
        "test_instructions.py::test_a_schedule_of_a_grid_is_in_force",
    ),
    "a frozen guard is believed": Bug(
        "trust.py",
        'if kept["moved_ma"][p] > METER_FROZEN_MOVE_MA:',
        'if kept["moved_ma"][p] > 1000 * METER_FROZEN_MOVE_MA:',
        "test_comparison.py::test_a_guard_that_says_the_same_for_a_minute_while_cars_take_more_is_lost",
    ),
    "a guard that answers the wrong way round is believed": Bug(
        "trust.py",
        "value = abs(value)",
        "value = value + 0",
        "test_comparison.py::test_a_guard_mounted_backwards_is_found_by_its_answers_and_counts_as_load",
    ),
    "a consumer meter beside a guard may say what it likes": Bug(
        "comparison.py",
        'min(grid["load_ma"][p], max(load, low))',
        'min(grid["load_ma"][p], load)',
        "test_comparison.py::test_a_consumer_meter_that_says_a_little_less_than_the_guard_proves_frees_no_more",
    ),
    "a car that charges unannounced is booked at the default": Bug(
        "session.py",
        "in (CHARGING, SUSPENDED_EV, SUSPENDED_EVSE))",
        "in (NONE,))",
        "test_proofs.py::test_a_car_that_charges_before_its_transaction_is_announced_is_booked_at_the_rating",
    ),
    "an emergency stop waits until the boxes are proven": Bug(
        "stops.py",
        'if work["stop"] == 0:',
        'if work["stop"] == 0 or cy.kept[c]["proven"] == 0:',
        "test_stops.py::test_an_unproven_box_that_draws_is_turned_off_too",
    ),
    "total power is spread over all phases": Bug(
        "trust.py",
        'phases = max(int(kept["spread"]), 1)',
        "phases = PHASE_COUNT",
        "test_total_power.py::test_a_car_that_stays_where_it_was_is_found_out",
    ),
    "boxes without lease are raised whatever becomes of the site": Bug(
        "raises.py",
        "room = spare_alone_ma(cy, c)",
        "room = max(spare_alone_ma(cy, c), 1_000_000_000)",
        "test_outage.py::test_where_nobody_answers_for_it_boxes_without_lease_are_raised_only_as_far_as_it_stays_safe",
    ),
    "a box told to charge on one phase is believed": Bug(
        "phases.py",
        '        kept["switching"] = SETTLED\n        kept["switched_at_ms"]',
        '        kept["known"] = 1\n        kept["phases"][1] = 0\n        kept["switching"] = SETTLED\n'
        "        return\n"
        '        kept["switched_at_ms"]',
        "test_phases.py::test_told_to_charge_on_one_phase_it_is_booked_on_three_until_readings_show_one",
    ),
    "phases change without a pause": Bug(
        "phases.py",
        'kept["observed_at_ms"]) + cy.built[c]["switch_ms"])',
        'kept["observed_at_ms"]))',
        "test_phases.py::test_clouds_take_it_to_one_phase_after_the_stop_delay_through_zero_and_the_pause",
    ),
    "one phase is believed beyond the lease of its order": Bug(
        "phases.py",
        "    elif not _is_held(cy, c):\n",
        '    elif cy.seen[c]["online"] == 0:\n',
        "test_phases.py::test_on_one_phase_it_is_booked_on_three_before_a_lease_that_is_not_renewed_can_end",
    ),
    "a battery goes on charging into a full book until its last order has shown": Bug(
        "strategies.py",
        "or _crowds(cy, built))",
        "or False)",
        "test_storage.py::test_where_the_book_is_over_it_stops_to_charge_before_its_last_order_has_shown",
    ),
    "a silent inverter is curtailed from its rating down": Bug(
        "export.py",
        'or (excess > 0 and work["fresh"] == 0)',
        "or False",
        "test_export.py::test_an_inverter_whose_readings_have_stopped_gives_no_more_than_may_flow_back_and_is_not_eased",
    ),
    "a roof on a board without meter makes its feeder implausible": Bug(
        "comparison.py",
        'if unseen and cy.built_grids[child]["sourceless"] == 0:',
        'if unseen and cy.built_grids[child]["sourceless"] == 2:',
        "test_comparison.py::test_nor_where_a_board_that_nobody_measures_feeds_in",
    ),
}
