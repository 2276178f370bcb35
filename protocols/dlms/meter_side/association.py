"""A meter's side of associations: who may come in, and how what is said is sealed. Floor: protocols; reading, payment.

APDU in, APDU out, without I/O. Whatever a client sends is answered, never raised: with the service's result, an AARE
that refuses, or an exception response. Invocation counters of clients are kept in the device, beyond the association:
a counter heard once is refused for good.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gridmodel.clock import Entropy
from protocols.dlms.apdu import Apdu, decode_apdu
from protocols.dlms.apdu.acse import (
    AUTHENTICATION_FAILURE,
    AUTHENTICATION_REQUIRED,
    CONTEXT_NOT_SUPPORTED,
    MECHANISM_NOT_RECOGNISED,
    NO_DIAGNOSTIC,
    NO_REASON,
    TITLE_NOT_RECOGNISED,
    Aare,
    Aarq,
    AssociationResult,
    Context,
    Mechanism,
    Rlre,
    Rlrq,
)
from protocols.dlms.apdu.action import ActionRequest, ActionRequestNormal, ActionResponseNormal, MethodOutcome
from protocols.dlms.apdu.get import GetRequest
from protocols.dlms.apdu.initiate import OURS, VERSION, Conformance, InitiateRequest, InitiateResponse
from protocols.dlms.apdu.notices import (
    COUNTER_ERROR,
    DECIPHERING_ERROR,
    OPERATION_NOT_POSSIBLE,
    OTHER_REASON,
    SERVICE_NOT_SUPPORTED,
    ConfirmedServiceError,
    DataNotification,
    ExceptionResponse,
)
from protocols.dlms.apdu.parts import ActionResult
from protocols.dlms.apdu.sealed import Protection, Sealed
from protocols.dlms.apdu.setting import SetRequest
from protocols.dlms.association import PROVE
from protocols.dlms.carrier import APDU_SIZE_MAX
from protocols.dlms.counters import COUNTER_MAX, Counter
from protocols.dlms.data import octets
from protocols.dlms.faults import DlmsFault, remote_fault
from protocols.dlms.meter_side.model import Caller, CosemModel
from protocols.dlms.meter_side.services import Services
from protocols.dlms.sealing import Sealer
from protocols.dlms.security import CHALLENGE_SIZE_MIN, SEALED, Control, SecurityKeys, same_secret
from protocols.dlms.state import SERVER_TABLE, Event, ServerState, step

CHALLENGE_SIZE = 16
"""Bytes of a meter's challenge."""
NOTICES_MAX = 16
"""Notifications that wait for somebody to hear them; the oldest is lost, as in a meter's small memory."""
PDU_SIZE_MIN = 12
"""No client may say that it takes less (IEC 62056-5-3, 7.3.1)."""
_NOT_ALLOWED, _UNKNOWN = 1, 2
"""State errors of an exception response."""
_INITIATE_SERVICE, _INITIATE_ERROR = 1, 6
_OTHER, _VERSION_TOO_LOW, _NOTHING_IN_COMMON, _PDU_TOO_SHORT = range(4)
"""What a confirmed service error says of a proposal."""


@dataclass(frozen=True, slots=True)
class ClientAccess:
    """How one client may associate."""

    mechanism: Mechanism = Mechanism.NONE
    """NONE, LOW or GMAC: this one and no other."""
    password: bytes = field(default=b"", repr=False)
    """For LOW."""
    keys: SecurityKeys | None = None
    """For GMAC and ciphering."""
    ciphered: bool = False
    """Whether the context must be ciphered; else it must not."""
    least: Control = SEALED
    """The protection that requests must have in a ciphered context."""


@dataclass(slots=True)
class LogicalDevice:
    """What one meter shares among its associations."""

    model: CosemModel
    """Its objects."""
    clients: Mapping[int, ClientAccess]
    """By client SAP."""
    entropy: Entropy
    """For challenges."""
    title: bytes = b"TMQ\x00\x00\x00\x00\x01"
    """System title."""
    counter: Counter = field(default_factory=lambda: Counter(1, 1 << 32))
    """Its own invocation counter."""
    heard: dict[int, int] = field(default_factory=dict)
    """The highest counter accepted, by client SAP."""
    max_pdu_size: int = 1_024
    """The longest APDU it takes, bytes."""
    conformance: Conformance = OURS | Conformance.GENERAL_PROTECTION
    """The services it does."""
    anyone: ClientAccess | None = None
    """How a client that is not among `clients` may associate; None: not at all."""
    client_title: bytes = b""
    """The system title heard last from a client that was let in."""
    notices: deque[DataNotification] = field(default_factory=lambda: deque(maxlen=NOTICES_MAX))
    """What the meter wants to tell by itself; the server takes it to the associations that stand."""

    def access(self, client: int) -> ClientAccess | None:
        """How that client may associate."""
        return self.clients.get(client, self.anyone)

    def use_keys(self, keys: SecurityKeys, least: Control) -> None:
        """From the next association on: other keys for every client that has any, and the least protection.

        A new block key begins its counters anew, a known one never does.
        """

        def changed(access: ClientAccess) -> ClientAccess:
            return access if access.keys is None else replace(access, keys=keys, least=least)

        if any(
            access.keys is not None and access.keys.block_key != keys.block_key
            for access in (*self.clients.values(), self.anyone)
            if access is not None
        ):
            self.heard.clear()
        self.clients = {client: changed(access) for client, access in self.clients.items()}
        self.anyone = None if self.anyone is None else changed(self.anyone)


class MeterAssociation:
    """One client's association with a meter; opened, released and opened again as the client likes."""

    def __init__(self, device: LogicalDevice, client: int) -> None:
        self.state = ServerState.IDLE
        self._device = device
        self._client = client
        self._access = device.access(client)
        self._sealer: Sealer | None = None
        self._services: Services | None = None
        self._agreed: InitiateResponse | None = None
        self._ciphered = False
        self._challenge = self._client_challenge = b""

    def lose_link(self) -> None:
        """The carrier went down: the association is gone with it."""
        self.state = step(SERVER_TABLE, self.state, Event.LOSE_LINK)

    def receive(self, data: bytes, now: int) -> bytes:
        """The answer to one APDU; never raises for what a client sends. `now`: UTC seconds of the meter's world."""
        protection: Protection | None = None
        try:
            apdu = decode_apdu(data)
            if isinstance(apdu, Aarq):
                return self._on_aarq(apdu).encode()
            if isinstance(apdu, Rlrq):
                return self._on_release(apdu).encode()
            if isinstance(apdu, Sealed) and self._sealer is not None:
                protection = apdu.protection
                apdu = self._unsealed(apdu, self._sealer)
            elif self._ciphered:
                return _exception(OPERATION_NOT_POSSIBLE)
            answer = self._on_request(apdu, now)
            if protection is None or self._sealer is None or isinstance(answer, ExceptionResponse):
                return answer.encode()
            return self._sealer.seal_apdu(answer.encode(), protection)
        except DlmsFault as fault:
            return self._refusal(fault)

    def notify(self, notice: DataNotification) -> bytes | None:
        """The notification as this association carries it; None while nobody is associated."""
        if self.state is not ServerState.ASSOCIATED:
            return None
        plain = notice.encode()
        if not self._ciphered or self._sealer is None:
            return plain
        return self._sealer.seal_apdu(plain, Protection.GENERAL_GLOBAL)

    def _unsealed(self, apdu: Sealed, sealer: Sealer) -> Apdu:
        """What is inside. Its counter is remembered beyond the association, unless the keys were changed since."""
        inside = sealer.unseal_apdu(apdu)
        if self._device.access(self._client) is self._access:
            self._device.heard[self._client] = sealer.heard
        return inside

    def _refusal(self, fault: DlmsFault) -> bytes:
        if fault.code == "TQ-DM-30":
            return _exception(DECIPHERING_ERROR)
        if fault.code == "TQ-DM-31" and self._sealer is not None:
            return _exception(COUNTER_ERROR, min(self._sealer.heard + 1, COUNTER_MAX))
        if fault.code == "TQ-DM-05":
            return ExceptionResponse(_UNKNOWN, SERVICE_NOT_SUPPORTED).encode()
        return _exception(OTHER_REASON)

    def _on_request(self, apdu: Apdu, now: int) -> Apdu:
        if self.state is ServerState.CHALLENGED and isinstance(apdu, ActionRequestNormal) and apdu.method == PROVE:
            return self._on_proof(apdu)
        if (
            self.state is not ServerState.ASSOCIATED
            or self._services is None
            or not isinstance(apdu, GetRequest | SetRequest | ActionRequest)
        ):
            return ExceptionResponse(_NOT_ALLOWED, OPERATION_NOT_POSSIBLE)
        self.state = step(SERVER_TABLE, self.state, Event.RECEIVE_REQUEST)
        return self._services.handle(apdu, now)

    def _on_aarq(self, aarq: Aarq) -> Aare:
        self._services = None
        self._sealer = None
        self._ciphered = False
        self._access = self._device.access(self._client)
        refused, error = self._unacceptable(aarq), _OTHER
        if refused is None:
            try:
                return self._accept(aarq)
            except _Unfit as unfit:
                refused, error = NO_REASON, unfit.error
            except DlmsFault:
                refused = AUTHENTICATION_FAILURE
        self.state = step(SERVER_TABLE, self.state, Event.RECEIVE_AARQ_UNACCEPTABLE)
        self._sealer = None
        self._ciphered = False
        ciphered = self._access is not None and self._access.ciphered
        context = aarq.context if aarq.context is not Context.OTHER else _context_of(ciphered=ciphered)
        information = ConfirmedServiceError(_INITIATE_SERVICE, _INITIATE_ERROR, error).encode()
        return Aare(context, AssociationResult.REJECTED_PERMANENT, refused, information)

    def _unacceptable(self, aarq: Aarq) -> tuple[int, int] | None:
        """Why an AARQ is refused at first sight."""
        access = self._access
        if access is None:
            return NO_DIAGNOSTIC
        if aarq.context is not _context_of(ciphered=access.ciphered):
            return CONTEXT_NOT_SUPPORTED
        if aarq.mechanism is not access.mechanism:
            return AUTHENTICATION_REQUIRED if aarq.mechanism is Mechanism.NONE else MECHANISM_NOT_RECOGNISED
        if access.mechanism is Mechanism.LOW and not same_secret(aarq.authentication or b"", access.password):
            return AUTHENTICATION_FAILURE
        if access.mechanism is Mechanism.GMAC and len(aarq.authentication or b"") < CHALLENGE_SIZE_MIN:
            return AUTHENTICATION_FAILURE
        if (access.ciphered or access.mechanism is Mechanism.GMAC) and aarq.calling_title is None:
            return TITLE_NOT_RECOGNISED
        return None

    def _accept(self, aarq: Aarq) -> Aare:
        access, device = self._access, self._device
        if access is not None and access.keys is not None:
            heard = device.heard.get(self._client, -1)
            self._sealer = Sealer(access.keys, device.title, device.counter, heard, access.least)
            self._sealer.know(aarq.calling_title)
        request = self._initiate_request(aarq.user_information)
        self._agreed = InitiateResponse(request.conformance & device.conformance, device.max_pdu_size)
        to_prove = aarq.mechanism is Mechanism.GMAC
        event = Event.RECEIVE_AARQ_TO_PROVE if to_prove else Event.RECEIVE_AARQ_ACCEPTABLE
        self.state = step(SERVER_TABLE, self.state, event)
        self._ciphered = access is not None and access.ciphered
        self._client_challenge = aarq.authentication or b""
        self._challenge = device.entropy.token(CHALLENGE_SIZE) if to_prove else b""
        device.client_title = aarq.calling_title or b""
        caller = Caller(
            self._client,
            authenticated=aarq.mechanism is not Mechanism.NONE,
            context=aarq.context,
            mechanism=aarq.mechanism,
            agreed=self._agreed,
        )
        limit = request.max_pdu_size or APDU_SIZE_MAX
        if self._ciphered and self._sealer is not None:
            limit -= self._sealer.overhead(Protection.GENERAL_GLOBAL)
        self._services = Services(device.model, caller, self._agreed.conformance, limit)
        return Aare(
            aarq.context,
            AssociationResult.ACCEPTED,
            AUTHENTICATION_REQUIRED if to_prove else (1, 0),
            self._initiate_response(),
            aarq.mechanism if to_prove else Mechanism.NONE,
            self._challenge or None,
            device.title if self._sealer is not None else None,
        )

    def _initiate_request(self, information: bytes) -> InitiateRequest:
        """What the client proposes. Raises DlmsFault when it is malformed, sealed with other keys, or in clear."""
        inside = decode_apdu(information)
        if isinstance(inside, Sealed) and self._sealer is not None:
            inside = self._unsealed(inside, self._sealer)
        elif self._access is not None and self._access.ciphered:
            raise _refused()
        if not isinstance(inside, InitiateRequest):
            raise _refused()
        self._check_fit(inside)
        if inside.dedicated_key is not None and self._sealer is not None:
            if len(inside.dedicated_key) != 16:
                raise _refused()
            self._sealer.use_dedicated(inside.dedicated_key)
        return inside

    def _check_fit(self, request: InitiateRequest) -> None:
        """Raises `_Unfit` for a proposal that no association can come of."""
        if request.version < VERSION:
            raise _Unfit(_VERSION_TOO_LOW)
        if 0 < request.max_pdu_size < PDU_SIZE_MIN:
            raise _Unfit(_PDU_TOO_SHORT)
        if not request.conformance & self._device.conformance:
            raise _Unfit(_NOTHING_IN_COMMON)

    def _initiate_response(self) -> bytes:
        response = self._agreed.encode() if self._agreed is not None else b""
        if self._ciphered and self._sealer is not None:
            return self._sealer.seal_apdu(response, Protection.GLOBAL)
        return response

    def _on_proof(self, request: ActionRequestNormal) -> Apdu:
        proof = request.parameters.value if request.parameters is not None else None
        sealer = self._sealer
        if sealer is None or not isinstance(proof, bytes) or not sealer.is_proof(proof, self._challenge):
            self.state = step(SERVER_TABLE, self.state, Event.RECEIVE_WRONG_PROOF)
            return ActionResponseNormal(request.invoke, MethodOutcome(ActionResult.READ_WRITE_DENIED))
        self.state = step(SERVER_TABLE, self.state, Event.RECEIVE_CLIENT_PROOF)
        returned = octets(sealer.prove(self._client_challenge))
        return ActionResponseNormal(request.invoke, MethodOutcome(ActionResult.SUCCESS, returned))

    def _on_release(self, request: Rlrq) -> Rlre | ExceptionResponse:
        if request.user_information and self._sealer is not None:
            inside = decode_apdu(request.user_information)
            if isinstance(inside, Sealed):
                self._unsealed(inside, self._sealer)
        open_before = self.state is not ServerState.IDLE
        information = self._initiate_response() if request.user_information and open_before else b""
        self.state = step(SERVER_TABLE, self.state, Event.RECEIVE_RLRQ)
        self._services = None
        self._ciphered = False
        return Rlre(0, information)


class _Unfit(Exception):
    """A proposal that no association can come of."""

    def __init__(self, error: int) -> None:
        super().__init__(error)
        self.error = error


def _context_of(*, ciphered: bool) -> Context:
    return Context.LN_CIPHERED if ciphered else Context.LN


def _exception(error: int, counter: int | None = None) -> bytes:
    return ExceptionResponse(_NOT_ALLOWED, error, counter).encode()


def _refused() -> DlmsFault:
    return remote_fault("TQ-DM-40", "the association is refused")
