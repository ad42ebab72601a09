"""Frames of OCPP-J 1.6 and the schemas they must keep.

A frame is `[2, id, action, payload]`, `[3, id, payload]` or `[4, id, code, description, details]` (OCPP-J 1.6
section 4). The schemas are those of the `ocpp` package; they are checked by jsonschema-rs, which takes 3 us
for a MeterValues where the package's own engine takes 500.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import Any, Final, NamedTuple, NoReturn

import jsonschema_rs

CALL, RESULT, ERROR = 2, 3, 4
LONGEST_ID: Final = 36
_MOST_DIGITS: Final = 15  # every whole number of OCPP fits; what does not would break databases later

Payload = dict[str, Any]


class Call(NamedTuple):
    """A request."""

    id: str
    action: str
    payload: Payload


class Result(NamedTuple):
    """The answer to a request."""

    id: str
    payload: Payload


class Error(NamedTuple):
    """The refusal of a request as such; `code` is one of section 4.2.3."""

    id: str
    code: str
    description: str


class Malformed(ValueError):
    """A frame that cannot be understood; `id` is empty unless it was a CALL that can be answered."""

    def __init__(self, sentence: str, id_: str = "") -> None:
        super().__init__(sentence)
        self.id = id_


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _not_a_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError(f"{digits[:20]} is beyond every number")
    return value


_decode = json.JSONDecoder(parse_int=_whole, parse_float=_finite, parse_constant=_not_a_number).decode


def parse(text: str | bytes) -> Call | Result | Error:
    """Read one frame. Raises Malformed."""
    if isinstance(text, bytes):
        raise Malformed("a binary frame; OCPP-J is text")
    try:
        frame = _decode(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(frame, ensure_ascii=False).encode()  # half a character would break the ledger
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON ({type(error).__name__}: {str(error)[:80]})") from None
    if not isinstance(frame, list) or len(frame) < 3:
        raise Malformed("not a list of at least three elements")
    kind, id_ = frame[0], frame[1]
    if not isinstance(id_, str):
        raise Malformed("a message id that is not a string")
    if kind == CALL and type(kind) is int:
        return _call(frame, id_)
    if kind == RESULT and isinstance(frame[2], dict):
        return Result(id_, frame[2])
    if kind == ERROR and isinstance(frame[2], str):
        return Error(id_, frame[2], str(frame[3]) if len(frame) > 3 else "")
    raise Malformed(f"unknown message type or wrong elements ({str(kind)[:20]})", id_ if kind == CALL else "")


def _call(frame: list[Any], id_: str) -> Call:
    if len(frame) != 4 or not isinstance(frame[2], str) or not isinstance(frame[3], dict):
        raise Malformed("a CALL that is not [2, id, action, {...}]", id_)
    return Call(id_, frame[2], frame[3])


def dump(frame: Call | Result | Error) -> str:
    """The text of a frame."""
    if isinstance(frame, Call):
        return json.dumps([CALL, *frame], separators=(",", ":"))
    if isinstance(frame, Result):
        return json.dumps([RESULT, *frame], separators=(",", ":"))
    return json.dumps([ERROR, *frame, {}], separators=(",", ":"))


@cache
def _schema(name: str) -> jsonschema_rs.Draft4Validator:
    text = (files("ocpp") / "v16" / "schemas" / f"{name}.json").read_text("utf-8-sig")
    # Formats are left to the readers: half of the boxes have their own idea of a timestamp.
    return jsonschema_rs.Draft4Validator(json.loads(text), validate_formats=False)


def fault_in_call(action: str, payload: Payload) -> str:
    """How a request breaks its schema, in one sentence; empty when it does not."""
    return _fault(action, payload)


def fault_in_result(action: str, payload: Payload) -> str:
    """How an answer breaks its schema, in one sentence; empty when it does not."""
    return _fault(f"{action}Response", payload)


def _fault(name: str, payload: Payload) -> str:
    try:
        _schema(name).validate(payload)
    except jsonschema_rs.ValidationError as error:
        place = ".".join(str(step) for step in error.instance_path)
        return f"{place or 'payload'}: {str(error.message)[:120]}"
    except ValueError as error:  # text that is no Unicode
        return f"payload: {str(error)[:120]}"
    return ""
