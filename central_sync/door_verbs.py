"""The verbs of the hub's local door: what a command line asks of the running process. Above the rooms; payment walk.

A verb takes and gives a JSON object. Large files are named by their path, which the hub's own machine reads: the door
is for the user who owns the process. Mistakes of an import are written beside the file, nothing is half-applied.

Codes: TQ-HB-61 an argument that does not fit, -62 a file that cannot be read.
"""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from central_sync.balance.audit import AuditReport
from central_sync.billing.imports import ImportReport
from central_sync.billing.registries import RegistryReport
from central_sync.billing.registry_file import REGISTRY_BYTES_MAX
from central_sync.billing.tables import FILE_BYTES_MAX, mistakes_csv
from gridmodel.fault import Fault
from gridmodel.identity import NodeId, checked_id
from gridmodel.period import parse_day, parse_rfc3339

Verb = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
MISTAKES_SUFFIX = ".mistakes.csv"


class Office(Protocol):
    """What the verbs need of a hub."""

    async def status(self) -> dict[str, Any]:
        """See Hub."""
        ...

    async def import_ledger(
        self, data: bytes, channel: str, *, complete_up_to: int | None, dry_run: bool, skip_bad: bool
    ) -> ImportReport:
        """See Hub."""
        ...

    async def import_records(self, kind: str, data: bytes, *, dry_run: bool, skip_bad: bool) -> ImportReport:
        """See Hub."""
        ...

    async def import_registry(self, read: bytes, *, dry_run: bool) -> RegistryReport:
        """See Hub."""
        ...

    async def publish_mandate(self, document: bytes) -> dict[str, Any]:
        """See Hub."""
        ...

    async def write_bundle(self, node: NodeId, place: Path, *, whole: bool) -> dict[str, Any]:
        """See Hub."""
        ...

    async def apply_bundle(self, path: Path, answer: Path) -> dict[str, Any]:
        """See Hub."""
        ...

    async def verify(self, since_day: str) -> AuditReport:
        """See Hub."""
        ...

    async def verify_node(self, node: str, first: str, last: str, *, repair: bool, wait_s: int) -> dict[str, Any]:
        """See Hub."""
        ...


def door_verbs(hub: Office) -> Mapping[str, Verb]:
    """All by name: status, the imports, mandate-publish, bundles, verify and verify-node."""

    async def status(_: dict[str, Any]) -> dict[str, Any]:
        return await hub.status()

    async def import_ledger(body: dict[str, Any]) -> dict[str, Any]:
        until = _text(body, "complete_up_to", "")
        report = await hub.import_ledger(
            await _data(body),
            _text(body, "channel"),
            complete_up_to=parse_rfc3339(until) if until else None,
            dry_run=_flag(body, "dry_run"),
            skip_bad=_flag(body, "skip_bad"),
        )
        return _reported(body, report)

    async def import_records(body: dict[str, Any]) -> dict[str, Any]:
        report = await hub.import_records(
            _text(body, "kind"), await _data(body), dry_run=_flag(body, "dry_run"), skip_bad=_flag(body, "skip_bad")
        )
        return _reported(body, report)

    async def import_registry(body: dict[str, Any]) -> dict[str, Any]:
        return asdict(await hub.import_registry(await _data(body, REGISTRY_BYTES_MAX), dry_run=_flag(body, "dry_run")))

    async def mandate_publish(body: dict[str, Any]) -> dict[str, Any]:
        return await hub.publish_mandate(_text(body, "document").encode("utf-8"))

    async def verify(body: dict[str, Any]) -> dict[str, Any]:
        since = _text(body, "since", "")
        return asdict(await hub.verify(since and parse_day(since).isoformat()))

    async def bundle_write(body: dict[str, Any]) -> dict[str, Any]:
        return await write_bundle(hub, body)

    async def bundle_apply(body: dict[str, Any]) -> dict[str, Any]:
        return await apply_bundle(hub, body)

    async def verify_node(body: dict[str, Any]) -> dict[str, Any]:
        wait_s = body.get("wait_s", 0)
        return await hub.verify_node(
            checked_id("node", _text(body, "node")),
            _text(body, "from"),
            _text(body, "to"),
            repair=_flag(body, "repair"),
            wait_s=wait_s if type(wait_s) is int else -1,
        )

    return {
        "bundle-apply": bundle_apply,
        "bundle-write": bundle_write,
        "status": status,
        "import-ledger": import_ledger,
        "import-records": import_records,
        "import-registry": import_registry,
        "mandate-publish": mandate_publish,
        "verify": verify,
        "verify-node": verify_node,
    }


async def write_bundle(hub: Office, body: Mapping[str, Any]) -> dict[str, Any]:
    """A bundle for `node` at `path`: a file that is not there yet, or a folder."""
    node = NodeId(checked_id("node", _text(body, "node")))
    return await hub.write_bundle(node, _path(body, "path"), whole=_flag(body, "whole"))


async def apply_bundle(hub: Office, body: Mapping[str, Any]) -> dict[str, Any]:
    """Take in the bundle at `path`, and write the answer at `answer`."""
    return await hub.apply_bundle(_path(body, "path"), _path(body, "answer"))


def _path(body: Mapping[str, Any], name: str) -> Path:
    path = Path(_text(body, name))
    if not path.is_absolute():
        raise _fault(f"{name} is not a whole path")
    return path


def _reported(body: Mapping[str, Any], report: ImportReport) -> dict[str, Any]:
    """The report; every mistake goes into a file beside the imported one."""
    told = dict(report.as_dict())
    path = _text(body, "path", "")
    if path and report.mistakes:
        beside = Path(path + MISTAKES_SUFFIX)
        try:
            beside.write_text(mistakes_csv(report.mistakes), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            told["mistakes_file_error"] = f"{beside} cannot be written: {error.strerror}"
        else:
            told["mistakes_file"] = str(beside)
    return told


async def _data(body: Mapping[str, Any], bytes_max: int = FILE_BYTES_MAX) -> bytes:
    """The file: `text` as it is, or what stands at `path`, read off the event loop."""
    text, path = _text(body, "text", ""), _text(body, "path", "")
    if bool(text) == bool(path):
        raise _fault("give either a text or a path")
    if text:
        return text.encode("utf-8")
    file = Path(path)
    if not file.is_absolute():
        raise _fault("the path is not absolute")
    try:
        return await asyncio.get_running_loop().run_in_executor(None, _read, file, bytes_max)
    except OSError as error:
        raise Fault(
            "TQ-HB-62", f"the hub cannot read {file}: {error.strerror}", "it reads as the user who runs it"
        ) from error


def _read(file: Path, bytes_max: int) -> bytes:
    """A regular file: nothing that blocks or never ends, nor, as ``<(zcat …)`` does, names a descriptor of ours."""
    opened = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(opened, "rb") as source:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode) or file.parts[1] in {"dev", "proc"}:
            raise Fault("TQ-HB-62", f"{file} is no ordinary file", "write it to a file and name that")
        if status.st_size > bytes_max:
            raise Fault("TQ-HB-62", f"{file} is larger than {bytes_max} bytes", "split it")
        return source.read(bytes_max)


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise _fault(f"{name} is no text")
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise _fault(f"{name} is neither true nor false")
    return value


def _fault(what: str) -> Fault:
    return Fault("TQ-HB-61", f"an argument does not fit: {what}", "use the commands of central-sync")
