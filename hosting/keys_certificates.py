"""Certificates of hub and nodes, and the hub's own authority that issues them. Floor: hosting; link loss.

An authority is a folder: ``ca.key`` (0600, never logged, never sent) and ``ca.crt``. It signs certificates for nodes
(they may only be clients) and for the hub (only a server), on keys of curve P-256, which every TLS library takes. A
node is named by a URI in its certificate, ``tarmoq:node:ID``; the authority by its domain, so that a demo's
certificates open nothing in production. Nothing here asks for the time: validity is judged in `hosting.tls`.

Codes: TQ-CE-01 no authority or certificate there, -02 it cannot be used, -03 of the other domain, -04 it exists
already, -05 the authority has ended, -06 not a request.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gridmodel.clock import Entropy
from gridmodel.fault import Fault
from hosting.files import create_private, publish, read_private, read_text
from hosting.keys import KeyDomain

DAY_S = 86_400
AUTHORITY_DAYS = 3_650
"""Ten years: a new authority means a visit to every office."""
BACKDATED_S = DAY_S
"""Certificates begin a day before they are made: clocks that are slow by hours take them."""
PEM_BYTES_MAX = 16_384
REQUEST_BYTES_MAX = 4_096
"""A request of ours has some 250 bytes."""
NODE_URI = "tarmoq:node:"
_CURVE = ec.SECP256R1()
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (SEC 2)."""


class CertificateFault(Fault):
    """A certificate, a request or an authority that cannot be used. `status` is the HTTP status it deserves."""

    def __init__(self, number: int, what: str, hint: str, status: int = 403) -> None:
        super().__init__(f"TQ-CE-{number:02}", what, hint)
        self.status = status


class CertificateKind(StrEnum):
    """Whom a certificate is for."""

    AUTHORITY = "authority"
    HUB = "hub"
    NODE = "node"
    OTHER = "other"
    """None of ours."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate, read; whether it was signed by whom one trusts is TLS's affair."""

    der: bytes
    kind: CertificateKind
    name: str
    """The node's id, the hub's first name, or the authority's domain."""
    serial: str
    """Hexadecimal."""
    not_before: int
    """UTC seconds, from."""
    not_after: int
    """UTC seconds, up to but not including."""
    key_hash: bytes
    """SHA-256 of the public key (SubjectPublicKeyInfo)."""
    domain: str
    """Of the authority that says it issued it."""

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the whole."""
        return sha256(self.der).digest()

    @property
    def pem(self) -> str:
        """As files have it."""
        return x509.load_der_x509_certificate(self.der).public_bytes(Encoding.PEM).decode("ascii")

    @classmethod
    def from_der(cls, der: bytes) -> "Certificate":
        """Read one; raises CertificateFault (TQ-CE-02)."""
        try:
            return _read(x509.load_der_x509_certificate(der), der)
        except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise _unusable(f"the certificate cannot be read: {error!s:.80}") from error

    @classmethod
    def from_pem(cls, text: str) -> "Certificate":
        """Read one; raises CertificateFault (TQ-CE-02)."""
        try:
            found = x509.load_pem_x509_certificate(text.encode("utf-8"))
        except ValueError as error:
            raise _unusable(f"the certificate cannot be read: {error!s:.80}") from error
        return cls.from_der(found.public_bytes(Encoding.DER))

    @classmethod
    def read(cls, path: Path) -> "Certificate":
        """The certificate in a file; raises CertificateFault (TQ-CE-01, -02)."""
        try:
            return cls.from_pem(read_text(path, PEM_BYTES_MAX))
        except FileNotFoundError as error:
            raise CertificateFault(1, f"there is no certificate {path}", _ENROL) from error
        except (OSError, ValueError) as error:
            raise _unusable(f"{path} cannot be read: {error!s:.120}") from error

    def write(self, path: Path) -> None:
        """Into a file, whole and durable, in place of what was there."""
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(self.pem, "ascii")
        publish(partial, path)


class TlsKey:
    """A private key of one party to TLS; it lives in a file (0600) and never leaves its machine."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private

    @staticmethod
    def create(path: Path, entropy: Entropy) -> "TlsKey":
        """Make a key and its file; raises CertificateFault (TQ-CE-04) when there is one."""
        key = TlsKey(ec.derive_private_key(1 + int.from_bytes(entropy.token(48), "big") % (_ORDER - 1), _CURVE))
        pem = key._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            create_private(path, pem)
        except FileExistsError as error:
            raise CertificateFault(4, f"there is a key in {path} already", "keep it; choose another folder") from error
        except OSError as error:
            raise _unusable(f"{path} cannot be written: {error.strerror}") from error
        return key

    @staticmethod
    def read(path: Path) -> "TlsKey":
        """The key in a file; raises CertificateFault (TQ-CE-01, -02: others may read it, or no such key)."""
        try:
            private = load_pem_private_key(read_private(path, PEM_BYTES_MAX), None)
        except FileNotFoundError as error:
            raise CertificateFault(1, f"there is no key {path}", _ENROL) from error
        except PermissionError as error:
            raise CertificateFault(
                2, f"the key {path} cannot be trusted: {error}", f"chmod 600 {path}; if strangers saw it, enrol again"
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise _unusable(f"the key {path} cannot be used") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != _CURVE.name:
            raise _unusable(f"{path} holds no key of curve P-256")
        return TlsKey(private)

    @property
    def key_hash(self) -> bytes:
        """SHA-256 of the public half."""
        return _key_hash(self.public)

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self._private.public_key()

    def request(self, node: str) -> bytes:
        """A signing request (PKCS #10, DER) for this key and that node."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        return builder.sign(self._private, hashes.SHA256()).public_bytes(Encoding.DER)

    def issue(self, builder: x509.CertificateBuilder) -> Certificate:
        """The certificate, signed by this key."""
        return Certificate.from_der(builder.sign(self._private, hashes.SHA256()).public_bytes(Encoding.DER))


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What a request asks for; whoever made it has the key."""

    node: str
    key_hash: bytes
    public: ec.EllipticCurvePublicKey

    @classmethod
    def from_der(cls, der: bytes) -> "SigningRequest":
        """Read and check one; raises CertificateFault (TQ-CE-06)."""
        if len(der) > REQUEST_BYTES_MAX:
            raise _no_request("it is too long")
        try:
            request = x509.load_der_x509_csr(der)
            public, signed = request.public_key(), request.is_signature_valid
            names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension, TypeError) as error:
            raise _no_request(f"{error!s:.80}") from error
        if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != _CURVE.name:
            raise _no_request("its key is not of curve P-256")
        if len(names) != 1 or not signed:
            raise _no_request("it has no name, or a wrong signature")
        return cls(str(names[0].value), _key_hash(public), public)


class CertificateAuthority:
    """The hub's authority at work."""

    def __init__(self, key: TlsKey, certificate: Certificate) -> None:
        self._key = key
        self.certificate = certificate

    @staticmethod
    def make(folder: Path, domain: KeyDomain, now: int, entropy: Entropy) -> "CertificateAuthority":
        """Make one; a make that broke off goes on. Raises CertificateFault (TQ-CE-04 when there is one already)."""
        key_path, path = folder / "ca.key", folder / "ca.crt"
        if path.exists():
            raise CertificateFault(4, f"there is an authority in {folder} already", "keep it; its nodes trust it")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(f"{folder} cannot be made: {error.strerror}") from error
        key = TlsKey.read(key_path) if key_path.exists() else TlsKey.create(key_path, entropy)
        name = _authority_name(domain)
        builder = (
            _builder(name, name, key.public, entropy, now - BACKDATED_S, now + AUTHORITY_DAYS * DAY_S)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public), critical=False)
        )
        certificate = key.issue(builder)
        certificate.write(path)
        return CertificateAuthority(key, certificate)

    @staticmethod
    def read(folder: Path, domain: KeyDomain) -> "CertificateAuthority":
        """The authority in a folder; raises CertificateFault (TQ-CE-01, -02, -03)."""
        if not (folder / "ca.crt").exists():
            raise CertificateFault(1, f"there is no authority in {folder}", "central-sync ca make --config FILE")
        key, certificate = TlsKey.read(folder / "ca.key"), Certificate.read(folder / "ca.crt")
        if certificate.kind is not CertificateKind.AUTHORITY or certificate.key_hash != key.key_hash:
            raise _unusable(f"ca.crt and ca.key in {folder} do not belong together")
        check_domain(certificate, domain)
        return CertificateAuthority(key, certificate)

    def for_node(self, request: SigningRequest, node: str, now: int, days: int, entropy: Entropy) -> Certificate:
        """A node's certificate; raises CertificateFault (TQ-CE-05)."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(NODE_URI + node)])
        return self._leaf(name, request.public, names, ExtendedKeyUsageOID.CLIENT_AUTH, now, days, entropy)

    def for_hub(self, key: TlsKey, names: Sequence[str], now: int, days: int, entropy: Entropy) -> Certificate:
        """The hub's own; `names` are DNS names and addresses. Raises CertificateFault (TQ-CE-02, -05)."""
        try:
            found = x509.SubjectAlternativeName([_general(name) for name in names])
        except ValueError as error:
            raise _unusable(f"a name of the hub cannot stand in a certificate: {error!s:.80}") from error
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        return self._leaf(name, key.public, found, ExtendedKeyUsageOID.SERVER_AUTH, now, days, entropy)

    def _leaf(  # noqa: PLR0917
        self,
        name: x509.Name,
        public: ec.EllipticCurvePublicKey,
        names: x509.SubjectAlternativeName,
        purpose: x509.ObjectIdentifier,
        now: int,
        days: int,
        entropy: Entropy,
    ) -> Certificate:
        if now >= self.certificate.not_after:
            raise CertificateFault(5, "the hub's authority has ended", "make a new one; every node enrols again", 503)
        until = min(now + days * DAY_S, self.certificate.not_after)
        issuer = x509.load_der_x509_certificate(self.certificate.der)
        builder = (
            _builder(issuer.subject, name, public, entropy, now - BACKDATED_S, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
            .add_extension(names, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public), critical=False)
        )
        return self._key.issue(builder)


def check_domain(certificate: Certificate, domain: KeyDomain) -> None:
    """A demo's certificates open nothing in production, and the other way round; raises CertificateFault (TQ-CE-03)."""
    if certificate.domain != domain:
        raise CertificateFault(
            3, f"the certificate is of {certificate.domain or 'strangers'}, this is {domain}", "use the right folder"
        )


def _authority_name(domain: KeyDomain) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"Tarmoq {domain}"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Tarmoq hub authority"),
        ]
    )


def _builder(  # noqa: PLR0917
    issuer: x509.Name, name: x509.Name, public: ec.EllipticCurvePublicKey, entropy: Entropy, first: int, last: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(name)
        .public_key(public)
        .serial_number(1 + (int.from_bytes(entropy.token(16), "big") >> 1))
        .not_valid_before(datetime.fromtimestamp(max(first, 0), UTC))
        .not_valid_after(datetime.fromtimestamp(last, UTC))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name)


def _key_hash(public: ec.EllipticCurvePublicKey) -> bytes:
    return sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _read(found: x509.Certificate, der: bytes) -> Certificate:
    issuer = found.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    domain = str(issuer[0].value).removeprefix("Tarmoq ") if issuer else ""
    kind, name = _who(found, domain)
    return Certificate(
        der=der,
        kind=kind,
        name=name,
        serial=f"{found.serial_number:x}",
        not_before=int(found.not_valid_before_utc.timestamp()),
        not_after=int(found.not_valid_after_utc.timestamp()),
        key_hash=sha256(found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest(),
        domain=domain,
    )


def _who(found: x509.Certificate, domain: str) -> tuple[CertificateKind, str]:
    extensions = {type(one.value): one.value for one in found.extensions}
    basic = extensions.get(x509.BasicConstraints)
    if isinstance(basic, x509.BasicConstraints) and basic.ca:
        return CertificateKind.AUTHORITY, domain
    names, purposes = extensions.get(x509.SubjectAlternativeName), extensions.get(x509.ExtendedKeyUsage)
    if not isinstance(names, x509.SubjectAlternativeName) or not isinstance(purposes, x509.ExtendedKeyUsage):
        return CertificateKind.OTHER, ""
    if set(purposes) == {ExtendedKeyUsageOID.CLIENT_AUTH}:
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        if len(uris) == 1 and uris[0].startswith(NODE_URI):
            return CertificateKind.NODE, uris[0].removeprefix(NODE_URI)
    if set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH}:
        said = [str(one.value) for one in names]
        return CertificateKind.HUB, said[0] if said else ""
    return CertificateKind.OTHER, ""


def _no_request(why: str) -> CertificateFault:
    return CertificateFault(6, f"that is no signing request: {why}", "send what edge-node enrol made", 400)


def _unusable(what: str) -> CertificateFault:
    return CertificateFault(2, what, "restore the file from its safe, or enrol again")


_ENROL = "edge-node enrol at an office, central-sync ca make at the hub"
