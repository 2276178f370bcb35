"""TLS between nodes and hub, with validity judged by what is known of time. Floor: hosting; on the walk of link loss.

Theory of operation. OpenSSL checks that a certificate was signed by our authority, for this purpose and this name, and
looks at the machine's clock. That last look is turned off here and done in code, at the end of each handshake, before a
byte of ours is sent: a node whose clock says 1970 knows that it cannot be before the day its own certificate was made,
and a certificate that had ended by then is refused, whatever the clock says. A clock in doubt can refuse nothing else:
what may be valid at some moment from that floor on is taken, and shown as such. A clock that nobody confirmed and that
is behind a certificate of our own authority was stopped or set back in the dark: that certificate is the new floor.

Codes: TQ-CE-10 ended, -11 not valid yet, -12 of the wrong kind, -13 the handshake failed.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridmodel.clock import ClockTrust, TimeBounds, UtilityClock
from gridmodel.period import rfc3339
from hosting.keys_certificates import Certificate, CertificateFault, CertificateKind

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's enum does not name."""
FAR = 2**40
"""An end of time."""

Judge = Callable[[bytes | None], None]
"""Takes the other side's certificate (DER; None when it showed none) at the end of a handshake; raises to refuse it."""


class HandshakeRefused(ssl.SSLCertVerificationError):
    """A handshake that OpenSSL took and we did not. `fault` says why."""

    def __init__(self, fault: CertificateFault) -> None:
        super().__init__(1, f"{fault.code} {fault.what}")
        self.fault = fault


@dataclass(slots=True)
class TrustedTime:
    """What is known of the present: the clock's bounds while it is trusted, else only that it is not before a floor."""

    clock: UtilityClock
    floor: int = 0
    """UTC seconds that are surely over."""

    def raise_floor(self, at: int) -> None:
        """It cannot be before `at`; a floor never sinks."""
        self.floor = max(self.floor, at)

    @property
    def doubtful(self) -> bool:
        """Whether the clock refuses nothing by itself."""
        return self.clock.trust() is not ClockTrust.TRUSTED or self.clock.bounds().latest < self.floor

    def bounds(self) -> TimeBounds:
        """The present."""
        return TimeBounds(self.floor, max(self.floor, FAR)) if self.doubtful else self.clock.bounds()

    def check(self, certificate: Certificate, whose: str) -> None:
        """Raises CertificateFault when it is valid at no moment that the present may be; may raise the floor.

        Of a certificate that our authority signed, as TLS has checked.
        """
        now = self.bounds()
        if now.earliest >= certificate.not_after:
            raise CertificateFault(
                10,
                f"the certificate of {whose} ended {rfc3339(certificate.not_after)}",
                "look at the clock of this machine; if it is right, the other side must renew",
            )
        if now.latest < certificate.not_before:
            if not self.clock.confirmed():  # our authority made it, and not for the future: the clock is slow
                self.raise_floor(certificate.not_before)
                return
            raise CertificateFault(
                11,
                f"the certificate of {whose} is valid from {rfc3339(certificate.not_before)} on",
                "the clock of this machine is slow: set it",
            )


def client_context(anchor: Certificate, judge: Judge, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """For a node: trusts that authority alone. `own` are the files of certificate and key. Raises CertificateFault."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, judge)
    context.load_verify_locations(cadata=anchor.pem)
    if own is not None:
        load_own(context, *own)
    return context


def unverified_context() -> ssl.SSLContext:
    """For the one question that needs no trust: which authority stands there; it is compared with the token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def server_context(anchor: Certificate, own: tuple[Path, Path]) -> ssl.SSLContext:
    """For the hub: takes a certificate of that authority, or none; the interface behind decides what that is worth."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, lambda _: None)
    context.load_verify_locations(cadata=anchor.pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0  # each connection shows its certificate anew
    load_own(context, *own)
    return context


def load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Show these from the next handshake on; raises CertificateFault (TQ-CE-02)."""
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateFault(
            2, f"{certificate} and its key cannot be used: {error!s:.100}", "restore both, or enrol again"
        ) from error


def hub_judge(time: TrustedTime, seen: Callable[[Certificate], None]) -> Judge:
    """A node's judgement of the hub it reached; `seen` is told its certificate."""

    def judge(der: bytes | None) -> None:
        certificate = Certificate.from_der(der or b"")
        if certificate.kind is not CertificateKind.HUB:
            raise CertificateFault(12, "whoever answers is no hub", "check hub.url")
        time.check(certificate, "the hub")
        seen(certificate)

    return judge


def _context(protocol: int, judge: Judge) -> ssl.SSLContext:
    class Judged(ssl.SSLObject):
        """Judges the other side's certificate as soon as the handshake is done."""

        def do_handshake(self) -> None:
            super().do_handshake()
            try:
                judge(self.getpeercert(binary_form=True))
            except CertificateFault as fault:
                raise HandshakeRefused(fault) from fault

    context = ssl.SSLContext(protocol)
    context.sslobject_class = Judged
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags = _flags(context.verify_flags)
    return context


def _flags(flags: Any) -> Any:
    return flags | NO_CHECK_TIME
