"""A control database on a real file with its outbox, for tests of the lanes: opened, crashed and opened again."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge_node.store.batches import Outbox
from edge_node.store.chunks import SealedChunk
from edge_node.store.outbox import append_record
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from hosting.compute import InlineCompute
from hosting.database import Connection, Database, open_database
from hosting.migrations import load_migrations
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer
from protocols.sync.lanes import Lane, Record

NODE = NodeId("node-a")
SIGNER = Signer.from_seed(bytes(32), Domain.DEMO)
NOW = 1_790_000_000


@dataclass
class Chunks:
    """Chunk payloads in memory."""

    held: dict[str, bytes] = field(default_factory=dict)

    async def payload(self, day: str, chunk_id: str) -> bytes:
        if chunk_id not in self.held:
            raise Fault("TQ-SG-99", f"chunk {chunk_id} of {day} is gone", "a test took it")
        return self.held[chunk_id]

    async def put(self, chunk: SealedChunk) -> None:
        self.held[chunk.row.id] = chunk.payload

    async def drop(self, day: str, chunk_id: str) -> None:
        del self.held[chunk_id]


@asynccontextmanager
async def opened(folder: Path, chunks: Chunks | None = None) -> AsyncIterator[tuple[Database, Outbox]]:
    """The database as a process finds it; leaving the block is the process's end."""
    control = await open_database(
        folder / "control.db", "control", load_migrations("edge_node.store", "schema/control")
    )
    try:
        yield (
            control,
            Outbox(
                control,
                node=NODE,
                signer=SIGNER,
                compute=InlineCompute(),
                chunks=chunks if chunks is not None else Chunks(),
            ),
        )
    finally:
        await control.close()


async def put(control: Database, lane: Lane, *ids: str, body: Mapping[str, object] | None = None) -> None:
    async def verb(conn: Connection) -> None:
        for one in ids:
            await append_record(conn, lane, "ledger_entry", one, body or {"id": one}, NOW)

    await control.write(verb)


def ids(records: tuple[Record, ...]) -> list[str]:
    return [record.id for record in records]
