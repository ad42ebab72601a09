"""What an emulated chargepoint is made of: nameplate, settings, outlets and the power side behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from controller.defaults import UNKNOWN
from scenarios.emulate.frames import Message
from scenarios.emulate.profiles import NOMINAL_VOLTAGE_V, PURPOSES, Purpose

FAULTED = "Faulted"
DC_VOLTAGE_V = 400.0  # of a car's battery


class Truth(NamedTuple):
    """What the electronics of a connector feel."""

    plugged: bool
    status: str
    """ChargePointStatus as long as a transaction runs: Charging, SuspendedEV or SuspendedEVSE."""
    current_ma: tuple[int, int, int]
    """Below 0 where the car feeds back; UNKNOWN where a meter says nothing."""
    energy_wh: int
    given_wh: int = 0
    """The export register."""
    voltage_v: float = float(NOMINAL_VOLTAGE_V)
    feed_factor: float = 1.0
    """Power factor of a DC box on its feed."""


class PowerSide(Protocol):
    """Contactors, control pilots and meters behind the electronics; connectors count from 1."""

    def truth(self, connector: int) -> Truth:
        """What is there now."""
        ...

    def reading(self, connector: int) -> tuple[Truth, int] | None:
        """What the meter says of it, and after how many ms it is told; None: nothing is."""
        ...

    def loses(self, connector: int) -> bool:
        """The next message about this connector gets lost."""
        ...

    def pilot_ma(self, connector: int) -> int:
        """What the car is offered now, as far as the electronics know."""
        ...

    def set_pilot(self, connector: int, limit_ma: int, phases: int) -> None:
        """Offer the car this much per phase; below 6 A is a pause. A box that can goes to 1 or 3 phases."""
        ...

    def switch(self, connector: int, *, on: bool) -> None:
        """Close or open the contactor: a transaction runs, or none does."""
        ...

    def refuses(self, connector: int) -> bool:
        """The box takes no profile at the moment."""
        ...

    def late_ms(self, connector: int) -> int:
        """How much longer than it should the box takes for an answer at the moment."""
        ...


@dataclass(frozen=True, slots=True)
class Nameplate:
    """What the box is, and in what it falls short of the standard."""

    identity: str
    hardware_ma: tuple[int, ...]
    vendor: str = "Emulated"
    model: str = "Twin"
    firmware: str = "1.0"
    purposes: tuple[Purpose, ...] = PURPOSES
    max_stack_level: int = 8
    keeps_samples: bool = True
    """MeterValues of a transaction wait for the link; otherwise they are lost."""
    direct: tuple[float, ...] = ()
    """Efficiency of each outlet that is DC, 0 for AC; empty: all are AC."""

    def efficiency(self, connector: int) -> float:
        """Of a DC outlet, 0: AC; connector 0 is the whole box, which is the same where it has one outlet."""
        return self.direct[max(connector, 1) - 1] if self.direct else 0.0


@dataclass(slots=True)
class Running:
    """A transaction: `number` is None until the central system has given it one."""

    card: str
    began_ms: int
    number: int | None = None


@dataclass(slots=True)
class Outlet:
    """One connector, seen from the electronics."""

    number: int
    operative: bool = True
    plugged: bool = False
    shown: str = "SuspendedEV"
    told: str = ""
    """Status that the central system knows."""
    running: Running | None = None
    finished: bool = False
    """The transaction has ended and the car is still here."""
    sample_due_ms: int | None = None
    asked_due_ms: int | None = None
    remote_card: str = ""
    remote_until_ms: int = 0
    remote_profile: Message | None = None

    @property
    def status(self) -> str:
        """ChargePointStatus."""
        if self.running or self.shown == FAULTED:
            return self.shown
        if not self.operative:
            return "Unavailable"
        if not self.plugged:
            return "Available"
        return "Finishing" if self.finished else "Preparing"


@dataclass(slots=True)
class Settings:
    """Configuration keys and their values; the box reads its own behaviour from here."""

    values: dict[str, str]
    fixed: dict[str, str] = field(default_factory=dict)

    def whole(self, key: str) -> int:
        """A whole number, 0 where the value is none."""
        text = self.values.get(key) or self.fixed.get(key, "")
        return int(text) if text.isdigit() else 0


def settings_of(nameplate: Nameplate) -> Settings:
    """What the box leaves the factory with."""
    return Settings(
        {
            "AllowOfflineTxForUnknownId": "true",
            "AuthorizeRemoteTxRequests": "false",
            "ClockAlignedDataInterval": "0",
            "ConnectionTimeOut": "60",
            "HeartbeatInterval": "300",
            "LocalAuthorizeOffline": "true",
            "MeterValueSampleInterval": "60",
            "MeterValuesSampledData": "Energy.Active.Import.Register",
            "MinimumStatusDuration": "0",
            "StopTransactionOnEVSideDisconnect": "true",
            "StopTransactionOnInvalidId": "true",
            "WebSocketPingInterval": "0",
        },
        {
            "ChargeProfileMaxStackLevel": str(nameplate.max_stack_level),
            "ChargingScheduleAllowedChargingRateUnit": "Current,Power",
            "ChargingScheduleMaxPeriods": "24",
            "GetConfigurationMaxKeys": "50",
            "MaxChargingProfilesInstalled": "20",
            "NumberOfConnectors": str(len(nameplate.hardware_ma)),
            "SupportedFeatureProfiles": "Core,SmartCharging,RemoteTrigger",
        },
    )


def samples(measurand: str, truth: Truth, context: str, efficiency: float = 0.0) -> list[str]:
    """The sampledValue texts of one measurand; with `efficiency` those of DC, measured at the car."""

    def sample(value: str, unit: str, phase: str = "") -> str:
        on = f'"phase":"{phase}",' if phase else ""
        return (
            f'{{"value":"{value}","context":"{context}","measurand":"{measurand}",{on}'
            f'"location":"Outlet","unit":"{unit}"}}'
        )

    known = {f"L{i}": ma for i, ma in enumerate(truth.current_ma, start=1) if ma != UNKNOWN}
    current_ma = sum(known.values())
    if efficiency:
        power_w = current_ma * truth.voltage_v * truth.feed_factor * efficiency / 1000
        direct = {
            "Current.Import": (power_w / DC_VOLTAGE_V, "A"),
            "Power.Active.Import": (power_w, "W"),
            "Voltage": (DC_VOLTAGE_V, "V"),
        }
        if measurand in direct:
            value, unit = direct[measurand]
            return [sample(f"{value:.3f}", unit)]
    match measurand:
        case "Current.Import":
            return [sample(f"{ma / 1000:.3f}", "A", phase) for phase, ma in known.items()]
        case "Power.Active.Import":
            return [sample(f"{current_ma * truth.voltage_v / 1000:.1f}", "W")]
        case "Energy.Active.Import.Register":
            return [sample(str(truth.energy_wh), "Wh")]
        case "Energy.Active.Export.Register":
            return [sample(str(truth.given_wh), "Wh")]
        case "Voltage":
            return [sample(f"{truth.voltage_v:.1f}", "V", f"L{i}-N") for i in (1, 2, 3)]
    return []
