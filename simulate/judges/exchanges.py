"""Over an exchange no energy is lost or doubled, and no relay is moved in the wrong meter's name. Floor: simulate.

Walks: reading, payment. The checker of energy compares whole places between hours in which every meter was read; this
one looks at each place where a meter was exchanged, from the old meter's last register to the new one's first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gridmodel.reading import Channel
from simulate.judges.energy import clouded
from simulate.judges.sight import NodeSight, Verdicts
from simulate.truth import Registers

GRACE_S = 1_200
"""For what was on its way to the old meter when the node learned of the exchange, and until the booking is done."""


@dataclass(slots=True)
class MeterExchange:
    """One exchange, from what the crew and the office know of it."""

    node: str
    index: int
    """Of the usage point."""
    point: str
    old: str
    """Meter ids."""
    new: str
    tells_serial: bool
    """Whether a read tells which meter answers."""
    moved_at: int = 0
    """UTC seconds; 0: not yet."""
    known_at: int = 0
    """Since when the node has the registry that tells all of it; 0: not yet."""
    version: int = 0
    """Of that registry."""
    final: Registers | None = None
    """What the old meter showed at last, meter-side Wh."""
    start: Registers | None = None
    """What the new one showed at first."""


@dataclass(slots=True)
class ExchangeChecker:
    """Told of relay commands as they leave and contacts as they move; asked at the end."""

    sights: Mapping[str, NodeSight]
    verdicts: Verdicts
    begun: list[MeterExchange] = field(default_factory=list)
    """Filled by the crews."""

    def command_begins(self, node: str, meter: str) -> None:
        """A relay command leaves for `meter`."""
        now = self.verdicts.now()
        for one in self.begun:
            if one.node == node and meter == one.old and one.known_at and now - one.known_at > GRACE_S:
                self.verdicts.against("old_meter_rests", node, meter, "it was taken off, and a command was sent to it")

    def moved(self, node: str, index: int, flying: set[str]) -> None:
        """A contact of that place moved while commands to the meters `flying` were on the wire."""
        for one in self.begun:
            if (one.node, one.index) != (node, index) or not one.moved_at or not one.tells_serial:
                continue
            if one.new in flying:
                self.verdicts.happened("relay_moved_after_exchange")
            else:
                self.verdicts.against(
                    "identity_proven", node, one.point, f"{one.new} was moved by a command to {sorted(flying)}"
                )

    def waits(self, node: str) -> str:
        """What has not been booked over an exchange by now, in words; empty when all is."""
        return next((what for one in self.begun if one.node == node and (what := self._wrong(one))), "")

    def compare(self, node: str) -> int:
        """Judge every exchange of a node; gives how many were compared."""
        compared = 0
        for one in self.begun:
            if one.node == node and one.known_at and not self._hidden(one):
                compared += 1
                what = self._wrong(one)
                if what:
                    self.verdicts.against("exchange_is_whole", node, one.point, what)
        return compared

    def _hidden(self, one: MeterExchange) -> bool:
        """Whether a wrong wall stamped what was read about then."""
        return any(clouded(self.sights[one.node], end) for end in (one.moved_at, one.known_at))

    def _wrong(self, one: MeterExchange) -> str:
        """Between the registers around the exchange: every interval once, none negative, the sum as counted."""
        sight = self.sights[one.node]
        channels = [Channel.IMPORT, *([Channel.EXPORT] if sight.grid.points[one.index].solar_w else [])]
        for channel in channels if one.known_at else ():
            rows = self._rows(sight, one, channel)
            before = max((end for end, _, register in rows if end <= one.moved_at and register is not None), default=0)
            after = min((end for end, _, register in rows if end > one.known_at and register is not None), default=0)
            if not before or not after:
                continue
            step_s = sight.grid.spec.interval_minutes * 60
            booked = {end: energy for end, energy, _ in rows if before < end <= after}
            missing = [end for end in range(before + step_s, after + 1, step_s) if end not in booked]
            told, true = sum(booked.values()), self._true_wh(sight, one.index, channel, before, after)
            if missing or told != true or min(booked.values(), default=0) < 0:
                return (
                    f"{one.old} to {one.new} at {one.moved_at}, known at {one.known_at}, {channel.name.lower()} from"
                    f" {before} to {after}: {told} Wh booked, {true} Wh counted, {len(missing)} intervals missing,"
                    f" the first {missing[:1]}"
                )
        return ""

    def _rows(self, sight: NodeSight, one: MeterExchange, channel: Channel) -> list[tuple[int, int, int | None]]:
        """(end, energy, register) of every stored interval of the point."""
        return [
            (end, energy, register)
            for eye in sight.segments()
            for end, energy, register in eye.rows(
                "SELECT r.end, r.energy_wh, r.register_wh FROM reading AS r JOIN point AS p ON p.number = r.point"
                " WHERE p.point = ? AND p.channel = ?",
                (one.point, int(channel)),
            )
        ]

    def _true_wh(self, sight: NodeSight, index: int, channel: Channel, begin: int, end: int) -> int:
        after, before = sight.truth.registers_at(index, end), sight.truth.registers_at(index, begin)
        if channel is Channel.IMPORT:
            return (after.import_wh - before.import_wh) * sight.truth.multiplier(index)
        return (after.export_wh - before.export_wh) * sight.truth.multiplier(index)
