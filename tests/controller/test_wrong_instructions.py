"""What is wrong in a schedule, a profile or an instruction is one sentence; what the"
" fuses forbid a remark."""

from copy import deepcopy

import pytest
from pydantic import ValidationError

from controller.calendar import DayAhead
from controller.external import ExternalLimit, Input, Place, ProfileSet, Stop, instruction_faults
from controller.faults import remarks
from controller.sentences import sentences
from controller.site import SiteError
from tests.controller.test_calendar import GUEST_BAYS, absolute
from tests.controller.told import SITE, garage


def segment(begin="18:00", end="22:00", **limit):
    return {"begin": begin, "end": end} | (limit or {"limit_a": 10})


def schedule(*segments, **keys):
    return {"main": [{"segment": list(segments or [segment()])} | keys]}


def with_profile(change, where="profiles"):
    document = deepcopy(GUEST_BAYS)
    change(document)
    return {where: [{"profile": document}]}


def periods(*given):
    return lambda document: document["chargingSchedule"].update(
        chargingSchedulePeriod=[{"startPeriod": start, "limit": limit} for start, limit in given]
    )


TOU = "[grid.main.time_of_use 1] "
PROFILE = "[grid.main.profile 1.profile] "


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        (
            schedule(days=["monday"]),
            f'{TOU}days: there is no day "monday"; did you mean "mon"? (it is \'monday\').',
        ),
        (
            schedule(days=["lundi"]),
            (
                f'{TOU}days: there is no day "lundi"; the days are mon, tue, wed, thu, fri, sat,'
                " sun, holiday (it is 'lundi')."
            ),
        ),
        (schedule(days=[]), f"{TOU}days: is empty; add at least one (it is [])."),
        (
            schedule(first_day="2026-02-30"),
            f'{TOU}first_day: "2026-02-30" is no date; write it like "2026-12-25" (it is \'2026-02-30\').',
        ),
        (
            schedule(first_day="2026-05-02", last_day="2026-05-01"),
            "[grid.main] time_of_use: first_day 2026-05-02 is after last_day 2026-05-01; exchange them.",
        ),
        (
            schedule(segment(limit_a=-1)),
            (
                "[grid.main.time_of_use 1.segment 1] limit_a: input should be greater than"
                " or equal to 0 (it is -1)."
            ),
        ),
        (
            schedule({"begin": "18:00", "end": "22:00"}),
            f"{TOU}segment: a segment needs limit_a or limit_kw; leave it out where nothing limits.",
        ),
        (
            schedule(segment(begin="18.00")),
            (
                '[grid.main.time_of_use 1.segment 1] begin: "18.00" is no time of day;'
                ' write it like "18:00", the end of a day "24:00" (it is \'18.00\').'
            ),
        ),
        (
            schedule(segment(end="24:01")),
            (
                '[grid.main.time_of_use 1.segment 1] end: "24:01" is no time of day;'
                ' write it like "18:00", the end of a day "24:00" (it is \'24:01\').'
            ),
        ),
        (
            schedule(segment(end="18:00")),
            f'{TOU}segment: from "18:00" to "18:00" is no span; a whole day is "00:00" to "24:00".',
        ),
        (
            schedule(segment(), segment("21:00", "23:00")),
            f"{TOU}segment: two segments overlap from 21:00; end the one where the other begins.",
        ),
        (
            schedule(segment("20:00", "04:00"), segment("03:00", "05:00")),
            f"{TOU}segment: two segments overlap from 03:00; end the one where the other begins.",
        ),
        (schedule(keep_6A=True), f'{TOU}keep_6A: there is no such key; did you mean "keep_6a"?'),
        (
            with_profile(periods((43_200, 10), (0, 6))),
            (
                "[grid.main.profile 1.profile.chargingSchedule]"
                " chargingSchedulePeriod: the first startPeriod is 43200; it must be 0."
            ),
        ),
        (
            with_profile(periods((0, 10), (60, 6), (30, 8))),
            (
                "[grid.main.profile 1.profile.chargingSchedule]"
                " chargingSchedulePeriod: startPeriod 30 stands after 60; put the periods in order of time."
            ),
        ),
        (
            with_profile(periods((0, -10))),
            (
                "[grid.main.profile 1.profile.chargingSchedule.chargingSchedulePeriod 1]"
                " limit: input should be greater than or equal to 0 (it is -10)."
            ),
        ),
        (
            with_profile(periods((0, 10), (86_400, 6))),
            (
                "[grid.main.profile 1] profile: startPeriod 86400 is never"
                " reached: the profile starts again after 86400 s."
            ),
        ),
        (
            with_profile(lambda d: d.pop("recurrencyKind")),
            (
                "[grid.main.profile 1] profile: recurrencyKind goes with"
                " chargingProfileKind Recurring, and only with it."
            ),
        ),
        (
            with_profile(lambda d: d["chargingSchedule"].pop("startSchedule")),
            (
                "[grid.main.profile 1] profile:"
                " startSchedule is missing in chargingSchedule; say when it starts."
            ),
        ),
        (
            with_profile(lambda d: d.update(chargingProfileKind="Relative")),
            f"{PROFILE}chargingProfileKind: input should be 'Absolute' or 'Recurring' (it is 'Relative').",
        ),
        (
            with_profile(lambda d: d.update(chargingProfilePurpose="TxProfile")),
            (
                f"{PROFILE}chargingProfilePurpose:"
                " input should be 'ChargePointMaxProfile' or 'TxDefaultProfile' (it is 'TxProfile')."
            ),
        ),
        (
            with_profile(lambda d: d.update(stackLevl=d.pop("stackLevel"))),
            f'{PROFILE}stackLevl: there is no such key; did you mean "stackLevel"?',
        ),
        (
            with_profile(lambda d: d["chargingSchedule"].update(startSchedule="2026-03-29T02:30:00")),
            (
                "[grid.main.profile 1] startSchedule: the clock of Europe/Amsterdam shows"
                " 2026-03-29 02:30:00 never,"
                " because it is put on then; give an offset, like 2026-03-29 02:30:00+01:00."
            ),
        ),
        (
            with_profile(lambda d: d.update(validTo="2026-10-25T02:30:00")),
            (
                "[grid.main.profile 1] validTo: the clock of Europe/Amsterdam shows"
                " 2026-10-25 02:30:00 twice,"
                " because it is put back then; give an offset, like 2026-10-25 02:30:00+01:00."
            ),
        ),
        (
            with_profile(lambda d: d["chargingSchedule"].update(chargingRateUnit="W"), "bay"),
            (
                "[chargepoint.bay.profile 1] numberPhases: a profile in W for an outlet"
                " must say for how many phases it is"
                " meant; add numberPhases to every period."
            ),
        ),
    ],
)
def test_a_wrong_schedule_or_profile_is_told_in_one_sentence(drawn, said):
    with pytest.raises(SiteError) as error:
        garage(**drawn)
    assert error.value.lines == [f"garage: {said}"]


def told_of(model, body):
    with pytest.raises(ValidationError) as error:
        model.model_validate(body)
    (sentence,) = sentences("limit", error.value, model)
    return sentence


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        (ExternalLimit, {"limit_a": 10}, "limit: ttl_s: is missing; add it."),
        (
            ExternalLimit,
            {"limit_a": 10, "ttl_s": 0},
            "limit: ttl_s: input should be greater than 0 (it is 0).",
        ),
        (
            ExternalLimit,
            {"limit_a": -1, "ttl_s": 60},
            "limit: limit_a: input should be greater than or equal to 0 (it is -1).",
        ),
        (
            ExternalLimit,
            {"limit_a": [10, 10], "ttl_s": 60},
            "limit: limit_a: give one number for all phases or three, for L1, L2 and L3.",
        ),
        (
            ExternalLimit,
            {"limit": 10, "ttl_s": 60},
            'limit: limit: there is no such key; did you mean "limit_a"?',
        ),
        (ExternalLimit, {"ttl_s": 60}, "limit: give limit_a or limit_kw; to lift a limit delete it."),
        (
            ExternalLimit,
            {"ttl_s": 60, "limit_a": 9, "paragraph_14a": True},
            "limit: paragraph_14a is about power: give limit_kw and fallback_kw, or leave them out.",
        ),
        (
            ExternalLimit,
            {"ttl_s": 60, "limit_a": 9, "export_limit": True, "keep_6a": True},
            (
                "limit: export_limit is about what flows back: regulated_only and keep_6a"
                " have no place in it;"
                " take them out."
            ),
        ),
        (
            Input,
            {"source": "modbus"},
            "limit: give fallback_a or fallback_kw: what holds while nothing is heard.",
        ),
        (
            DayAhead,
            {"start": "2026-06-03T00:00", "step_s": 900, "values_kw": [1.0]},
            (
                'limit: start: give an offset, like "2026-10-25T00:00:00+02:00" or a Z for UTC'
                " (it is '2026-06-03T00:00')."
            ),
        ),
        (
            DayAhead,
            {"start": "2026-06-03T00:00Z", "step_s": 60, "values_kw": [1.0]},
            "limit: step_s: give 900 for quarters of an hour or 3600 for hours (it is 60).",
        ),
        (
            DayAhead,
            {"start": "2026-06-03T00:00Z", "step_s": 900, "values_kw": [None, 1.0]},
            (
                "limit: values_kw: the first value is null and there is none before it; give a number"
                " (it is [None, 1.0])."
            ),
        ),
        (
            Stop,
            {"reason": "panic"},
            "limit: reason: input should be 'maintenance' or 'emergency_stop' (it is 'panic').",
        ),
    ],
)
def test_a_wrong_instruction_is_told_in_one_sentence(model, body, said):
    assert told_of(model, body) == said


ONE_PHASE_W = absolute([(0, 2300)], chargingRateUnit="W")
ONE_PHASE_W["chargingSchedule"]["chargingSchedulePeriod"][0]["numberPhases"] = 1
LIMIT = {"limit_kw": 4, "ttl_s": 60}
SERIES = DayAhead(start="2026-06-03T00:00Z", step_s=900, values_kw=(1.0,))


@pytest.mark.parametrize(
    ("place", "what", "said"),
    [
        (Place("grid", "mian"), Stop(reason="maintenance"), 'there is no grid "mian"; did you mean "main"?'),
        (
            Place("connector", "roof"),
            Stop(reason="maintenance"),
            'there is no connector "roof"; the site has bay/1, double/1, double/2.',
        ),
        (
            Place("chargepoint", "bay"),
            SERIES,
            "a day-ahead series is for a grid; give a charging profile instead.",
        ),
        (
            Place("chargepoint", "bay"),
            ExternalLimit(**LIMIT, export_limit=True),
            "export_limit is for a grid; nothing flows back out of an outlet.",
        ),
        (
            Place("connector", "bay/1"),
            ExternalLimit(**LIMIT, paragraph_14a=True),
            "paragraph_14a is for a grid with all devices behind it; give limit_kw for this one.",
        ),
        (
            Place("grid", "main"),
            ProfileSet.model_validate({"profile": ONE_PHASE_W}),
            "numberPhases: W on a grid are the sum of its three phases; leave numberPhases out.",
        ),
    ],
)
def test_an_instruction_for_the_wrong_place_is_told_in_one_sentence(place, what, said):
    assert list(instruction_faults(SITE, place, what)) == [said]


def test_a_schedule_above_the_fuse_is_a_remark_and_not_a_fault():
    site = garage(
        **schedule(segment(limit_a=120), segment("22:00", "23:00", limit_kw=69), segment("08:00", "09:00"))
    )
    assert list(remarks(site)) == [
        (
            "[grid.main.time_of_use 1] from 18:00 to 22:00 allows more than the fuse of"
            " main; the fuse holds, so the"
            " segment limits nothing."
        ),
        (
            "[grid.main.time_of_use 1] from 22:00 to 23:00 allows more than the fuse of"
            " main; the fuse holds, so the"
            " segment limits nothing."
        ),
    ]


def test_keeping_6_a_above_the_fuse_is_a_remark_since_the_fuse_wins():
    site = garage(**schedule(keep_6a=True))
    assert list(remarks(site)) == []
    small = site.model_copy(
        update={
            "grid": site.grid | {"main": site.grid["main"].model_copy(update={"max_current_a": (16,) * 3})}
        }
    )
    assert list(remarks(small)) == [
        (
            "[grid.main.time_of_use 1] keep_6a: 3 connectors at their minimum may take 18"
            " A on a fuse of 16 A; the fuse"
            " holds, so not all of them keep it at once."
        )
    ]
