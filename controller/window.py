"""Sliding maximum over time: exact while its change points fit the slots, on the safe side beyond.

`values` falls and `until` rises from slot 0 on; the newest holds until the next push, which writes its
`until`. A minimum is the maximum of the negated values.
"""

from __future__ import annotations

from typing import Any

from controller.kernel import kernel


@kernel
def push(values: Any, until: Any, count: int, now: int, value: int, keep_ms: int) -> int:
    """Put the value of this instant; returns the new count. Nothing older than `keep_ms` is kept."""
    if count == 1 and values[0] == value:
        return 1
    if count > 0:
        until[count - 1] = now
    expired = 0
    while expired < count and until[expired] < now - keep_ms:
        expired += 1
    for slot in range(expired, count):
        values[slot - expired] = values[slot]
        until[slot - expired] = until[slot]
    count -= expired
    while count > 0 and values[count - 1] <= value:
        count -= 1
    if count == len(values):
        until[count - 1] = now
        return count
    values[count] = value
    until[count] = now
    return count + 1


@kernel
def highest(values: Any, until: Any, count: int, since: int) -> int:
    """Largest value in force at any instant from `since` on; `count` must not be 0."""
    for slot in range(count):
        if until[slot] >= since:
            return values[slot]
    return values[count - 1]
