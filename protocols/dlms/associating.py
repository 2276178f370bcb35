"""How associations come about: connect, secrets, counters, recovery. Floor: protocols; walks: reading, payment.

Theory of operation. Each association gets a fresh connection, fresh entropy and invocation counters that were reserved
durably. When a meter refuses it and counters may be the reason, the meter's own counter is read without secrets by the
public client and believed within limits; then it is tried once more, and no oftener. The highest counter heard from a
meter is remembered as long as the process lives, so that an old answer played to a new association is refused.
"""

import asyncio
from dataclasses import dataclass
from zlib import crc32

from gridmodel.clock import Entropy, IoClock
from gridmodel.identity import MeterId
from protocols.dlms.apdu.acse import Mechanism
from protocols.dlms.apdu.initiate import OURS
from protocols.dlms.apdu.parts import AccessResult
from protocols.dlms.association import ClientAssociation
from protocols.dlms.blocks import CounterBlocks, ReservedCounter, counter_key
from protocols.dlms.client import DlmsClient
from protocols.dlms.connection import Connection
from protocols.dlms.conversation import Conversation
from protocols.dlms.cosem import number
from protocols.dlms.counters import CounterStore
from protocols.dlms.faults import DlmsFault, local_fault, remote_fault
from protocols.dlms.keys import MeterKeys, MeterSecrets
from protocols.dlms.pace import Pace
from protocols.dlms.place import Place
from protocols.dlms.sealing import NOTHING_HEARD
from protocols.dlms.section import DlmsPlan
from protocols.dlms.security import KEY_SIZE, TITLE_SIZE, SecurityKeys
from protocols.dlms.tables import TimingTable
from protocols.dlms.terms import AssociationSettings, CounterRefused, Opened
from protocols.driver import MeterTarget
from protocols.errors import Hope

NO_CONNECTION = "TQ-DM-80"
"""The fault of an address that does not accept connections."""
CHALLENGE_SIZE = 16
"""Bytes of our challenge."""
VAIN_STEPS_MAX, VAIN_STEPS_S = 2**20, 86_400
"""So far a key's counter is moved in so many I/O seconds by words that did not let us in: a key lasts for eleven years
of lies then. An honest meter whose reply was lost needs no second step: ours stands beyond its counter already."""
REFUSED_ASSOCIATION = "TQ-DM-40"
"""The fault of a meter that does not want us; some say no more than that about a counter they have seen."""
CHEAP_COUNTERS, DEAR_COUNTERS = 64, 1_024
"""Invocation counters set aside for one association: a poll needs ten, a load profile one for each block: 30 days of
quarters from a meter that sends 128 bytes at a time."""


OTHERS_ASKED = 8
"""Beside registers: serial number, clock and relay; association, proof and release."""
TITLES_MAX = 8
"""System titles remembered for one meter: exchanges and mix-ups of a lifetime; the oldest goes."""


@dataclass(frozen=True, slots=True)
class Way:
    """How one call reaches one meter."""

    place: Place
    """Link, host and port, and the numbers of both ends."""
    timing: TimingTable
    """The patience that this way needs."""
    pace: Pace
    """Told of every exchange that was answered or lost."""


def counters_for(plan: DlmsPlan, *, dear: bool) -> int:
    """How many APDUs one call may cost: twice what a first poll asks for, where each value is asked for by itself."""
    if dear:
        return DEAR_COUNTERS
    requests = 2 * -(-(len(plan.values) + OTHERS_ASKED) // plan.quirks.list_items_max)
    return max(CHEAP_COUNTERS, 2 * (requests + OTHERS_ASKED))


class Associations:
    """Opens associations for one driver."""

    def __init__(self, *, keys: MeterKeys, counters: CounterStore, entropy: Entropy, io_clock: IoClock) -> None:
        self._keys = keys
        self._blocks = CounterBlocks(counters)
        self._entropy = entropy
        self._io_clock = io_clock
        self._heard: dict[MeterId, dict[bytes, int]] = {}
        """By system title of whoever answered for a meter and check of its key: each counts for itself, and anew under
        a new key. In one piece of bytes, since a region has one for each meter."""
        self._in_vain: dict[str, tuple[float, int]] = {}
        """By key, since when and how far its counter was moved by words that did not let us in."""
        self._open: set[Connection] = set()
        self._closed: DlmsFault | None = None

    async def open(self, target: MeterTarget, plan: DlmsPlan, way: Way, counters: int) -> Conversation:
        """An open association with the target, to be given to `end` whatever happens. `counters`: APDUs at most.

        Raises:
            DlmsFault: 80 no connection, 81 silence, 82 closed, 30 to 49 security and associations, 87 another system
                title, 94 secrets are missing; what `MeterKeys.secrets_of` raises.

        """
        secrets = self._keys.secrets_of(target.meter)
        reserved = await self._reserve(plan, secrets, counters)
        try:
            return await self._try(target, plan, way, secrets, reserved)
        except DlmsFault as fault:
            following = 0 if reserved.counter is None else reserved.counter.following
            self._blocks.give_back(reserved)
            if not following or not (steps := await self._recovered(plan, way, reserved.key, following, fault)):
                raise
        reserved = await self._reserve(plan, secrets, counters)
        try:
            opened = await self._try(target, plan, way, secrets, reserved)
        except DlmsFault:
            self._blocks.give_back(reserved)
            raise
        self._moved_in_vain(reserved.key, -steps)
        return opened

    def _moved_in_vain(self, key: str, steps: int) -> bool:
        """Count these steps among the vain ones, or refuse them; they are taken back when they let us in."""
        now = self._io_clock.monotonic()
        since, total = self._in_vain.get(key, (now, 0))
        if now - since >= VAIN_STEPS_S:
            since, total = now, 0
        if total + steps > VAIN_STEPS_MAX:
            return False
        if total + steps > 0:
            self._in_vain[key] = (since, total + steps)
        else:
            self._in_vain.pop(key, None)
        return True

    def end(self, target: MeterTarget, conversation: Conversation) -> None:
        """Hang up, remember what was heard, and take unused counters back. Idempotent."""
        conversation.hang_up()
        self._blocks.give_back(conversation.counter)
        heard, title = conversation.association.heard, conversation.association.server_title
        if heard >= 0 and title is not None:
            known, place = self._heard.setdefault(target.meter, {}), title + _check_of(conversation.counter.key)
            known[place] = max(heard, known.get(place, heard))
            if len(known) > TITLES_MAX:
                del known[next(iter(known))]
        self._open.discard(conversation.connection)

    def close(self, fault: DlmsFault) -> None:
        """Spoil every open connection for good; whoever waits on one, or for one, gets `fault`."""
        self._closed = fault
        for connection in tuple(self._open):
            connection.abandon(fault)
        self._open.clear()

    async def _reserve(self, plan: DlmsPlan, secrets: MeterSecrets, counters: int) -> ReservedCounter:
        if not plan.security.keyed or secrets.block_key is None:
            return ReservedCounter()
        key = counter_key(secrets.block_key, self._keys.client_title())
        return await self._blocks.take(key, counters, secrets.counter_least)

    async def _try(
        self, target: MeterTarget, plan: DlmsPlan, way: Way, secrets: MeterSecrets, reserved: ReservedCounter
    ) -> Conversation:
        security = plan.security
        heard = NOTHING_HEARD
        if not plan.quirks.counter_restarts and (known := self._heard.get(target.meter)) is not None:
            check = _check_of(reserved.key)
            heard = {place[:TITLE_SIZE]: counter for place, counter in known.items() if place.endswith(check)}
        association = ClientAssociation(
            AssociationSettings(
                mechanism=security.mechanism,
                protection=security.protection,
                password=_password(target, plan, secrets),
                system_title=self._keys.client_title() if security.keyed else None,
                conformance=OURS,
                sealed_release=plan.quirks.release == "sealed",
                user=security.user,
            ),
            keys=self._security_keys(target, plan, secrets),
            counter=reserved.counter,
            challenge=self._entropy.token(CHALLENGE_SIZE) if security.mechanism is Mechanism.GMAC else b"",
            heard=heard,
        )
        connection = await self._opened(way, DlmsClient(way.place.carrier(), association))
        expected = secrets.meter_title
        if security.keyed and expected is not None and association.server_title != expected:
            fault = _another_title(target, association.server_title, expected)
            connection.abandon(fault)
            self._open.discard(connection)
            raise fault
        return Conversation(connection, plan, way.timing.pause_ms, self._io_clock, reserved)

    def _security_keys(self, target: MeterTarget, plan: DlmsPlan, secrets: MeterSecrets) -> SecurityKeys | None:
        if not plan.security.keyed:
            return None
        if secrets.block_key is None or secrets.authentication_key is None:
            raise _secrets_missing(target, "block_key and authentication_key")
        protection = plan.security.protection
        dedicated = self._entropy.token(KEY_SIZE) if protection is not None and protection.dedicated else None
        return SecurityKeys(secrets.block_key, secrets.authentication_key, dedicated)

    async def _opened(self, way: Way, client: DlmsClient) -> Connection:
        """Connect and associate; whatever is raised, the connection is gone then."""
        timing, place = way.timing, way.place
        loop = asyncio.get_running_loop()
        timeout_s = timing.timeout_ms / 1000
        try:
            async with asyncio.timeout(timing.connect_timeout_ms / 1000):
                _, connection = await loop.create_connection(
                    lambda: Connection(client, timeout_s, timing.retries, self._io_clock, way.pace),
                    place.host,
                    place.port,
                )
        except (OSError, TimeoutError, ValueError) as error:  # the last of a name that none can be
            raise remote_fault(
                NO_CONNECTION,
                f"{place.host}:{place.port} does not accept a connection ({type(error).__name__})",
                "check the address, the meter's or gateway's supply and the network",
            ) from error
        self._open.add(connection)
        opened = False
        try:
            if self._closed is not None:
                raise self._closed
            if timing.connect_delay_ms:
                await self._io_clock.sleep(timing.connect_delay_ms / 1000)
            outcome = await connection.begin()
            opened = isinstance(outcome, Opened)
            if not opened:
                raise remote_fault("TQ-DM-42", f"{type(outcome).__name__} came while associating")
        finally:
            if not opened:
                self._open.discard(connection)
                connection.hang_up()
        return connection

    async def _recovered(self, plan: DlmsPlan, way: Way, key: str, following: int, fault: DlmsFault) -> int:
        """How far counters were moved beyond what the meter has seen, if they were the reason of `fault`; else 0.

        `following` is the number that we would have used next: what is below it the meter has from us.

        Raises:
            DlmsFault: TQ-DM-37 when the meter's counter is too far away to be believed.

        """
        told: int | None = None
        if isinstance(fault, CounterRefused) or fault.code == REFUSED_ASSOCIATION:
            told = await self._told(plan, way)
        if told is None and isinstance(fault, CounterRefused) and fault.expected is not None:
            told = fault.expected - 1
        if told is None or told < following:
            return 0
        steps = told - following + 1
        if steps <= VAIN_STEPS_MAX and not self._moved_in_vain(key, steps):
            return 0
        await self._blocks.recover(key, told)
        return steps

    async def _told(self, plan: DlmsPlan, way: Way) -> int | None:
        """The counter that the meter accepted last, as anybody may read it; None where it does not tell."""
        attribute, client = plan.security.counter, plan.security.counter_client
        if attribute is None:
            return None
        association = ClientAssociation(AssociationSettings())
        connection = await self._opened(way, DlmsClient(way.place.carrier(client), association))
        conversation = Conversation(connection, plan, way.timing.pause_ms, self._io_clock, ReservedCounter())
        try:
            result = await conversation.get_one(attribute)
            await conversation.release()
        finally:
            conversation.hang_up()
            self._open.discard(connection)
        told = None if isinstance(result, AccessResult) else number(result)
        return told if isinstance(told, int) and told >= 0 else None


def _check_of(key: str) -> bytes:
    return crc32(key.encode()).to_bytes(4)


def _password(target: MeterTarget, plan: DlmsPlan, secrets: MeterSecrets) -> bytes:
    if plan.security.mechanism is not Mechanism.LOW:
        return b""
    if secrets.password is None:
        raise _secrets_missing(target, "password")
    return secrets.password


def _secrets_missing(target: MeterTarget, which: str) -> DlmsFault:
    return local_fault(
        "TQ-DM-94",
        f"meter {target.meter} ({target.profile}) needs {which}, and the key file has none for it",
        "nothing was sent: put the meter's secrets into the key file",
    )


def _another_title(target: MeterTarget, told: bytes | None, expected: bytes) -> DlmsFault:
    return remote_fault(
        "TQ-DM-87",
        f"system title {(told or b'').hex()} answered for meter {target.meter}, whose title is {expected.hex()}",
        "another meter stands at this address, or its title in the key file is wrong; nothing was booked",
        Hope.PERMANENT,
    )
