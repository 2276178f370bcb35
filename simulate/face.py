"""The face of each meter: its registers as bytes, from the truth, at a moment. Floor: simulate; reading, payment.

Served alike by the fleet on sockets and by the driver in memory. A meter's voltage and frequency wander a little by
fixed formulas, so that nothing here needs dice.
"""

from gridmodel.network import SupplyPointKind
from protocols.modbus.section import POWER, RelayMap
from simulate.grid import Grid
from simulate.image import ProfileImage, RegisterImage
from simulate.truth import GridTruth

PHASES = ("l1", "l2", "l3")


class MeterFaces:
    """Register images of all meters of one grid, drawn when asked and kept until something changes."""

    def __init__(self, truth: GridTruth) -> None:
        self.truth = truth
        self._images = [truth.images.get(truth.grid.profile_of(index)) for index in range(len(truth.grid.meters))]
        self._drawn: dict[int, tuple[int, bool, str, RegisterImage]] = {}

    def image_of(self, index: int) -> ProfileImage:
        """The register map of that meter's model."""
        image = self._images[index]
        if image is None:
            raise KeyError(self.truth.grid.profile_of(index))
        return image

    def relay_of(self, index: int) -> RelayMap | None:
        """The relay of that meter's model."""
        return self.image_of(index).plan.relay

    def registers(self, index: int, now: int) -> RegisterImage:
        """What the meter shows at `now` (UTC seconds)."""
        truth = self.truth
        truth.advance(now)
        connected = truth.connected(index)
        kept = self._drawn.get(index)
        as_of = (truth.end, connected, truth.serial_of(index))
        if kept is not None and kept[:3] == as_of:
            return kept[3]
        image = self.image_of(index).draw(self._values(index, now, connected=connected))
        self._drawn[index] = (*as_of, image)
        return image

    def _values(self, index: int, now: int, *, connected: bool) -> dict[str, int | None]:
        truth = self.truth
        energy = truth.shown_at(index, now)
        power_w = truth.load_w(index, now)
        relay = self.relay_of(index)
        wander = (index * 37 + truth.end // 900 * 13) % 61 - 30
        values: dict[str, int | None] = {
            "register.import": energy.import_wh,
            "register.export": energy.export_wh,
            POWER: power_w,
            "frequency_mhz": 50_000 + wander,
            "serial": int(truth.serial_of(index)),
        }
        phases = PHASES if "voltage_l3_mv" in {field.key for _, _, field in self.image_of(index).fields} else PHASES[:1]
        for phase in phases:
            voltage_mv = 229_000 + wander * 100
            values[f"voltage_{phase}_mv"] = voltage_mv
            values[f"current_{phase}_ma"] = power_w * 1_000_000 // (voltage_mv * len(phases))
        if relay is not None:
            values["relay"] = relay.closed if connected else relay.open
        return values


def kind_of(grid: Grid, index: int) -> str:
    """What the meter with that index measures: ``usage_point`` or the kind of its supply point."""
    points = len(grid.points)
    return "usage_point" if index < points else SupplyPointKind(grid.supplies[index - points].kind).value
