"""Concentrators as data: what a model that stands before hundreds of meters allows. Floor: protocols; walk: reading.

One TCP ``host:port`` stands for all meters that a concentrator reaches by power line or radio; each is a wrapper port
of its own (or an HDLC physical address, where the model is a gateway to a line). Which one it is belongs to the
address and not to the meter's profile, since meters of several models stand behind one:
``wrapper://10.1.2.3:4059?server=273&via=plc_wrapper``. docs/adr/0011-concentrators.md says what was weighed.
"""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

from pydantic import Field, ValidationError

from protocols.dlms.tables import Table, TimingTable
from protocols.profile import profile_fault, table_of, text_of

FOLDER = "concentrators"
ASSOCIATIONS_MAX = 32
"""No model that was seen takes more connections; each is a socket here and a task there."""
MANAGEMENT = 1
"""The wrapper port of a concentrator's own management device (IEC 62056-47 reserves it)."""
METERS_FROM = 256
"""The first wrapper port of a meter in our simulator and examples: beyond all reserved ones, and beyond 127, which
calls every device."""


class ConcentratorTable(Table):
    """One model of concentrator."""

    make: str = Field(min_length=1, max_length=60)
    model: str = Field(min_length=1, max_length=60)
    associations_max: int = Field(ge=1, le=ASSOCIATIONS_MAX)
    """Associations at once, each on a TCP connection of its own: the limit of the adaptive width. One of them is kept
    for restores and relays."""
    timing: TimingTable = TimingTable()
    """In place of the meter profile's: what the way costs is the way's."""


def parse_concentrator(name: str, text: str) -> ConcentratorTable:
    """A concentrator from the text of its file. Raises `ProfileFault` TQ-MP-01 (no TOML), 02 (a wrong key)."""
    try:
        return ConcentratorTable.model_validate(table_of(f"concentrator {name}", text))
    except ValidationError as error:
        raise profile_fault(name, error) from error


def load_concentrators(folder: Traversable | None = None) -> Mapping[str, ConcentratorTable]:
    """All models of `folder`, or all shipped ones, by name. Raises `ProfileFault` as `parse_concentrator`."""
    place = files("configs").joinpath(FOLDER) if folder is None else folder
    found = sorted(entry.name.removesuffix(".toml") for entry in place.iterdir() if entry.name.endswith(".toml"))
    texts = {name: text_of(f"concentrator {name}", place.joinpath(f"{name}.toml")) for name in found}
    return MappingProxyType({name: parse_concentrator(name, text) for name, text in texts.items()})
