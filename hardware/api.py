"""The HTTP contract over a `LiveView`: read-only, save for the few commands its owner hands in.

Handlers are plain functions, so they run in threads and never hold up the loop of the controller.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Protocol, TypeVar

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException as AnyHTTPException

from controller.sentences import sentence
from hardware import contract
from hardware.liveview import LiveView
from hardware.outside import Outside
from hardware.telling import add_telling, refuse_other_origins

Commands = Mapping[str, Callable[[], str]]
"""What a viewer may ask for, by name; each answers with one sentence."""

Found = TypeVar("Found")
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


class Sessions(Protocol):
    """Where transactions are kept: rows with the columns of the ledger, newest first."""

    def __call__(self, limit: int) -> Iterable[Mapping[str, Any]]:
        """At most `limit` of them."""
        ...


TakeWish = Callable[[str, datetime | None, float | None], Awaitable[str]]
"""Takes the departure and the kWh of the session at a connector; raises KeyError or ValueError."""


class SessionWish(BaseModel):
    """When the car that is plugged in leaves, and what it needs since it was plugged in."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    departure: datetime | None = None
    energy_kwh: float | None = None


class Done(BaseModel):
    """What a command did."""

    sentence: str


def create_app(
    view: LiveView,
    commands: Commands | None = None,
    *,
    sessions: Sessions | None = None,
    release: Callable[[str], str] | None = None,
    registry: CollectorRegistry | None = None,
    outside: Outside | None = None,
    wish: TakeWish | None = None,
) -> FastAPI:
    """The contract of `view`. `sessions` reads the ledger, `release` puts a connector back into service;
    `registry` holds more metrics of the process; `outside` is what the site can be told by, `wish` what a
    driver can tell.
    """
    app = FastAPI(
        title="Edge",
        version=view.plate().version,
        description=(contract.__doc__ or "") + "\nThe same for a site, an emulated site and a simulated run.",
        docs_url="/docs",
        redoc_url=None,
        responses={
            404: {"model": contract.Fault, "description": "there is no such thing"},
            422: {"model": contract.Fault, "description": "the question cannot be understood"},
        },
    )
    _add_reading(app, view)
    _add_sessions(app, sessions)
    _add_commands(app, commands or {})
    add_telling(app, outside)
    _add_release(app, release)
    _add_wishes(app, wish)
    _add_metrics(app, view, registry)
    _add_faults(app)
    return app


def _add_reading(app: FastAPI, view: LiveView) -> None:
    @app.get("/api/v1/site", summary="The site as drawn", tags=["live"])
    def site() -> contract.SitePlate:
        return view.plate()

    @app.get("/api/v1/live", summary="The newest cycle, with the answer on top", tags=["live"])
    def live() -> contract.Live:
        return view.snapshot()

    @app.get("/api/v1/history", summary="The last hour of one grid or one connector", tags=["live"])
    def history(
        grid: Annotated[str | None, Query(description="name of a grid")] = None,
        connector: Annotated[str | None, Query(description="chargepoint/number")] = None,
    ) -> contract.GridHistory | contract.ConnectorHistory:
        if (grid is None) == (connector is None):
            raise HTTPException(422, "Ask for one grid (?grid=) or for one connector (?connector=).")
        return _found(lambda: view.history(grid) if grid else view.connector_history(connector or ""))

    @app.get("/api/v1/chain", summary="The limits from a car to the main fuse", tags=["live"])
    def chain(connector: Annotated[str, Query(description="chargepoint/number")]) -> contract.Chain:
        return _found(lambda: view.chain(connector))

    @app.get("/api/v1/alarms", summary="Alarms that stand, then those that went, newest first", tags=["live"])
    def alarms() -> list[contract.AlarmLive]:
        return view.alarms()

    @app.get(
        "/api/v1/health",
        summary="Whether the controller runs; 503 if not",
        tags=["live"],
        responses={503: {"model": contract.Health, "description": "no cycle yet, or none for 10 s"}},
    )
    def health(response: Response) -> contract.Health:
        state = view.health()
        response.status_code = 200 if state.ok else 503
        return state


def _found(ask: Callable[[], Found]) -> Found:
    try:
        return ask()
    except KeyError as error:
        raise HTTPException(404, str(error.args[0])) from None


def _add_sessions(app: FastAPI, sessions: Sessions | None) -> None:
    @app.get("/api/v1/sessions", summary="Who charged, newest first", tags=["sessions"])
    def newest(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[contract.Charge]:
        if sessions is None:
            raise HTTPException(404, "This world keeps no sessions; ask the box that runs the site.")
        return [_charge(row) for row in sessions(limit)]


def _charge(row: Mapping[str, Any]) -> contract.Charge:
    """A row of the ledger, whose registers count from the day the meter was made."""
    register_wh = row["meter_stop_wh"] if row["meter_stop_wh"] is not None else row["energy_wh"]
    return contract.Charge(
        identity=row["identity"],
        connector=row["connector"],
        card=row["tag"],
        began=row["started_utc"],
        ended=row["ended_utc"],
        energy_wh=None if register_wh is None else register_wh - row["meter_start_wh"],
        reason=row["reason"],
    )


def _add_wishes(app: FastAPI, wish: TakeWish | None) -> None:
    @app.put(
        "/api/v1/connectors/{name:path}/wish",
        summary="Tell when the car leaves and what it needs",
        tags=["sessions"],
    )
    async def tell(name: str, body: SessionWish, request: Request) -> Done:
        refuse_other_origins(request)
        if wish is None:
            raise HTTPException(404, "This world takes no wishes; ask the box that runs the site.")
        try:
            return Done(sentence=await wish(name, body.departure, body.energy_kwh))
        except KeyError as error:
            raise HTTPException(404, str(error.args[0])) from None
        except ValueError as error:
            raise HTTPException(422, str(error)) from None


def _add_commands(app: FastAPI, commands: Commands) -> None:
    @app.get("/api/v1/commands", summary="What may be asked for", tags=["commands"])
    def names() -> list[str]:
        return list(commands)

    @app.post("/api/v1/commands/{name}", summary="Do it", tags=["commands"])
    def act(name: str, request: Request) -> Done:
        refuse_other_origins(request)
        if name not in commands:
            raise HTTPException(
                404, f'There is no command "{name}"; there are: {", ".join(commands) or "none"}.'
            )
        return Done(sentence=commands[name]())


def _add_release(app: FastAPI, release: Callable[[str], str] | None) -> None:
    @app.post(
        "/api/v1/connectors/release",
        summary="Put a connector back into service that never obeyed",
        tags=["commands"],
    )
    def put_back(connector: str, request: Request) -> Done:
        refuse_other_origins(request)
        if release is None:
            raise HTTPException(404, "This world takes no connector out of service; ask the box of the site.")
        return Done(sentence=_found(lambda: release(connector)))


def _add_metrics(app: FastAPI, view: LiveView, registry: CollectorRegistry | None) -> None:
    own = CollectorRegistry()
    own.register(_Gauges(view))

    @app.get("/metrics", summary="For Prometheus", tags=["metrics"], response_class=Response)
    def metrics() -> Response:
        text = generate_latest(own) + (generate_latest(registry) if registry else b"")
        return Response(text, media_type=PROMETHEUS)


class _Gauges:
    """The newest cycle as metrics; what is unknown is left out, never 0."""

    def __init__(self, view: LiveView) -> None:
        self._view = view

    def collect(self) -> Iterable[Metric]:
        live = self._view.snapshot()
        yield GaugeMetricFamily("edge_cycles", "cycles since the start", live.cycle)
        if live.age_s is not None:
            yield GaugeMetricFamily("edge_cycle_age_seconds", "since the newest cycle", live.age_s)
        yield GaugeMetricFamily("edge_alarms", "alarms that stand", len(live.alarms))
        yield GaugeMetricFamily("edge_cars_plugged", "cars plugged in", live.plugged)
        yield GaugeMetricFamily("edge_cars_charging", "cars that draw current", live.charging)
        for field in ("measured", "limit", "other", "booked"):
            gauge = GaugeMetricFamily(
                f"edge_grid_{field}_amperes", f"{field} current", labels=["grid", "phase"]
            )
            for grid in live.grids:
                for phase in grid.phases:
                    _add(gauge, [grid.name, phase.phase], getattr(phase, f"{field}_a"))
            yield gauge
        for field in ("gets", "draws", "may_draw"):
            gauge = GaugeMetricFamily(
                f"edge_connector_{field}_amperes", f"{field} current", labels=["connector"]
            )
            for connector in live.connectors:
                _add(gauge, [connector.name], getattr(connector, f"{field}_a"))
            yield gauge


def _add(gauge: GaugeMetricFamily, labels: list[str], value: float | None) -> None:
    if value is not None:
        gauge.add_metric(labels, value)


def _add_faults(app: FastAPI) -> None:
    """Every error leaves as one sentence."""

    @app.exception_handler(AnyHTTPException)
    def refused(request: Request, error: AnyHTTPException) -> JSONResponse:
        sentence = str(error.detail)
        if sentence == "Not Found":
            sentence = f"There is nothing at {request.url.path}; see /docs."
        if sentence == "Method Not Allowed":
            sentence = f"{request.method} is not possible at {request.url.path}; see /docs."
        return JSONResponse({"error": sentence}, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    def misunderstood(request: Request, error: RequestValidationError) -> JSONResponse:
        fault = error.errors()[0]
        if fault["loc"][0] == "body":
            return JSONResponse({"error": _of_body(request, fault)}, 422)
        where = str(fault["loc"][-1])
        said = f"{where} is {fault['input']!r}: {fault['msg']}." if fault["input"] is not None else ""
        return JSONResponse({"error": said or f"{where} is missing; add it to the address."}, 422)


def _of_body(request: Request, fault: Any) -> str:
    """What is wrong with what was sent."""
    if fault["type"] == "json_invalid":
        return f"The body is no JSON: {fault['ctx']['error']}."
    field = getattr(request.scope.get("route"), "body_field", None)
    model = field.field_info.annotation if field is not None else BaseModel
    return sentence("body", {**fault, "loc": fault["loc"][1:]}, model)
