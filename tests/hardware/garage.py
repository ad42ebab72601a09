"""A small garage for the tests of the box: a car on a chargepoint of its own, a meter, and the site file."""

import asyncio
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import websockets

from tests.hardware.ocpp_peer import dial


def site_text(
    ocpp: int = 0, api: int = 0, meter: int | None = None, chargepoints: int = 1, more: str = ""
) -> str:
    """A site file; `meter` is the port of its guard meter, None: chargepoints only."""
    grid = "" if meter else "chargepoints_only = true\n"
    lines = [
        'name = "Small garage"\ntimezone = "Europe/Amsterdam"\naccept_unsafe_fallback = "a test, nobody"\n',
        f"[grid.main]\nid = 0\nmax_current_a = 63\n{grid}",
    ]
    for n in range(1, chargepoints + 1):
        lines.append(
            f'[chargepoint.bay_{n}]\nidentity = "CP-{n}"\nfed_by = "main"\n'
            "connector = [{ number = 1, max_current_a = 32 }]\n"
        )
    if meter:
        lines.append(
            '[meter.main]\ngrid = "main"\nrole = "guard"\n'
            f'link = {{ kind = "modbus-tcp", map = "eastron_sdm630", host = "127.0.0.1", port = {meter},'
            " poll_ms = 100 }\n"
        )
    lines.append(
        f'[box]\nocpp = {{ host = "127.0.0.1", port = {ocpp} }}\n'
        f'api = {{ host = "127.0.0.1", port = {api} }}\n'
    )
    return "\n".join([*lines, more])


def write_site(folder: Path, **options: Any) -> Path:
    path = folder / "garage.toml"
    path.write_text(site_text(**options))
    return path


class Car:
    """A car that draws what it may, at most 20 A, from a chargepoint that reports every two seconds."""

    def __init__(self, box: Any) -> None:
        self.box = box
        self.limits_a: list[float] = []  # of every TxProfile that came
        self.transaction = 0
        box.replies["SetChargingProfile"] = self._obey
        box.replies["TriggerMessage"] = self._report

    @property
    def draws_a(self) -> float:
        return min(self.limits_a[-1], 20) if self.limits_a and self.limits_a[-1] >= 6 else 0

    def _obey(self, payload: Any) -> Any:
        profile = payload["csChargingProfiles"]
        if profile["chargingProfilePurpose"] == "TxProfile":
            self.limits_a.append(float(profile["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"]))
        return self.box._SetChargingProfile(payload)

    def _report(self, payload: Any) -> Any:
        reports = {"MeterValues": self.meter, "StatusNotification": lambda: self.box.status("Charging")}
        if payload["requestedMessage"] in reports:
            self.box._late.append(asyncio.create_task(reports[payload["requestedMessage"]]()))
        return {"status": "Accepted"}

    async def plug_in(self) -> None:
        await self.box.status("Preparing")
        answer = await self.box.start("CARD1")
        self.transaction = answer["transactionId"]
        await self.box.status("Charging")

    async def meter(self) -> None:
        amps = [
            {"value": f"{self.draws_a:.1f}", "measurand": "Current.Import", "phase": f"L{n}", "unit": "A"}
            for n in (1, 2, 3)
        ]
        await self.box.meter(*amps, transactionId=self.transaction)

    async def charge(self) -> None:
        while True:
            await self.meter()
            await asyncio.sleep(2)


@asynccontextmanager
async def charging(port: int, utc: Any = None, identity: str = "CP-1", boots: bool = True):
    """A car on a connected chargepoint, reporting; `boots`: it comes as if switched on and plugged in."""
    box = await dial(port, identity)
    if utc:
        box.utc = utc
    car = Car(box)
    reporting = None
    try:
        if boots:
            await box.boot()
            await car.plug_in()
            reporting = asyncio.create_task(car.charge())
        yield car
    finally:
        if reporting:
            reporting.cancel()
            with suppress(asyncio.CancelledError, websockets.ConnectionClosed, TimeoutError):
                await reporting
        await box.close()
