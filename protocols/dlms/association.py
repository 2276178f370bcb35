"""The client's association: open, prove, ask, release, without any I/O. Floor: protocols; walks: reading, payment.

Theory of operation. The host calls a verb (`open`, `get`, `set`, `act`, `release`), writes the APDU it gives, and hands
every APDU that arrives to `receive`, which gives one outcome: something to send next (`Send`), the answer, or a
notification that came in between. One request at a time: the table in `state` says so. Entropy (challenge, dedicated
key) and reserved invocation counters are arguments. After any `DlmsFault` with Blame.REMOTE but a refusal of one
service (46) the association is closed, so that an answer out of place is never taken for the right one.

Where the context is ciphered, everything is sealed and authenticated, and nothing less is taken from the meter; only
errors (exception response, confirmed service error) may come in clear, and those merely end a request.
"""

from collections.abc import Mapping

from protocols.dlms.apdu import Apdu, decode_apdu
from protocols.dlms.apdu.acse import Aare, Aarq, AssociationResult, Context, Mechanism, Rlre, Rlrq
from protocols.dlms.apdu.action import ActionRequestNormal, ActionResponseNormal
from protocols.dlms.apdu.initiate import VERSION, Conformance, InitiateRequest, InitiateResponse
from protocols.dlms.apdu.notices import (
    COUNTER_ERROR,
    ConfirmedServiceError,
    DataNotification,
    EventNotification,
    ExceptionResponse,
)
from protocols.dlms.apdu.parts import (
    CONFIRMED,
    HIGH_PRIORITY,
    INVOKE_ID_MASK,
    LIST_ITEMS_MAX,
    AccessSelection,
    ActionResult,
    AttributeDescriptor,
    AttributeRequest,
    MethodDescriptor,
)
from protocols.dlms.apdu.sealed import Protection, Sealed
from protocols.dlms.carrier import APDU_SIZE_MAX
from protocols.dlms.counters import Counter
from protocols.dlms.data import Data, octets
from protocols.dlms.exchanges import (
    Acted,
    ActionExchange,
    Exchange,
    GetExchange,
    Got,
    SetExchange,
    Written,
    check_invoke,
    too_long_to_send,
)
from protocols.dlms.faults import DlmsFault, local_fault, remote_fault
from protocols.dlms.obis import CURRENT_ASSOCIATION
from protocols.dlms.sealing import NOTHING_HEARD, Sealer
from protocols.dlms.security import (
    CHALLENGE_SIZE_MAX,
    CHALLENGE_SIZE_MIN,
    SecurityKeys,
    check_challenge,
    check_title,
    same_secret,
)
from protocols.dlms.state import CLIENT_TABLE, ClientState, Event, step
from protocols.dlms.terms import AssociationSettings, CounterRefused, Notified, Opened, Outcome, Released, Send
from protocols.errors import Hope

REFUSED_REQUEST = "TQ-DM-46"
"""The one code of the meter's after which the association goes on."""
PROVE = MethodDescriptor(15, CURRENT_ASSOCIATION, 1)
"""reply_to_HLS_authentication of the association object."""


LIST_HEAD_SIZE, LIST_ITEM_SIZE = 4, 10
"""Bytes of a GET with a list: tag, kind, invoke id and count; and of each attribute without a selection."""
_NOTICES = (DataNotification, EventNotification)
_REFUSALS = (ExceptionResponse, ConfirmedServiceError)
_PRIORITY = int(Conformance.PRIORITY_MANAGEMENT)
"""A plain number: an IntFlag is slow to ask."""
_ANSWERS = (Got, Written, Acted)
_IN_CLEAR = (Aare, Rlre, *_REFUSALS)
"""What may come unsealed into a ciphered context: an AARE and an RLRE have their sealed part inside."""
_ASIDE = (*_NOTICES, *_IN_CLEAR)
"""What may come while an answer is awaited and is none."""


class ClientAssociation:
    """One association; not used again after it is closed."""

    def __init__(
        self,
        settings: AssociationSettings,
        *,
        keys: SecurityKeys | None = None,
        counter: Counter | None = None,
        challenge: bytes = b"",
        heard: Mapping[bytes, int] = NOTHING_HEARD,
    ) -> None:
        """`challenge`: fresh entropy for GMAC. `heard`: the highest counter known from before, by the meter's title.

        Raises:
            DlmsFault: TQ-DM-75 when settings and secrets do not fit each other.

        """
        self.settings = settings
        self.state = ClientState.IDLE
        self._known = heard
        self.agreed: InitiateResponse | None = None
        """What the meter agreed to, once open."""
        self._challenge = check_challenge(challenge) if settings.mechanism is Mechanism.GMAC else b""
        self._sealer: Sealer | None = None
        if settings.protection is not None or settings.mechanism is Mechanism.GMAC:
            if keys is None or counter is None or settings.system_title is None:
                raise local_fault("TQ-DM-75", "ciphering and GMAC need keys, a counter and a system title")
            self._sealer = Sealer(keys, check_title(settings.system_title), counter)
        if settings.mechanism not in {Mechanism.NONE, Mechanism.LOW, Mechanism.GMAC}:
            raise local_fault("TQ-DM-75", f"mechanism {settings.mechanism.name} is not spoken here")
        dedicated = settings.protection is not None and settings.protection.dedicated
        if dedicated and (keys is None or keys.dedicated_key is None):
            raise local_fault("TQ-DM-75", "a dedicated key is to be used and none was given")
        self._dedicated_key = keys.dedicated_key if keys is not None and dedicated else None
        if self._dedicated_key is not None and self._sealer is not None:
            self._sealer.use_dedicated(self._dedicated_key)
        self._proposal = b""
        self._invoke = 0
        self._class = CONFIRMED
        self._exchange: Exchange | None = None
        self._limit = APDU_SIZE_MAX
        """The longest plain APDU the meter takes, once that is agreed."""

    @property
    def heard(self) -> int:
        """The meter's highest invocation counter so far: to be kept for the next association."""
        return self._sealer.heard if self._sealer else -1

    @property
    def server_title(self) -> bytes | None:
        """The meter's system title, once it was told."""
        return self._sealer.peer_title if self._sealer else None

    @property
    def list_items_max(self) -> int:
        """Attributes that one request of the length that the meter takes can ask for, at least 1."""
        return max(1, (self._limit - LIST_HEAD_SIZE) // LIST_ITEM_SIZE)

    def open(self) -> bytes:
        """The AARQ. Raises DlmsFault TQ-DM-41 unless idle."""
        self.state = step(CLIENT_TABLE, self.state, Event.SEND_AARQ)
        settings = self.settings
        protection = settings.protection
        authentication = settings.password if settings.mechanism is Mechanism.LOW else self._challenge or None
        return Aarq(
            Context.LN if protection is None else Context.LN_CIPHERED,
            self._initiate(),
            settings.mechanism,
            authentication,
            settings.system_title if self._sealer else None,
            settings.user,
        ).encode()

    def get(self, attribute: AttributeDescriptor, selection: AccessSelection | None = None) -> bytes:
        """Read one attribute; the answer is a `Got` with one result. Raises DlmsFault TQ-DM-41, 43."""
        return self._begin(
            Event.SEND_GET, GetExchange(self._next_invoke(), (AttributeRequest(attribute, selection),), listed=False)
        )

    def get_list(self, items: tuple[AttributeRequest, ...]) -> bytes:
        """Read up to 64 attributes with one request; a `Got`. Raises DlmsFault TQ-DM-41, 43, 48."""
        self._need(Conformance.MULTIPLE_REFERENCES, len(items))
        return self._begin(Event.SEND_GET, GetExchange(self._next_invoke(), items, listed=True))

    def set(self, attribute: AttributeDescriptor, value: Data, selection: AccessSelection | None = None) -> bytes:
        """Write one attribute; a `Written` with one result. Raises DlmsFault TQ-DM-41, 43, 48."""
        items = (AttributeRequest(attribute, selection),)
        exchange = SetExchange(self._next_invoke(), items, (value,), listed=False, limit=self._limit)
        return self._begin(Event.SEND_SET, exchange)

    def set_list(self, items: tuple[AttributeRequest, ...], values: tuple[Data, ...]) -> bytes:
        """Write up to 64 attributes with one request; a `Written`. Raises DlmsFault TQ-DM-41, 43, 48."""
        self._need(Conformance.MULTIPLE_REFERENCES, len(items))
        exchange = SetExchange(self._next_invoke(), items, values, listed=True, limit=self._limit)
        return self._begin(Event.SEND_SET, exchange)

    def act(self, method: MethodDescriptor, parameters: Data | None = None) -> bytes:
        """Invoke one method; an `Acted` with one outcome. Raises DlmsFault TQ-DM-41, 43, 48."""
        exchange = ActionExchange(self._next_invoke(), (method,), (parameters,), listed=False, limit=self._limit)
        return self._begin(Event.SEND_ACTION, exchange)

    def act_list(self, methods: tuple[MethodDescriptor, ...], parameters: tuple[Data | None, ...]) -> bytes:
        """Invoke up to 64 methods with one request; an `Acted`. Raises DlmsFault TQ-DM-41, 43, 48."""
        self._need(Conformance.MULTIPLE_REFERENCES, len(methods))
        exchange = ActionExchange(self._next_invoke(), methods, parameters, listed=True, limit=self._limit)
        return self._begin(Event.SEND_ACTION, exchange)

    def release(self) -> bytes:
        """The RLRQ. Raises DlmsFault TQ-DM-41 unless associated and idle."""
        self.state = step(CLIENT_TABLE, self.state, Event.SEND_RLRQ)
        ciphered = self.settings.protection is not None and self.settings.sealed_release
        return Rlrq(0, self._initiate() if ciphered else b"").encode()

    def receive(self, data: bytes) -> Outcome:
        """Take one APDU off the carrier.

        Raises:
            DlmsFault: TQ-DM-46 the meter refused one service and the association goes on; anything else closes it:
                01 to 05 no APDU, 30 to 39 security, 40 not associated, 42 to 47 out of place.

        """
        try:
            apdu = decode_apdu(data)
            if isinstance(apdu, Sealed) and self._sealer is not None:
                apdu = self._sealer.unseal_apdu(apdu)
            elif self.settings.protection is not None and not isinstance(apdu, _IN_CLEAR):
                raise _in_clear(apdu)
            return self._on(apdu)
        except DlmsFault as fault:
            if fault.code != REFUSED_REQUEST:
                self.state = step(CLIENT_TABLE, self.state, Event.FAIL)
            raise

    def _on(self, apdu: Apdu) -> Outcome:
        exchange = self._exchange
        if exchange is not None and not isinstance(apdu, _ASIDE):
            return self._on_answer(apdu, exchange)
        if isinstance(apdu, _NOTICES):
            self.state = step(CLIENT_TABLE, self.state, Event.RECEIVE_NOTIFICATION)
            return Notified(apdu)
        if isinstance(apdu, _REFUSALS):
            return self._on_refusal(apdu)
        if isinstance(apdu, Aare):
            return self._on_aare(apdu)
        if isinstance(apdu, Rlre):
            if apdu.user_information and self._sealer is not None:
                self._unseal_inside(apdu.user_information)
            self.state = step(CLIENT_TABLE, self.state, Event.RECEIVE_RLRE)
            return Released()
        if self.state is ClientState.PROVING:
            return self._on_proof(apdu)
        raise self._out_of_place(apdu)

    def _out_of_place(self, apdu: Apdu) -> DlmsFault:
        return remote_fault("TQ-DM-42", f"{type(apdu).__name__} came while {self.state.value}")

    def _on_answer(self, apdu: Apdu, exchange: Exchange) -> Outcome:
        moves = _MOVES.get(self.state)
        if moves is None:
            raise self._out_of_place(apdu)
        following = exchange.on(apdu)
        if isinstance(following, _ANSWERS):
            self._exchange = None
            self.state = step(CLIENT_TABLE, self.state, moves[1])
            return following
        self.state = step(CLIENT_TABLE, self.state, moves[0])
        return Send(self._seal(following.encode()))

    def _on_refusal(self, apdu: ExceptionResponse | ConfirmedServiceError) -> Outcome:
        opened = self.state not in {ClientState.ASSOCIATING, ClientState.PROVING}
        self.state = step(CLIENT_TABLE, self.state, Event.RECEIVE_EXCEPTION)
        self._exchange = None
        if isinstance(apdu, ExceptionResponse) and apdu.service_error == COUNTER_ERROR:
            raise CounterRefused(apdu.counter)
        words = str(apdu) if isinstance(apdu, ExceptionResponse) else f"service error {apdu.kind}.{apdu.value}"
        if not opened:
            raise remote_fault("TQ-DM-40", f"the meter refused the association: {words}")
        raise remote_fault(REFUSED_REQUEST, f"the meter refused the request: {words}")

    def _on_aare(self, aare: Aare) -> Outcome:
        if aare.result is not AssociationResult.ACCEPTED:
            self.state = step(CLIENT_TABLE, self.state, Event.RECEIVE_REJECTED)
            hope = Hope.RETRY if aare.result is AssociationResult.REJECTED_TRANSIENT else Hope.PERMANENT
            hint = "check client, password, keys and security of the meter's profile"
            raise remote_fault("TQ-DM-40", f"the meter refused the association: {aare.reason}", hint, hope)
        to_prove = self.settings.mechanism is Mechanism.GMAC
        self.state = step(CLIENT_TABLE, self.state, Event.RECEIVE_CHALLENGE if to_prove else Event.RECEIVE_ACCEPTED)
        if self._sealer is not None:
            self._sealer.know(aare.responding_title, self._known)
        self.agreed = self._read_agreed(aare)
        self._limit = self.agreed.max_pdu_size or APDU_SIZE_MAX
        if self.settings.protection is not None and self._sealer is not None:
            self._limit -= self._sealer.overhead(self.settings.protection)
        if int(self.agreed.conformance) & _PRIORITY:
            self._class = CONFIRMED | HIGH_PRIORITY
        return self._prove(aare) if to_prove else Opened(self.agreed)

    def _read_agreed(self, aare: Aare) -> InitiateResponse:
        information = aare.user_information
        inside = decode_apdu(information) if self.settings.protection is None else self._unseal_inside(information)
        if not isinstance(inside, InitiateResponse) or inside.version != VERSION:
            raise remote_fault("TQ-DM-40", f"the association was accepted with {type(inside).__name__} inside")
        return inside

    def _unseal_inside(self, information: bytes) -> Apdu:
        inside = decode_apdu(information)
        if self._sealer is None or not isinstance(inside, Sealed):
            raise _in_clear(inside)
        return self._sealer.unseal_apdu(inside)

    def _prove(self, aare: Aare) -> Outcome:
        theirs = aare.authentication or b""
        if (
            aare.mechanism is not Mechanism.GMAC
            or not CHALLENGE_SIZE_MIN <= len(theirs) <= CHALLENGE_SIZE_MAX
            or same_secret(theirs, self._challenge)
            or self._sealer is None
        ):
            raise remote_fault("TQ-DM-38", "the meter did not give a challenge of its own", hope=Hope.PERMANENT)
        proof = octets(self._sealer.prove(theirs))
        return Send(self._seal(ActionRequestNormal(self._next_invoke(), PROVE, proof).encode(), opening=True))

    def _on_proof(self, apdu: Apdu) -> Outcome:
        if not isinstance(apdu, ActionResponseNormal) or self._sealer is None or self.agreed is None:
            raise remote_fault("TQ-DM-42", f"{type(apdu).__name__} came for the meter's proof")
        check_invoke(self._invoke, apdu.invoke)
        returned = apdu.outcome.returned
        proof = returned.value if isinstance(returned, Data) else None
        if apdu.outcome.result is not ActionResult.SUCCESS or not isinstance(proof, bytes):
            raise remote_fault(
                "TQ-DM-40", "the meter did not accept our proof", "check the keys of this meter", Hope.PERMANENT
            )
        if not self._sealer.is_proof(proof, self._challenge):
            raise remote_fault(
                "TQ-DM-38",
                "the meter could not prove itself",
                "do not trust it: check keys and address",
                Hope.PERMANENT,
            )
        self.state = step(CLIENT_TABLE, self.state, Event.RECEIVE_PROOF)
        return Opened(self.agreed)

    def _begin(self, event: Event, exchange: Exchange) -> bytes:
        following = step(CLIENT_TABLE, self.state, event)
        request = exchange.first().encode()
        if len(request) > self._limit:
            raise too_long_to_send()
        out = self._seal(request)
        self.state, self._exchange = following, exchange
        return out

    def _need(self, service: Conformance, count: int) -> None:
        if self.agreed is not None and service not in self.agreed.conformance:
            raise local_fault("TQ-DM-48", f"the meter does not do {service.name}", "ask one by one")
        if not 1 <= count <= LIST_ITEMS_MAX:
            raise local_fault("TQ-DM-43", f"a list of {count}", f"1 to {LIST_ITEMS_MAX} at once")

    def _next_invoke(self) -> int:
        number = (self._invoke & INVOKE_ID_MASK) % INVOKE_ID_MASK + 1
        self._invoke = self._class | number
        return self._invoke

    def _initiate(self) -> bytes:
        if not self._proposal:
            protection, conformance = self.settings.protection, self.settings.conformance
            if protection is not None and protection.general:
                conformance |= Conformance.GENERAL_PROTECTION
            request = InitiateRequest(conformance, self.settings.max_pdu_size, self._dedicated_key)
            self._proposal = request.encode()
        return self._seal(self._proposal, opening=True)

    def _seal(self, plain: bytes, *, opening: bool = False) -> bytes:
        """`opening`: before the association stands the global key is used, and its specific tags."""
        protection = self.settings.protection
        if protection is None or self._sealer is None:
            return plain
        if opening:
            initiate = plain[0] == 0x01
            protection = Protection.GENERAL_GLOBAL if protection.general and not initiate else Protection.GLOBAL
        return self._sealer.seal_apdu(plain, protection)


def _in_clear(apdu: Apdu) -> DlmsFault:
    return remote_fault("TQ-DM-32", f"{type(apdu).__name__} came in clear", "check the meter's security setup")


_MOVES = {
    ClientState.GETTING: (Event.RECEIVE_GET_BLOCK, Event.RECEIVE_GET),
    ClientState.SETTING: (Event.RECEIVE_SET_BLOCK, Event.RECEIVE_SET),
    ClientState.ACTING: (Event.RECEIVE_ACTION_BLOCK, Event.RECEIVE_ACTION),
}
"""For each service under way: the event of a block, and of the whole answer."""
