"""Meters in memory behind the `MeterDriver` port, with latency in virtual time and seeded silence. Floor: simulate.

On the reading and payment walks of `simulate run`. It serves the very bytes that a fleet on sockets serves and decodes
them with the profile's own plan, so a wrong scale shows here, too. What goes wrong is decided by an injected generator:
the same seed gives the same silences. A timed-out command may have arrived or not, as on a wire.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gridmodel.clock import IoClock, Rng, UtilityClock
from gridmodel.reading import Channel
from protocols.driver import MeterSnapshot, MeterTarget, RelayCommand, RelayContact, RelayReading, WritePermit
from protocols.modbus.codec import ModbusFault, local_fault, remote_fault
from protocols.modbus.driver import relay_reading, snapshot_of
from protocols.modbus.section import POWER, Block, RelayMap
from simulate.face import MeterFaces


@dataclass(slots=True)
class MeterFaults:
    """What goes wrong on the way to meters; a scenario may change it at any time."""

    latency_s: float = 0.05
    """I/O seconds of one exchange."""
    timeout_s: float = 1.0
    """I/O seconds until silence is called silence."""
    lost_request: float = 0.0
    """Probability that a request does not arrive."""
    lost_reply: float = 0.0
    """Probability that a request arrives and its reply does not."""
    silent: frozenset[str] = frozenset()
    """Meters that do not answer."""


class SimDriver:
    """All meters of some grids, in memory; an implementation of `MeterDriver`."""

    def __init__(
        self,
        grids: Iterable[MeterFaces],
        *,
        clock: UtilityClock,
        io_clock: IoClock,
        rng: Rng,
        faults: MeterFaults,
        bytes_every: int = 1,
    ) -> None:
        """With `bytes_every` above 1 only every so many reads go through the meter's bytes, and must agree with it."""
        self._faces = tuple(grids)
        self._clock = clock
        self._io_clock = io_clock
        self._rng = rng
        self.faults = faults
        self.counts: dict[str, int] = {"lost_request": 0, "lost_reply": 0, "silent": 0}
        """How often each thing went wrong, for "sometimes" counters."""
        self._closed = False
        self._bytes_every = bytes_every
        self._reads = 0

    async def read(self, target: MeterTarget) -> MeterSnapshot:
        """See `MeterDriver.read`."""
        faces, index = self._find(target)
        await self._arrive(target)
        self._reads += 1
        if self._reads % self._bytes_every:
            snapshot = self._plain(faces, index)
        else:
            plan = faces.image_of(index).plan
            values, raw = self._decode(faces, index, plan.poll)
            snapshot = snapshot_of(plan, values, raw)
            if self._bytes_every > 1:
                _must_agree(snapshot, self._plain(faces, index))
        await self._return(target)
        return snapshot

    def _plain(self, faces: MeterFaces, index: int) -> MeterSnapshot:
        """The same as through bytes, but for the measurements that nobody books."""
        image, truth, now = faces.image_of(index), faces.truth, self._clock.now()
        shown, power_w = truth.shown_at(index, now), truth.load_w(index, now)
        counted = {Channel.IMPORT: shown.import_wh, Channel.EXPORT: shown.export_wh}
        contact = RelayContact.CLOSED if truth.connected(index) else RelayContact.OPEN
        return MeterSnapshot(
            serial=str(int(truth.serial_of(index))) if image.tells_serial else None,
            meter_time=None,
            relay=RelayReading(contact, power_w) if image.has_relay else None,
            registers={channel: counted[channel] for channel in image.plan.channels.values()},
            measurements={POWER: power_w},
            raw={},
            places=image.plan.places,
        )

    async def read_relay(self, target: MeterTarget) -> RelayReading:
        """See `MeterDriver.read_relay`."""
        faces, index = self._find(target)
        relay = _relay_of(faces, index, target)
        await self._arrive(target)
        values, _ = self._decode(faces, index, faces.image_of(index).plan.relay_poll)
        await self._return(target)
        return relay_reading(relay, values)

    async def control(self, target: MeterTarget, command: RelayCommand, permit: WritePermit) -> None:
        """See `MeterDriver.control`."""
        faces, index = self._find(target)
        _relay_of(faces, index, target)
        if permit.action is not command:
            raise local_fault(
                "TQ-MB-46",
                f"permit {permit.intent_id} is for {permit.action.value}, not for {command.value}",
                "report it",
            )
        await self._arrive(target)
        faces.truth.move_relay(str(target.meter), closed=command is RelayCommand.CLOSE, at=self._clock.now())
        await self._return(target)

    @contextmanager
    def losing(self, meter: str, *, arrives: bool) -> Iterator[None]:
        """See `simulate.meter_watch.Way`; whatever is sent meanwhile is lost alike."""
        del meter
        faults, odds = self.faults, (self.faults.lost_request, self.faults.lost_reply)
        faults.lost_request, faults.lost_reply = (0.0, 1.0) if arrives else (1.0, 0.0)
        try:
            yield
        finally:
            faults.lost_request, faults.lost_reply = odds

    async def close(self) -> None:
        """See `MeterDriver.close`."""
        self._closed = True

    def _find(self, target: MeterTarget) -> tuple[MeterFaces, int]:
        if self._closed:
            raise _closed()
        for faces in self._faces:
            index = faces.truth.place_of(target.meter)
            if index is not None:
                if faces.image_of(index).profile.name != target.profile:
                    break
                return faces, index
        else:
            raise local_fault("TQ-MB-50", f"there is no meter {target.meter} in this rehearsal", "mend the registry")
        raise local_fault("TQ-MB-50", f"meter {target.meter} is no {target.profile!r:.60}", "mend the registry")

    async def _arrive(self, target: MeterTarget) -> None:
        """The way there; the meter has the request when this returns."""
        if self.faults.latency_s:
            await self._io_clock.sleep(self.faults.latency_s * self._rng.uniform(0.5, 1.5))
        if str(target.meter) in self.faults.silent:
            await self._silence(target, "silent")
        if self._rng.random() < self.faults.lost_request:
            await self._silence(target, "lost_request")
        if self._closed:
            raise _closed()

    async def _return(self, target: MeterTarget) -> None:
        """The way back."""
        if self._rng.random() < self.faults.lost_reply:
            await self._silence(target, "lost_reply")
        if self._closed:
            raise _closed()

    async def _silence(self, target: MeterTarget, kind: str) -> None:
        self.counts[kind] += 1
        await self._io_clock.sleep(self.faults.timeout_s)
        raise remote_fault(
            "TQ-MB-02",
            f"meter {target.meter} did not answer within {self.faults.timeout_s} s",
            "check the meter's supply, wiring and unit number",
        )

    def _decode(
        self, faces: MeterFaces, index: int, blocks: Iterable[Block]
    ) -> tuple[dict[str, int | None], dict[str, str]]:
        image = faces.registers(index, self._clock.now())
        values: dict[str, int | None] = {}
        raw: dict[str, str] = {}
        for block in blocks:
            data = image.read(block.function, block.address, block.count) or b""
            for field in block.fields:
                values[field.key] = field.value(data)
                raw[field.key] = field.raw(data).hex()
        return values, raw


def _must_agree(drawn: MeterSnapshot, plain: MeterSnapshot) -> None:
    """The short way tells what the bytes tell, where a node looks. Raises RuntimeError: the short way is wrong."""
    told, short = ((one.serial, one.relay, one.registers, one.measurements[POWER]) for one in (drawn, plain))
    if told != short:
        raise RuntimeError(f"a meter shows {told} in bytes, {short} without")


def _relay_of(faces: MeterFaces, index: int, target: MeterTarget) -> RelayMap:
    relay = faces.relay_of(index)
    if relay is None:
        raise local_fault("TQ-MB-45", f"meter {target.meter} ({target.profile}) has no relay", "mend the registry")
    return relay


def _closed() -> ModbusFault:
    return local_fault("TQ-MB-48", "the driver is closed", "the node is stopping; start it again")
