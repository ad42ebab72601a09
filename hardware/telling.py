"""The part of the HTTP contract by which a site is told: limits, charging profiles, series and stops.

What is put here holds from the next cycle on, can only narrow what the fuses allow, and survives a restart.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, HTTPException, Path, Request
from pydantic import Field, model_validator

from controller.calendar import DayAhead
from controller.external import ExternalLimit, Instruction, Place, PlaceKind, ProfileSet, Stop, What
from controller.quantities import FrozenTable, TimeToLive
from controller.setpoints import Setpoint
from hardware import contract
from hardware.outside import Kind, Outside, Told

Places = Annotated[
    Literal["grids", "chargepoints", "connectors", "batteries", "inverters"],
    Path(description="what it is for"),
]
Name = Annotated[str, Path(description="its name; of a connector chargepoint/number")]
Identifier = Annotated[str, Path(min_length=1, max_length=64, description="yours to choose")]
Reason = Literal["maintenance", "emergency_stop"]
_ONE: Final[dict[str, PlaceKind]] = {
    "grids": "grid",
    "chargepoints": "chargepoint",
    "connectors": "connector",
    "batteries": "battery",
    "inverters": "inverter",
}
_AT: Final = "/api/v1/{places}/{name:path}"


class ProfileBody(ProfileSet):
    """A charging profile and how it counts; a bare OCPP profile is taken as it is."""

    ttl_s: TimeToLive | None = None
    """It lives this long; left out: until it is deleted, or its own end."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, body: Any) -> Any:
        return {"profile": body} if isinstance(body, dict) and "chargingProfileId" in body else body


class StopBody(FrozenTable):
    """Who stops it."""

    by: str = Field(default="", max_length=200)


def add_telling(app: FastAPI, outside: Outside | None) -> None:
    """Add the routes; without `outside` they say that this world cannot be told."""

    def told() -> Outside:
        if outside is None:
            raise HTTPException(404, "This world cannot be told anything; ask the box that runs the site.")
        return outside

    async def tell(
        request: Request,
        where: tuple[str, str],
        kind: Kind,
        number: str,
        what: What,
        ttl_s: int | None = None,
    ) -> contract.Instruction:
        refuse_other_origins(request)
        place = Place(_ONE[where[0]], where[1])
        for fault in told().faults(place, what):
            raise HTTPException(404 if fault.startswith("there is no") else 422, _as_sentence(fault))
        durable = await told().tell(place, kind, number, what, ttl_s)
        return _found(told(), place, kind, number).model_copy(update={"durable": durable})

    @app.get("/api/v1/instructions", summary="All that was told and stands", tags=["instructions"])
    async def everything() -> list[contract.Instruction]:
        return [_shown(told(), *one) for one in told().all()]

    @app.put(_AT + "/limits/{number}", summary="Limit it for a time", tags=["instructions"])
    async def limit(
        request: Request, places: Places, name: Name, number: Identifier, body: ExternalLimit
    ) -> contract.Instruction:
        return await tell(request, (places, name), "limits", number, body, body.ttl_s)

    @app.put(_AT + "/profiles/{number}", summary="Give it a charging profile", tags=["instructions"])
    async def profile(
        request: Request, places: Places, name: Name, number: Identifier, body: ProfileBody
    ) -> contract.Instruction:
        what = ProfileSet.model_validate(body.model_dump(exclude={"ttl_s"}))
        return await tell(request, (places, name), "profiles", number, what, body.ttl_s)

    @app.put(_AT + "/series/{number}", summary="Limit a grid hour by hour", tags=["instructions"])
    async def series(
        request: Request, places: Places, name: Name, number: Identifier, body: DayAhead
    ) -> contract.Instruction:
        return await tell(request, (places, name), "series", number, body)

    @app.put(_AT + "/setpoints/{number}", summary="Tell a battery what to do", tags=["instructions"])
    async def setpoint(
        request: Request, places: Places, name: Name, number: Identifier, body: Setpoint
    ) -> contract.Instruction:
        return await tell(request, (places, name), "setpoints", number, body, body.ttl_s)

    @app.put(_AT + "/stops/{number}", summary="Stop everything at or under it", tags=["instructions"])
    async def stop(
        request: Request, places: Places, name: Name, number: Reason, body: StopBody
    ) -> contract.Instruction:
        return await tell(request, (places, name), "stops", number, Stop(reason=number, by=body.by))

    @app.get(_AT + "/{kind}/{number}", summary="What was told", tags=["instructions"])
    async def one(places: Places, name: Name, kind: Kind, number: Identifier) -> contract.Instruction:
        return _found(told(), Place(_ONE[places], name), kind, number)

    @app.delete(_AT + "/{kind}/{number}", summary="Take it back", tags=["instructions"])
    async def withdraw(
        request: Request, places: Places, name: Name, kind: Kind, number: Identifier
    ) -> contract.Instruction:
        refuse_other_origins(request)
        place = Place(_ONE[places], name)
        before = _found(told(), place, kind, number)
        await told().withdraw(place, kind, number)
        return before


def refuse_other_origins(request: Request) -> None:
    """A page of another site, open in the same browser, must not command this one."""
    origin = request.headers.get("origin")
    if origin and origin.split("://")[-1] != request.headers.get("host"):
        raise HTTPException(403, f"Commands are not taken from pages of {origin}.")


def _found(outside: Outside, place: Place, kind: Kind, number: str) -> contract.Instruction:
    if found := outside.find(place, kind, number):
        return _shown(outside, *found)
    raise HTTPException(404, f'Nothing is told for {place.kind} "{place.name}" as {kind} "{number}".')


def _shown(outside: Outside, told: Told, instruction: Instruction) -> contract.Instruction:
    left_s = outside.left_s(instruction)
    return contract.Instruction(
        place=told.place.kind,
        name=told.place.name,
        kind=told.kind,
        id=told.id,
        told=told.told_utc,
        left_s=left_s,
        expired=left_s == 0,
        says=told.what.model_dump(mode="json", by_alias=True, exclude_none=True),
    )


def _as_sentence(fault: str) -> str:
    return f"{fault[0].upper()}{fault[1:]}"
