"""Who this node is to its hub: its TLS key, its certificate, the hub's authority. Room: uplink; link loss.

The key is made here and never leaves. ``node.key`` stays the same when the certificate is renewed, so that key and
certificate always fit, whenever the machine stops. ``enrolment.json`` remembers a request that waits for a person.

Codes: TQ-CE-50 not enrolled, -51 a certificate that is not this node's, -52 the folder cannot be written, -53 another
authority answers than the token names.
"""

import asyncio
import json
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from gridmodel.clock import Entropy
from gridmodel.identity import NodeId
from gridmodel.period import rfc3339
from hosting.files import publish, read_text
from hosting.keys import KeyDomain
from hosting.keys_certificates import Certificate, CertificateFault, CertificateKind, TlsKey, check_domain
from hosting.tls import TrustedTime, client_context, hub_judge, load_own
from protocols.enrolment.messages import Token
from protocols.sync.link import LinkLost

STATE_BYTES_MAX = 4_096


class IdentityState(StrEnum):
    """How the node's certificate stands, by what is known of the time."""

    NONE = "none"
    WAITING = "waiting"
    """Its enrolment waits for a person at the hub."""
    VALID = "valid"
    DUE = "due"
    """Valid, and to be renewed."""
    ENDED = "ended"
    """It ran out without a link; it renews as soon as there is one."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that was filed."""

    hub: str
    enrolment: str
    fingerprint: str


class NodeIdentity:
    """The folder."""

    def __init__(self, folder: Path, node: NodeId, domain: KeyDomain) -> None:
        self.folder = folder
        self.node = node
        self.domain = domain
        self.key_path = folder / "node.key"
        self.certificate_path = folder / "node.crt"
        self._anchor_path = folder / "ca.crt"
        self._state_path = folder / "enrolment.json"

    def key(self, entropy: Entropy) -> TlsKey:
        """The TLS key, made when there is none. Raises CertificateFault."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        return TlsKey.read(self.key_path) if self.key_path.exists() else TlsKey.create(self.key_path, entropy)

    def anchor(self) -> Certificate | None:
        """The authority of the hub; None before the first enrolment. Raises CertificateFault."""
        if not self._anchor_path.exists():
            return None
        anchor = Certificate.read(self._anchor_path)
        if anchor.kind is not CertificateKind.AUTHORITY:
            raise CertificateFault(2, f"{self._anchor_path} is no authority", "remove it, and enrol with a token")
        check_domain(anchor, self.domain)
        return anchor

    def trust(self, pem: str, token: Token) -> Certificate:
        """Keep the authority that the hub showed, if the token names it. Raises CertificateFault (TQ-CE-53, -03)."""
        anchor = Certificate.from_pem(pem)
        if anchor.kind is not CertificateKind.AUTHORITY or not token.fits(anchor.fingerprint):
            raise CertificateFault(
                53,
                "the hub that answers is not the one that the token names",
                "look at the address and at each letter of the token; else somebody stands between: tell the operator",
            )
        check_domain(anchor, self.domain)
        anchor.write(self._anchor_path)
        return anchor

    def certificate(self) -> Certificate | None:
        """The node's certificate; None while there is none. Raises CertificateFault."""
        return Certificate.read(self.certificate_path) if self.certificate_path.exists() else None

    def accept(self, pem: str) -> Certificate:
        """Keep a certificate that the hub issued; raises CertificateFault (TQ-CE-51)."""
        certificate = Certificate.from_pem(pem)
        if (
            certificate.kind is not CertificateKind.NODE
            or certificate.name != self.node
            or certificate.key_hash != TlsKey.read(self.key_path).key_hash
        ):
            raise CertificateFault(51, "the hub sent a certificate that is not this node's", "report this fault")
        check_domain(certificate, self.domain)
        try:
            certificate.write(self.certificate_path)
            self._state_path.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        return certificate

    def waiting(self) -> Waiting | None:
        """The request that waits; None when there is none."""
        try:
            read = json.loads(read_text(self._state_path, STATE_BYTES_MAX))
            return Waiting(str(read["hub"]), str(read["enrolment"]), str(read["fingerprint"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, waiting: Waiting | None) -> None:
        """Keep the request that waits, or forget it."""
        try:
            if waiting is None:
                self._state_path.unlink(missing_ok=True)
                return
            partial = self._state_path.with_suffix(".partial")
            told = {"hub": waiting.hub, "enrolment": waiting.enrolment, "fingerprint": waiting.fingerprint}
            partial.write_text(json.dumps(told), "utf-8")
            publish(partial, self._state_path)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def set_aside(self) -> None:
        """Give the whole folder another name: what is made next is new."""
        if self.folder.exists():
            number = 1
            while (aside := self.folder.with_name(f"{self.folder.name}.old-{number}")).exists():
                number += 1
            try:
                self.folder.rename(aside)
            except OSError as error:
                raise _unwritable(self.folder, error) from error


class NodeTls:
    """What the node shows and whom it trusts, for every connection to the hub."""

    def __init__(self, identity: NodeIdentity, time: TrustedTime) -> None:
        self.identity = identity
        self.time = time
        self.hub: Certificate | None = None
        """The hub's certificate of the latest handshake."""
        self.hub_in_doubt = False
        """It was judged while the clock was in doubt."""
        self.look = asyncio.Event()
        """Set when the hub's certificate told something of the time."""
        self._context: ssl.SSLContext | None = None
        self._shown: tuple[int, int] | None = None

    def context(self) -> ssl.SSLContext:
        """For `HttpLink`; what was enrolled or renewed meanwhile is shown from the next connection on.

        Raises LinkLost (TQ-SY-58) while the node is not enrolled, or its files cannot be used.
        """
        try:
            return self.loaded()
        except CertificateFault as fault:
            raise LinkLost(58, f"{fault.code}: {fault.what}", fault.hint) from fault

    def loaded(self) -> ssl.SSLContext:
        """The same; raises CertificateFault."""
        identity = self.identity
        try:
            status = identity.certificate_path.stat()
        except OSError as error:
            raise CertificateFault(50, "this node is not enrolled", "edge-node enrol --token …") from error
        shown = (status.st_mtime_ns, status.st_ino)
        if self._context is not None and shown == self._shown:
            return self._context
        anchor, certificate = identity.anchor(), identity.certificate()
        if anchor is None or certificate is None:
            raise CertificateFault(50, "this node is not enrolled", "edge-node enrol --token …")
        TlsKey.read(identity.key_path)
        self.time.raise_floor(anchor.not_before)
        self.time.raise_floor(certificate.not_before)
        if self._context is None:
            self._context = client_context(anchor, hub_judge(self.time, self._seen))
        load_own(self._context, identity.certificate_path, identity.key_path)
        self._shown = shown
        return self._context

    def due(self) -> bool:
        """Whether to renew: a third is left, it ended, or the clock cannot tell. Raises CertificateFault."""
        certificate = self.identity.certificate()
        return certificate is not None and (self.time.doubtful or self._state(certificate) is not IdentityState.VALID)

    def told(self, error: dict[str, str] | None = None) -> dict[str, Any]:
        """For status and doctor."""
        try:
            certificate = self.identity.certificate()
        except CertificateFault as fault:
            certificate, error = None, fault.as_dict()
        waiting = self.identity.waiting()
        state = IdentityState.NONE if waiting is None else IdentityState.WAITING
        if certificate is not None:
            state = self._state(certificate)
        return {
            "state": state.value,
            "not_after": None if certificate is None else rfc3339(certificate.not_after),
            "fingerprint": None if waiting is None else waiting.fingerprint,
            "clock_in_doubt": self.time.doubtful,
            "hub_not_after": None if self.hub is None else rfc3339(self.hub.not_after),
            "hub_judged_in_doubt": self.hub_in_doubt,
            "error": error,
        }

    def _state(self, certificate: Certificate) -> IdentityState:
        now = self.time.bounds().earliest
        if now >= certificate.not_after:
            return IdentityState.ENDED
        life_s = certificate.not_after - certificate.not_before
        return IdentityState.DUE if now >= certificate.not_after - life_s // 3 else IdentityState.VALID

    def _seen(self, certificate: Certificate) -> None:
        before, self.hub_in_doubt = self.hub_in_doubt, self.time.doubtful
        self.hub = certificate
        if self.hub_in_doubt and not before:
            self.look.set()


def _unwritable(folder: Path, error: OSError) -> CertificateFault:
    return CertificateFault(52, f"{folder} cannot be written: {error.strerror}", "look at its owner and the disk")
