"""What emulated chargepoints show at the door: security profiles of OCPP 1.6, keys and certificates."""

from __future__ import annotations

import base64
import ssl
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from controller.site import Site, SiteError

Profile = Literal[0, 1, 2, 3]


class Security(BaseModel):
    """`[security]` of a scenario; paths are relative to its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Profile = 0
    profiles: dict[str, Profile] = Field(default_factory=dict)
    """By name of the chargepoint, where it has another."""
    keys: Path | None = None
    ca: Path | None = None
    certificates: Path | None = None


@dataclass
class Pass:
    """What one chargepoint shows; `key` may be changed by its central system."""

    profile: int = 0
    key: str = ""
    tls: ssl.SSLContext | None = None

    def headers(self, identity: str) -> dict[str, str]:
        """HTTP basic, where it has a key."""
        if not self.key or self.profile not in {1, 2}:
            return {}
        return {"Authorization": "Basic " + base64.b64encode(f"{identity}:{self.key}".encode()).decode()}


def read_passes(table: Security, site: Site, folder: Path, source: str) -> dict[str, Pass]:
    """The pass of each chargepoint by its name. Raises SiteError with one sentence per fault."""
    lines = [
        f'{source}: [security] profiles: there is no chargepoint "{name}".'
        for name in table.profiles
        if name not in site.chargepoint
    ]
    keys = _keys(folder / table.keys) if table.keys else {}
    passes = {}
    trusting: ssl.SSLContext | None = None
    for name, chargepoint in site.chargepoint.items():
        made = Pass(table.profiles.get(name, table.profile), keys.get(chargepoint.identity, ""))
        lines += [
            f"{source}: [security] {fault}" for fault in _faults(table, name, chargepoint.identity, made)
        ]
        if not lines and table.ca is not None:
            if trusting is None or made.profile == 3:
                context = _trusting(folder / table.ca)
                if made.profile == 3 and table.certificates is not None:
                    _present(context, folder / table.certificates, chargepoint.identity)
                else:
                    trusting = context
            made.tls = context if made.profile == 3 else trusting
        passes[name] = made
    if lines:
        raise SiteError(lines)
    return passes


def _faults(table: Security, name: str, identity: str, made: Pass) -> Iterator[str]:
    if made.profile in {1, 2} and not made.key:
        yield f'keys: profile {made.profile} of {name} needs a file with "{identity}" = "its key".'
    if made.profile >= 2 and table.ca is None:
        yield f"ca: profile {made.profile} of {name} needs the root certificate that it trusts."
    if made.profile == 3 and table.certificates is None:
        yield f"certificates: profile 3 of {name} needs a folder with {identity}.pem and {identity}.key."


def _keys(path: Path) -> dict[str, str]:
    try:
        keys = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SiteError([f"{path}: cannot be read: {error.strerror}."]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SiteError([f"{path}: this is not TOML: {error}"]) from None
    return {identity: str(key) for identity, key in keys.items()}


def _trusting(root: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(root))
    except ssl.SSLError as error:
        raise SiteError([f"{root}: has no certificate in PEM ({error.reason or error})."]) from None
    except OSError as error:
        raise SiteError([f"{root}: cannot be read: {error.strerror}."]) from None


def _present(context: ssl.SSLContext, folder: Path, identity: str) -> None:
    certificate, key = folder / f"{identity}.pem", folder / f"{identity}.key"
    try:
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise SiteError([f"{certificate}, {key}: do not fit ({error.reason or error})."]) from None
    except OSError as error:
        raise SiteError([f"{certificate}, {key}: cannot be read: {error.strerror}."]) from None
