"""Whole bundles kept as files: they open for a stranger who has the page alone, and for every later program."""

import asyncio
from hashlib import blake2s, sha256
from pathlib import Path

import msgpack  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.edge_node.uplink.courier_bench import Courier, courier
from tests.edge_node.uplink.test_bundles import at_bank

GOLDEN = Path(__file__).parents[2] / "golden"
UP, DOWN = GOLDEN / "bundle_up_v1.bin", GOLDEN / "bundle_down_v1.bin"
THIRTEEN_MONTHS_S = 396 * 86_400


async def written(carrier: Courier) -> tuple[bytes, bytes]:
    """A bundle up with a payment, and one down with another."""
    await carrier.desk.take(1)
    await carrier.hub.import_ledger(at_bank(1), "bank")
    up, down = await carrier.up(), await carrier.down()
    return await asyncio.to_thread(up.read_bytes), await asyncio.to_thread(down.read_bytes)


def test_the_source_writes_them_byte_for_byte(tmp_path: Path) -> None:
    async def story() -> tuple[bytes, bytes]:
        async with courier(tmp_path) as carrier:
            return await written(carrier)

    assert asyncio.run(story()) == (UP.read_bytes(), DOWN.read_bytes())


def test_they_are_taken_in_thirteen_months_later(tmp_path: Path) -> None:
    async def story() -> None:
        async with courier(tmp_path) as carrier:
            carrier.clock.at += THIRTEEN_MONTHS_S
            assert (await carrier.give(UP))[0]["batches"] == {"applied": 1}
            assert await carrier.hub.store.read(lambda tx: tx.ledger_entries(["pay-node-a-1"]))
            assert (await carrier.bring(DOWN))["items"] == 1
            assert await carrier.desk.payments_known() == {"bank-1"}

    asyncio.run(story())


@pytest.mark.parametrize(
    ("path", "opening", "signing", "kinds"), [(UP, b"h", b"a", [1, 2, 3, 0]), (DOWN, b"n", b"H", [4, 5, 0])]
)
def test_a_stranger_reads_them_by_the_page_alone(path: Path, opening: bytes, signing: bytes, kinds: list[int]) -> None:
    hpke = pytest.importorskip("cryptography.hazmat.primitives.hpke")
    data = path.read_bytes()
    assert data[:9] == b"TQBUNDLE\x01"
    length = int.from_bytes(data[9:11], "little")
    packed = data[11 : 11 + length]
    head = msgpack.unpackb(packed)
    private = X25519PrivateKey.from_private_bytes(opening * 32)
    public = private.public_key().public_bytes_raw()
    assert head["for_key"] == blake2s(public, digest_size=8, person=b"tq-recov").hexdigest()
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    info = b"".join(len(one).to_bytes(2, "big") + one for one in (b"tarmoq bundle key 1", head["bundle"].encode()))
    key = AESGCM(suite.decrypt(head["wrapped"], private, info=info))
    at, found = 11 + length, list[bytes]()
    while size := int.from_bytes(data[at : at + 4], "little"):
        sealed = data[at + 4 : at + 4 + size]
        owner = b"tarmoq-bundle/1\0" + sha256(packed).digest() + len(found).to_bytes(8, "big")
        found.append(key.decrypt(sealed[:12], sealed[12:], owner))
        at += 4 + size
    assert [plain[0] for plain in found] == kinds
    assert msgpack.unpackb(found[-1][1:]) == {"whole": True}
    digest = sha256(data[: at + 4]).digest()
    signer = Ed25519PrivateKey.from_private_bytes(signing * 32).public_key()
    signer.verify(data[at + 4 :], b"tarmoq-sign/1\0demo\0" + statement(head, digest))
    assert head["key_id"] == sha256(signer.public_bytes_raw()).digest()[:8].hex()


def statement(head: dict[str, str], digest: bytes) -> bytes:
    """The canonical bytes of section 3, written by hand."""

    def sized(tag: bytes, value: bytes) -> bytes:
        return tag + len(value).to_bytes(4, "big") + value

    fields = {
        "bundle": sized(b"s", head["bundle"].encode()),
        "digest": sized(b"b", digest),
        "direction": sized(b"s", head["direction"].encode()),
        "node": sized(b"s", head["node"].encode()),
    }
    whole = sized(b"s", b"sync.bundle") + b"m" + len(fields).to_bytes(4, "big")
    return whole + b"".join(sized(b"s", name.encode()) + value for name, value in fields.items())
