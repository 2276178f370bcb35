"""Secrets of meters out of one plain file that only its owner reads. Above the rooms; on the reading and payment walks.

A demo and a probe work with such a file; a production node takes it in once, sealed (`meter_vault`), and then it goes.
TOML with hex values. At the top stand secrets for every meter without a table of its own (a test bench, a demo), and
the system title of a probe; ``[meters."ID"]`` holds the secrets of one meter. The file is read once, at the start. Keys
that everybody knows are refused outside a demo: at the top of the file at once, of one meter when that meter is asked
for, so that one badly delivered meter does not keep the others from being read. A node's own title stands in its
configuration, not here: two programs with one title and one key would use one invocation counter twice.

Codes: TQ-MK-01 missing or unreadable, 02 others may read it, 03 not such a file, 04 a well-known key, 05 in use, 06 no
such meter, 07 a plain file in production. 08 to 12 are those of `meter_vault`.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gridmodel.absence import Absence
from gridmodel.fault import Fault
from gridmodel.identity import MeterId, checked_id
from hosting.files import read_private
from protocols.dlms.counters import COUNTER_MAX
from protocols.dlms.keys import MeterSecrets, is_well_known
from protocols.errors import Blame, Hope, ProtocolFault

METER_KEYS_SIZE_BYTES_MAX = 64 * 1024 * 1024
"""A quarter of a million meters with all their secrets; more is the wrong file."""
WELL_KNOWN = "TQ-MK-04"
"""Code of the fault for a key that everybody knows."""
PLAIN = "TQ-MK-07"
"""Code of the fault for a plain file where secrets must be sealed."""
_NAME_LENGTH_MAX = 80
"""Of a meter's name in a fault: it may be anything."""
_TITLE_HEAD = b"TMQ"
"""The first three letters of a system title name the maker (IEC 62056-5-3, 4.3.4)."""

_Key = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{32}$")]
_Secret = Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}){1,64}$")]
_Title = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{16}$")]


class MeterKeyFault(ProtocolFault):
    """Secrets that are missing, exposed, malformed or no secrets. Always local and permanent."""

    def __init__(self, code: str, what: str, hint: str) -> None:
        super().__init__(code, what, hint, blame=Blame.LOCAL, hope=Hope.PERMANENT)

    @property
    def absence(self) -> Absence:
        """See `ProtocolFault.absence`."""
        return Absence.SECURITY


class _Secrets(BaseModel):
    """What one table holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    password: _Secret | None = None
    block_key: _Key | None = None
    authentication_key: _Key | None = None
    hls_secret: _Secret | None = None
    meter_title: _Title | None = None
    invocation_counter: int = Field(default=1, ge=1, le=COUNTER_MAX)

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.block_key is None) != (self.authentication_key is None):
            raise ValueError("block_key and authentication_key go together")
        return self

    def secrets(self) -> MeterSecrets:
        """As the driver takes them."""
        return MeterSecrets(
            password=_bytes(self.password),
            block_key=_bytes(self.block_key),
            authentication_key=_bytes(self.authentication_key),
            hls_secret=_bytes(self.hls_secret),
            meter_title=_bytes(self.meter_title),
            counter_least=self.invocation_counter,
        )


class _File(_Secrets):
    system_title: _Title | None = None
    meters: dict[str, _Secrets] = Field(default_factory=dict)


_Model = TypeVar("_Model", bound=_Secrets)


@dataclass(frozen=True)
class FileKeys:
    """The secrets of a file; an implementation of `protocols.dlms.keys.MeterKeys`."""

    title: bytes
    every_meter: MeterSecrets
    by_meter: Mapping[str, MeterSecrets]
    demo: bool
    """Whether well-known keys may be used."""
    probe_title: bytes | None = None
    """The system title that the file has for a probe."""

    def client_title(self) -> bytes:
        """See `MeterKeys`."""
        return self.title

    def secrets_of(self, meter: MeterId) -> MeterSecrets:
        """See `MeterKeys`. Raises `MeterKeyFault` TQ-MK-04 for keys that everybody knows, outside a demo."""
        secrets = self.by_meter.get(meter, self.every_meter)
        if not self.demo:
            _refuse_well_known(secrets, f"meter {meter}")
        return secrets

    def only(self, meter: str, title: bytes) -> "FileKeys":
        """The secrets of that meter for whoever is asked for, under another title. Raises MeterKeyFault TQ-MK-06."""
        if meter not in self.by_meter:
            raise MeterKeyFault("TQ-MK-06", f"the key file has no meter {meter!r:.60}", "look at its [meters] tables")
        return FileKeys(title, self.by_meter[meter], {}, self.demo)


def load_meter_keys(path: Path | None, *, node: str, demo: bool, title: str | None = None) -> FileKeys:
    """The secrets in a file; without one there are none, and only meters without security can be read.

    `title` is our system title in hex; without one it is made from the `node`'s id. Raises `MeterKeyFault` TQ-MK-01 to
    04.
    """
    own = own_title(node, title)
    if path is None:
        return FileKeys(own, MeterSecrets(), {}, demo)
    try:
        read = _checked(_File, read_table(path))
    except MeterKeyFault as fault:
        raise MeterKeyFault(fault.code, f"{path}: {fault.what}", fault.hint) from None
    every_meter = read.secrets()
    if not demo:
        _refuse_well_known(every_meter, f"every meter in {path}")
    by_meter = {meter: table.secrets() for meter, table in read.meters.items()}
    return FileKeys(own, every_meter, by_meter, demo, _bytes(read.system_title))


def own_title(node: str, title: str | None) -> bytes:
    """A node's system title, 8 bytes: `title` in hex, or made from the node's id."""
    if title is not None:
        return bytes.fromhex(title)
    return _TITLE_HEAD + hashlib.blake2s(node.encode(), digest_size=5, person=b"tq-title").digest()


@dataclass(frozen=True, slots=True)
class RowFault:
    """What is wrong with the secrets of one meter; it quotes none."""

    meter: str
    code: str
    what: str
    hint: str

    def as_dict(self) -> dict[str, str]:
        """For JSON faces."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class KeyRows:
    """A key file row by row."""

    every_meter: MeterSecrets
    by_meter: dict[str, MeterSecrets]
    faults: tuple[RowFault, ...]
    """Of rows that are not among the others."""


def read_rows(path: Path, *, demo: bool) -> KeyRows:
    """Every meter of a key file, judged by itself, so that all mistakes are seen at once; pure but for the file.

    Raises `MeterKeyFault` TQ-MK-01 to 03 for the file as a whole.
    """
    table = read_table(path)
    meters = table.pop("meters", {})
    if not isinstance(meters, dict):
        raise MeterKeyFault("TQ-MK-03", f"{path}: meters is no table", 'each meter has a table: [meters."ID"]')
    faults: list[RowFault] = []
    every = _row("every meter", table, _File, demo, faults)
    rows = {meter: _row(meter, meters.pop(meter), _Secrets, demo, faults) for meter in tuple(meters)}  # dies in parts
    bad = {fault.meter for fault in faults}
    return KeyRows(every, {meter: row for meter, row in rows.items() if meter not in bad}, tuple(faults))


def _row(whose: str, row: object, model: type[_Secrets], demo: bool, faults: list[RowFault]) -> MeterSecrets:
    """The secrets of one row; none and one more fault where it is wrong."""
    try:
        if model is _Secrets:
            checked_id("meter", whose)
        secrets = _checked(model, row).secrets()
        if not demo:
            _refuse_well_known(secrets, "the meter" if model is _Secrets else "every meter")
    except Fault as fault:
        faults.append(RowFault(whose[:_NAME_LENGTH_MAX], fault.code, fault.what, fault.hint))
        return MeterSecrets()
    return secrets


def read_table(path: Path) -> dict[str, Any]:
    """The TOML in a private file; raises `MeterKeyFault` TQ-MK-01 to 03 and quotes nothing of it."""
    try:
        text = read_private(path, METER_KEYS_SIZE_BYTES_MAX).decode("utf-8")
    except PermissionError as error:
        raise MeterKeyFault(
            "TQ-MK-02",
            f"the meter key file {path} cannot be trusted: {error}",
            f"chmod 600 {path}; if strangers saw it, change the meters' keys",
        ) from error
    except UnicodeDecodeError:  # it holds the bytes
        raise MeterKeyFault("TQ-MK-03", f"{path} is no text", "save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise MeterKeyFault(
            "TQ-MK-01", f"the meter key file {path} cannot be read: {error}", "restore it from its safe"
        ) from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):  # tomllib's own words may quote the line, and with it a key
        raise MeterKeyFault("TQ-MK-03", f"{path} is not TOML", "texts need quotes, tables need [brackets]") from None


def _checked(model: type[_Model], row: object) -> _Model:
    try:
        return model.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the table"
        raise MeterKeyFault(
            "TQ-MK-03", f"{where}: {first['msg']}", "keys are 32 hex digits, titles 16, passwords any number"
        ) from None


def _known(secrets: MeterSecrets) -> list[str]:
    return [name for name, value in secrets.secrets().items() if is_well_known(value)]


def _refuse_well_known(secrets: MeterSecrets, whose: str) -> None:
    known = _known(secrets)
    if known:
        raise MeterKeyFault(
            WELL_KNOWN,
            f"{' and '.join(known)} of {whose} stand in manuals: everybody knows them",
            "nothing was sent: give the meter keys of its own; only a demo takes such keys",
        )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
