"""Who may dial in: security profiles of OCPP 1.6 ("Improved security for OCPP 1.6-J"), keys, certificates.

Profile 0 is a name alone, 1 a key over HTTP basic, 2 the same inside TLS, 3 TLS with a client certificate.
Nobody comes in with less than his profile; with more he may. Secrets stand in files of their own.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ssl
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

from controller.site import Site, SiteError
from hardware.links import Links, SecurityTable
from hardware.sitefile import read_text

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:AES128-GCM-SHA256:AES256-GCM-SHA384"
"""Forward secrecy first; the last two are the ones that boxes must have by the white paper."""
WARN_BEFORE: Final = timedelta(days=30)
_NOT_FOR_OTHERS: Final = 0o027


class Refusal(NamedTuple):
    """Why somebody is not let in; the sentence goes on after his name."""

    status: HTTPStatus
    kind: str
    sentence: str


class Admission(NamedTuple):
    """The profile and the key of each identity, where it has one, and the TLS of the box."""

    profiles: Mapping[str, int]
    keys: Mapping[str, str]
    tls: ssl.SSLContext | None = None
    ends: datetime | None = None
    """When the certificate of the box does."""

    def ending(self, now: datetime) -> str:
        """A sentence from a month before the certificate of the box ends."""
        if self.ends is None or (left := self.ends - now) > WARN_BEFORE:
            return ""
        how = f"ends on {self.ends:%Y-%m-%d}, in {left.days} days" if left > timedelta() else "has ended"
        return f"The certificate of the box {how}; with it no chargepoint comes in by TLS: make a new one."

    def refusal(self, identity: str, authorization: str, inside: ssl.SSLObject | None) -> Refusal | None:
        """Why a known identity is not let in, `inside` a TLS connection or none; None: it is."""
        profile, key = self.profiles.get(identity, 0), self.keys.get(identity)
        names = _names_in(inside)
        if names:
            if identity in names:
                return None
            whose = " or ".join(f'"{name}"' for name in names)
            text = (
                f"came with the client certificate of {whose}; give it one with its identity as common name"
            )
            return Refusal(HTTPStatus.FORBIDDEN, "wrong_certificate", text)
        if profile == 3 or (profile == 2 and inside is None):
            how = "over ws://, not wss://" if inside is None else "without a client certificate"
            text = (
                f"came {how}, but has security profile {profile}; set its SecurityProfile and its address, or"
                " lower its profile in [box.security]"
            )
            return Refusal(HTTPStatus.FORBIDDEN, "profile_too_low", text)
        if profile == 0 and key is None:
            return None
        if key is None or not authenticated(authorization, identity, key):
            text = "came with a wrong key or none; compare its AuthorizationKey with the keys file"
            return Refusal(HTTPStatus.UNAUTHORIZED, "wrong_key", text)
        return None


OPEN: Final = Admission({}, {})
"""Everybody whom the site file knows."""


def authenticated(authorization: str, identity: str, key: str) -> bool:
    """HTTP Basic with the identity as user; a key of hex digits may come decoded, as early editions say."""
    kind, _, encoded = authorization.partition(" ")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    allowed = [key.encode()]
    with suppress(ValueError):
        allowed.append(bytes.fromhex(key))
    right = [hmac.compare_digest(password, secret) for secret in allowed]
    return kind.lower() == "basic" and hmac.compare_digest(user, identity.encode()) and any(right)


def _names_in(inside: ssl.SSLObject | None) -> list[str]:
    """Common name and DNS names of the client certificate, which has been verified."""
    certificate = inside.getpeercert() if inside is not None else None
    if not certificate:
        return []
    parts: Any = certificate
    subject = [pair for part in parts.get("subject", ()) for pair in part]
    names = [value for key, value in subject if key == "commonName"]
    names += [entry[1] for entry in parts.get("subjectAltName", ()) if entry[0] == "DNS"]
    return list(dict.fromkeys(names)) or [""]


# -- what the site file says ---------------------------------------------------------------------------


def read_security(site: Site, links: Links, site_file: Path) -> Admission:
    """Profiles, keys and certificates of a site. Raises SiteError with one sentence per fault."""
    lines: list[str] = []
    keys = _read_keys(site, links, site_file, lines)
    table, source = links.box.security, f"{site_file}: [box.security]"
    profiles = {}
    for name, chargepoint in site.chargepoint.items():
        profile = table.profiles.get(name, table.profile)
        profiles[chargepoint.identity] = profile
        if profile in {1, 2} and chargepoint.identity not in keys:
            where = links.box.keys or "a file that [box] keys names"
            lines.append(
                f"{source} {name} has profile {profile} and no key: put"
                f' "{chargepoint.identity}" = "..." into {where}.'
            )
    for name in table.profiles:
        if name not in site.chargepoint:
            close = get_close_matches(name, site.chargepoint, n=1)
            hint = f'did you mean "{close[0]}"?' if close else "give the name of a table, not its identity."
            lines.append(f'{source} profiles: there is no chargepoint "{name}"; {hint}')
    highest = max(profiles.values(), default=0)
    lines += [f"{source} {fault}" for fault in _missing(table, highest)]
    tls = ends = None
    if table.tls is not None and not lines:
        tls = _context(table, site_file.parent, source, lines)
    if lines:
        raise SiteError(lines)
    if tls is not None:
        ends = _end_of(tls, site_file.parent / table.certificate)
    return Admission(profiles, keys, tls, ends)


def _read_keys(site: Site, links: Links, site_file: Path, lines: list[str]) -> dict[str, str]:
    """Keys of the chargepoints by identity."""
    if not links.box.keys:
        return {}
    path = site_file.parent / links.box.keys
    try:
        keys = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise SiteError([f"{path}: this is not TOML: {error}"]) from None
    known = [chargepoint.identity for chargepoint in site.chargepoint.values()]
    lines += _too_open(path)
    lines += [
        f"{path}: {identity}: no chargepoint has this identity." for identity in keys if identity not in known
    ]
    lines += [
        f"{path}: {identity}: a key is text of 1 to 40 characters; put it in quotes."
        for identity, key in keys.items()
        if not (isinstance(key, str) and 1 <= len(key) <= 40)
    ]
    return keys


def _too_open(path: Path) -> Iterator[str]:
    if path.stat().st_mode & _NOT_FOR_OTHERS:
        yield f"{path}: others may read or change this secret; chmod 600 {path}, owned by the user of Edge."


def _missing(table: SecurityTable, highest: int) -> Iterator[str]:
    if table.tls is None:
        if highest >= 2:
            yield (
                f"tls: is missing; profile {highest} needs an address like"
                ' { host = "0.0.0.0", port = 9443 } with certificate and private_key.'
            )
        return
    for key in ("certificate", "private_key"):
        if not getattr(table, key):
            yield f"{key}: is missing; tls needs it, a PEM file."
    if highest == 3 and not table.client_ca:
        yield "client_ca: is missing; profile 3 needs who has signed the certificates of the chargepoints."


def _context(table: SecurityTable, folder: Path, source: str, lines: list[str]) -> ssl.SSLContext | None:
    """TLS 1.2 and newer with the certificate of the box; a client certificate that is shown must be good."""
    paths = {key: folder / getattr(table, key) for key in ("certificate", "private_key", "client_ca")}
    for key, path in paths.items():
        if getattr(table, key):
            try:
                text = read_text(path)
            except SiteError as error:
                lines += error.lines
                continue
            if "ENCRYPTED" in text and key == "private_key":
                lines.append(f"{path}: is encrypted and nobody is there to type the passphrase; decrypt it.")
    if not lines:
        lines += _too_open(paths["private_key"])
    if lines:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    try:
        context.load_cert_chain(paths["certificate"], paths["private_key"])
    except ssl.SSLError as error:
        odd = "do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else "are not PEM files"
        lines.append(f"{source} certificate and private_key {odd} ({error.reason or error}); make them anew.")
        return None
    if table.client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(paths["client_ca"])
        except ssl.SSLError as error:
            lines.append(f"{paths['client_ca']}: has no certificate in PEM ({error.reason or error}).")
            return None
    return context


def _end_of(context: ssl.SSLContext, certificate: Path) -> datetime | None:
    """When the certificate ends, as a client in memory sees it (nothing else in `ssl` reads one), or None."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    to_box, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(to_client, to_box), context.wrap_bio(to_box, to_client, server_side=True)
    try:
        for _ in range(4):
            for end in ends:
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        told: Any = ends[0].getpeercert() or {}
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(told["notAfter"]), UTC)
    except ssl.SSLCertVerificationError as error:
        return datetime.fromtimestamp(0, UTC) if error.verify_message == "certificate has expired" else None
    except (ssl.SSLError, KeyError, ValueError):
        return None
