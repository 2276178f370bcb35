"""The reference page's vectors are what the source makes: a stranger can trust them."""

import re
from pathlib import Path

from protocols.sync.link import REPLY_BYTES_MAX, REQUEST_BYTES_MAX
from protocols.sync.messages import BATCH_BYTES_MAX, CHUNK_BYTES_MAX, RECORD_PAYLOAD_BYTES_MAX, Lane
from tests.protocols.sync import samples

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "sync-v1.md").read_text("utf-8")


def told(name: str) -> bytes:
    found = re.search(rf"^{name} +((?:[0-9a-f]+\n? *)+)", PAGE, re.MULTILINE)
    assert found is not None, name
    return bytes.fromhex(re.sub(r"\s", "", found[1]))


def test_the_page_tells_the_vectors_of_the_source() -> None:
    batch = samples.batch(Lane.LEDGER)
    assert told("public key") == samples.SIGNER.public
    assert told("key id") == bytes.fromhex(samples.SIGNER.key_id)
    assert told("statement") == batch.header.canonical_bytes()
    assert told("hash of header") == batch.header.hash()
    assert told("signature") == batch.header.signature
    assert told("payload") == batch.payload


def test_the_page_tells_the_limits_of_the_source() -> None:
    limits = {*REQUEST_BYTES_MAX.values(), *REPLY_BYTES_MAX.values()}
    for number in (*limits, BATCH_BYTES_MAX, CHUNK_BYTES_MAX, RECORD_PAYLOAD_BYTES_MAX):
        assert f"{number:,} B" in PAGE, number
