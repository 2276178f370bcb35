"""Carries permitted movements to the meters and reads back what came of them. Floor: edge_node/supply; payment walk.

The only caller of `MeterDriver.control`. A silent meter is ordinary: the operation stays open, its point waits a little
longer each time, and is looked at again for as long as it is silent. A restore is told again each time; a cut is told
once and then only read back, because nobody knows what a late second command would do.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from edge_node.store.operations import Movement, Operation, Outcome
from edge_node.store.relays import Sighting
from edge_node.supply.door import Door, Permitted
from edge_node.supply.place import Place
from edge_node.supply.seen import Seen
from gridmodel.clock import UtilityClock
from gridmodel.identity import UsagePointId
from protocols.driver import MeterDriver, MeterTarget, RelayCommand, RelayContact
from protocols.errors import Blame, Hope, ProtocolFault

READ_BACK_PAUSES_S = (0, 2, 4)
"""Utility seconds before each look after a command: the last one is past the time a relay needs to move."""
RETRY_S_FIRST = 10
"""Pause after a first failure: a busy gateway is free again."""
RETRY_S_MAX = 300
"""A payer whose meter is silent is tried at least every five minutes, for ever."""

CUT_S_MAX = 30.0
"""Real seconds a cut may wait in its driver, behind a gateway's other work: then it is taken back, and judged anew. A
concentrator's slowest answers take 8 s."""
CALL_S_MAX = 60.0
"""Real seconds any other call may take, above every driver's own timeouts: a hung one gives its place back."""

_CONTACTS = {RelayContact.CLOSED: "closed", RelayContact.OPEN: "open", RelayContact.READY: "ready"}


@dataclass(frozen=True, slots=True)
class _Retry:
    tries: int
    at: int


class Patience:
    """When each movement that came to nothing is tried again; in memory, so that a restart tries them all at once."""

    def __init__(self) -> None:
        self._retries: dict[tuple[UsagePointId, Movement], _Retry] = {}

    def due(self, point: UsagePointId, movement: Movement, now: int) -> bool:
        """Whether it may be tried at `now`; after a clock stepped back nobody waits longer than the longest pause."""
        retry = self._retries.get((point, movement))
        return retry is None or retry.at <= now or retry.at > now + RETRY_S_MAX

    def tries(self, point: UsagePointId) -> int:
        """Restores in a row that came to nothing: who failed least goes first."""
        retry = self._retries.get((point, Movement.RESTORE))
        return 0 if retry is None else retry.tries

    def failed(self, point: UsagePointId, movement: Movement, now: int) -> None:
        """It came to nothing once more."""
        before = self._retries.get((point, movement))
        tries = 1 if before is None else before.tries + 1
        pause_s = min(RETRY_S_MAX, RETRY_S_FIRST * 2 ** min(tries - 1, 8))
        self._retries[point, movement] = _Retry(tries, now + pause_s)

    def settled(self, point: UsagePointId) -> None:
        """The relay did as it was told: forget the failures."""
        for movement in Movement:
            self._retries.pop((point, movement), None)


class RelayRoom:
    """Moves relays, one operation of a point at a time; the caller sees to that."""

    def __init__(self, door: Door, drivers: Mapping[str, MeterDriver], clock: UtilityClock) -> None:
        """`drivers` by protocol name."""
        self._door = door
        self._drivers = drivers
        self._clock = clock
        self.patience = Patience()

    async def cut(self, place: Place) -> None:
        """Carry out a planned cut, if every judgement still permits it."""
        reach = self._reach(place)
        intended = None if reach is None else await self._door.intend_cut(place)
        if reach is None or not isinstance(intended, Operation):
            self.patience.failed(place.point.id, Movement.CUT, self._clock.now())
            return
        permitted = await self._door.release_cut(intended, place)
        if permitted is not None:
            await self._command(place, *reach, permitted, RelayCommand.OPEN)

    async def restore(self, place: Place) -> None:
        """Give supply back, if it is to be given back."""
        reach = self._reach(place)
        begun = None if reach is None else await self._door.begin_restore(place)
        if reach is None or not isinstance(begun, Permitted):
            self.patience.failed(place.point.id, Movement.RESTORE, self._clock.now())
            return
        await self._command(place, *reach, begun, RelayCommand.CLOSE)

    async def look(self, place: Place, movement: Movement) -> None:
        """Read the contact back after an earlier command, once."""
        reach = self._reach(place)
        if reach is None or await self._read_back(place, *reach, (0,)) is None:
            self.patience.failed(place.point.id, movement, self._clock.now())

    async def _command(
        self, place: Place, driver: MeterDriver, target: MeterTarget, permitted: Permitted, command: RelayCommand
    ) -> None:
        point = place.point.id
        pauses: tuple[int, ...] = READ_BACK_PAUSES_S
        try:
            async with asyncio.timeout(CUT_S_MAX if command is RelayCommand.OPEN else CALL_S_MAX):
                await driver.control(target, command, permitted.permit)
        except TimeoutError:
            pauses = (0,)  # given up here; it may have arrived all the same
        except ProtocolFault as fault:
            if fault.blame is Blame.REMOTE and fault.hope is Hope.RETRY:
                pauses = (0,)  # it may have arrived all the same: look once now, and later again
        seen = await self._read_back(place, driver, target, pauses)
        still_dark = command is RelayCommand.CLOSE and seen is not None and seen.outcome is Outcome.FAILED
        if seen is None or still_dark:
            self.patience.failed(point, permitted.operation.action, self._clock.now())
        else:
            self.patience.settled(point)

    async def _read_back(
        self, place: Place, driver: MeterDriver, target: MeterTarget, pauses: tuple[int, ...]
    ) -> Seen | None:
        """Read the contact until it proves something; gives what it proved."""
        for pause_s in pauses:
            if pause_s:
                await self._clock.sleep(pause_s)
            asked_at = self._clock.now()
            try:
                async with asyncio.timeout(CALL_S_MAX):
                    reading = await driver.read_relay(target)
            except (ProtocolFault, TimeoutError):
                continue  # the operation stays open; the point is looked at again
            contact = _CONTACTS.get(reading.state)
            if contact is None:
                continue
            look = Sighting(place.point.id, target.meter, contact, reading.load_w, asked_at)
            proved = await self._door.settle([look], read_back=True)
            if proved:
                return proved[0]
        return None

    def _reach(self, place: Place) -> tuple[MeterDriver, MeterTarget] | None:
        target = place.target()
        driver = None if place.profile is None else self._drivers.get(place.profile.protocol)
        return None if target is None or driver is None or not place.remote_relay else (driver, target)
