"""Pydantic's errors in the words of somebody who edits the file: place, mistake, mend."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


def sentences(
    source: str, error: ValidationError, model: type[BaseModel], under: tuple[str, ...] = ()
) -> list[str]:
    """What is wrong with the tables, one sentence per mistake.

    A misspelt key is one mistake, not an unknown key and a missing one; so is a list whose only entry is
    wrong, or one number that stands for three phases.
    """
    faults = error.errors()
    places = [fault["loc"] for fault in faults]
    meant = {
        (*fault["loc"][:-1], close)
        for fault in faults
        if fault["type"] == "extra_forbidden" and (close := _nearest_key(fault, model))
    }
    lines = [
        sentence(source, fault, model, under)
        for fault in faults
        if not (fault["type"] == "missing" and fault["loc"] in meant)
        and not (fault["type"] == "too_short" and any(_is_inside(place, fault["loc"]) for place in places))
    ]
    return list(dict.fromkeys(lines))


def _is_inside(place: tuple[int | str, ...], table: tuple[int | str, ...]) -> bool:
    return len(place) > len(table) and place[: len(table)] == table


def sentence(source: str, fault: Any, model: type[BaseModel], under: tuple[str, ...] = ()) -> str:
    """One pydantic error in the words of somebody who edits the file.

    `model` is what was validated, `under` the names of the tables above it.
    """
    where = [*under, *_names(fault)]
    key = where[-1] if where else ""
    table = ".".join(where[:-1])
    place = f"{source}: [{table}] {key}" if table else f"{source}: {key}" if where else source
    if fault["type"] == "extra_forbidden":
        close = _nearest_key(fault, model)
        hint = f'did you mean "{close}"?' if close else "remove it or check its spelling."
        return f"{place}: there is no such key; {hint}"
    if fault["type"] == "missing" and isinstance(fault["loc"][-1], int):
        return f"{place}: give one number for all phases or three, for L1, L2 and L3."
    if fault["type"] == "missing":
        return f"{place}: is missing; add it."
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "too_short":
        message = "is empty; add at least one"
    if fault["type"] == "too_long":
        message = "give one number for all phases or three, for L1, L2 and L3"
    message = message.replace("a valid tuple", "a list in square brackets")
    message = message.partition(" or instance of ")[0].replace("a valid dictionary", "a table")
    if fault["loc"][-1:] == ("literal['panic']",):
        message = 'should be "panic" or like { safe_current_a = 16 }'
    if _is_table(fault["input"]):  # the message says it, and a whole table would drown it
        return f"{place}: {message[0].lower()}{message[1:]}."
    return f"{place}: {message[0].lower()}{message[1:]} (it is {fault['input']!r})."


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list | tuple) and any(map(_is_table, value)))


def _names(fault: Any) -> list[str]:
    """Names of the tables down to the key: entries of a list by number from 1, kinds of a value left out."""
    names: list[str] = []
    for at, part in enumerate(fault["loc"], start=1):
        if isinstance(part, str) and part not in ("SafeCurrent", "literal['panic']"):
            names.append(part)
        elif isinstance(part, int) and at < len(fault["loc"]):
            names[-1] += f" {part + 1}"
    return names


def _nearest_key(fault: Any, model: type[BaseModel]) -> str:
    """The key that was probably meant, or nothing."""
    path = [str(part) for part in fault["loc"]]
    return next(iter(get_close_matches(path[-1], _known_keys(model, path), n=1)), "")


def _known_keys(model: type[BaseModel], where: list[str]) -> list[str]:
    for part in where[:-1]:
        field = _fields(model).get(part)
        nested = _models_in(field.annotation) if field else []
        model = nested[0] if nested else model
    return list(_fields(model))


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields by the keys of the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
