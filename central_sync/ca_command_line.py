"""``central-sync ca …``: the hub's own authority. Above the rooms; docs/operating/enrolment.md."""

from typing import Any

import typer

from central_sync.command_line import Config, answer_of, load, spoken
from central_sync.config import HubConfig, TlsConfig
from gridmodel.period import rfc3339
from hosting.clocks import SystemEntropy
from hosting.command_line import Json, clock_asked_for, show
from hosting.keys_certificates import CertificateAuthority, CertificateFault

app = typer.Typer(no_args_is_help=True, help="The hub's own authority, which issues certificates to nodes.")


@app.command()
def make(config: Config, json_: Json = False) -> None:
    """Make the authority in the folder `tls.ca`; it must not exist. Keep a copy of the folder in the safe."""
    clock = clock_asked_for()

    async def ask() -> dict[str, Any]:
        loaded = load(config)
        made = CertificateAuthority.make(_tls(loaded).ca, loaded.key_domain, clock.now(), SystemEntropy())
        return _told(loaded, made)

    show(answer_of(json_, ask), json_, spoken(config))


@app.command("show")
def show_(config: Config, json_: Json = False) -> None:
    """The authority: its folder, its fingerprint, its end."""

    async def ask() -> dict[str, Any]:
        loaded = load(config)
        return _told(loaded, CertificateAuthority.read(_tls(loaded).ca, loaded.key_domain))

    show(answer_of(json_, ask), json_, spoken(config))


def _tls(config: HubConfig) -> TlsConfig:
    if config.tls is None:
        raise CertificateFault(40, "the configuration has no [tls]", "add it: ca, names", 400)
    return config.tls


def _told(config: HubConfig, authority: CertificateAuthority) -> dict[str, Any]:
    certificate = authority.certificate
    return {
        "ok": True,
        "folder": str(_tls(config).ca),
        "domain": certificate.domain,
        "fingerprint": certificate.fingerprint.hex(),
        "not_after": rfc3339(certificate.not_after),
    }
