"""Secrets of meters out of one file that only its owner reads. Above the rooms; on the reading and payment walks.

TOML with hex values. At the top stand secrets for every meter without a table of its own (a test bench, a demo), and
the system title of a probe; ``[meters."ID"]`` holds the secrets of one meter. The file is read once, at the start. Keys
that everybody knows are refused outside a demo: at the top of the file at once, of one meter when that meter is asked
for, so that one badly delivered meter does not keep the others from being read. A node's own title stands in its
configuration, not here: two programs with one title and one key would use one invocation counter twice.

Codes: TQ-MK-01 missing or unreadable, 02 others may read it, 03 not such a file, 04 a well-known key, 05 in use, 06 no
such meter.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gridmodel.absence import Absence
from gridmodel.identity import MeterId
from hosting.files import read_private
from protocols.dlms.counters import COUNTER_MAX
from protocols.dlms.keys import MeterSecrets, is_well_known
from protocols.errors import Blame, Hope, ProtocolFault

METER_KEYS_SIZE_BYTES_MAX = 64 * 1024 * 1024
"""A quarter of a million meters with all their secrets; more is the wrong file."""
WELL_KNOWN = "TQ-MK-04"
"""Code of the fault for a key that everybody knows."""
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

    def refused(self) -> list[str]:
        """Meters whose keys everybody knows, and which are not read for that; empty in a demo."""
        if self.demo:
            return []
        return sorted(meter for meter, secrets in self.by_meter.items() if _known(secrets))

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
    own = (
        bytes.fromhex(title)
        if title
        else _TITLE_HEAD + hashlib.blake2s(node.encode(), digest_size=5, person=b"tq-title").digest()
    )
    if path is None:
        return FileKeys(own, MeterSecrets(), {}, demo)
    read = _read(path)
    every_meter = read.secrets()
    if not demo:
        _refuse_well_known(every_meter, f"every meter in {path}")
    by_meter = {meter: table.secrets() for meter, table in read.meters.items()}
    return FileKeys(own, every_meter, by_meter, demo, _bytes(read.system_title))


def _read(path: Path) -> _File:
    try:
        text = read_private(path, METER_KEYS_SIZE_BYTES_MAX).decode("utf-8")
    except PermissionError as error:
        raise MeterKeyFault(
            "TQ-MK-02",
            f"the meter key file {path} cannot be trusted: {error}",
            f"chmod 600 {path}; if strangers saw it, change the meters' keys",
        ) from error
    except UnicodeDecodeError as error:
        raise MeterKeyFault("TQ-MK-03", f"{path} is no text", "save it as UTF-8") from error
    except (OSError, ValueError) as error:
        raise MeterKeyFault(
            "TQ-MK-01", f"the meter key file {path} cannot be read: {error}", "restore it from its safe"
        ) from error
    try:
        return _File.model_validate(tomllib.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise MeterKeyFault(
            "TQ-MK-03", f"{path}: {where}: {first['msg']}", "keys are 32 hex digits, titles 16, passwords any number"
        ) from None
    except ValueError:  # tomllib's own words may quote the line, and with it a key
        raise MeterKeyFault("TQ-MK-03", f"{path} is not TOML", "texts need quotes, tables need [brackets]") from None


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
