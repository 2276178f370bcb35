import asyncio
from enum import IntEnum, StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosting.compute import InlineCompute, ThreadCompute
from hosting.rowhash import RowHasher, RowHashFault

KEY = bytes(range(32))
fields = st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(), st.binary(), st.none())


class Kind(IntEnum):
    READ = 3


class Word(StrEnum):
    PAID = "paid"


@given(st.lists(fields, max_size=6), st.lists(fields, max_size=6))
def test_two_rows_share_a_digest_only_when_they_are_equal(
    one: list[int | str | bytes | None], two: list[int | str | bytes | None]
) -> None:
    hasher = RowHasher(KEY)
    assert (hasher.digest(*one) == hasher.digest(*two)) == (one == two)


@given(st.lists(st.lists(fields, max_size=4).map(tuple), max_size=5))
def test_a_batch_gives_what_single_rows_give(rows: list[tuple[int | str | bytes | None, ...]]) -> None:
    hasher = RowHasher(KEY, "reading")
    assert hasher.digest_rows(rows) == [hasher.digest(*row) for row in rows]


whole = st.integers(-(2**63) + 1, 2**63 - 1)


@given(st.lists(st.lists(whole | st.none(), max_size=4).map(tuple), max_size=5), st.lists(whole, max_size=2))
def test_packed_integers_differ_whenever_rows_do_and_the_head_is_part_of_the_row(
    rows: list[tuple[int | None, ...]], head: list[int]
) -> None:
    hasher = RowHasher(KEY, "reading")
    digests = hasher.digest_integers(rows, head)
    assert digests == hasher.digest_integers([(*head, *row) for row in rows])
    assert [digests.index(one) for one in digests] == [rows.index(one) for one in rows]
    assert not set(digests) & set(hasher.digest_rows([(*head, *row) for row in rows if row or head]))


def test_golden_bytes_of_packed_integers_hold_over_years() -> None:
    digests = RowHasher(KEY, "reading").digest_integers([(1763956800, 7, 250, 0, None)], (1, 1))
    assert digests[0].hex() == "1b9909b7255c95ed"


def test_golden_bytes_hold_over_years() -> None:
    digest = RowHasher(KEY, "reading").digest("up-1", 1763956800, None, b"\x00\xff", "Toshkent ʻ'")
    assert digest.hex() == "ef02c0b24eb37322"


def test_key_and_table_and_order_matter() -> None:
    base = RowHasher(KEY, "reading").digest(1, 2)
    assert len(base) == 8
    assert base != RowHasher(KEY[::-1], "reading").digest(1, 2)
    assert base != RowHasher(KEY, "payment").digest(1, 2)
    assert base != RowHasher(KEY, "reading").digest(2, 1)
    assert base != RowHasher(KEY, "reading").digest(12)


def test_enumerations_hash_as_the_database_gives_them_back() -> None:
    hasher = RowHasher(KEY)
    assert hasher.digest(Kind.READ, Word.PAID, True) == hasher.digest(3, "paid", 1)
    assert hasher.verify(hasher.digest(3, "<b>True"), 3, "<b>True")
    assert not hasher.verify(hasher.digest(3), 4)


def test_what_cannot_be_hashed_is_named() -> None:
    with pytest.raises(RowHashFault, match="TQ-RH-01"):
        RowHasher(b"short")
    with pytest.raises(RowHashFault, match="TQ-RH-02"):
        RowHasher(KEY, "a table of many letters")
    with pytest.raises(RowHashFault, match="TQ-RH-03"):
        RowHasher(KEY).digest(object())  # type: ignore[arg-type]


def test_compute_gives_results_and_errors_on_either_side() -> None:
    hasher = RowHasher(KEY)
    rows = [(index, "row") for index in range(100)]

    async def whole() -> None:
        pool = ThreadCompute(workers=2)
        try:
            for compute in (pool, InlineCompute()):
                assert await compute.run(hasher.digest_rows, rows) == hasher.digest_rows(rows)
                with pytest.raises(RowHashFault):
                    await compute.run(RowHasher, b"short")
            many = await asyncio.gather(*(pool.run(hasher.digest, index) for index in range(200)))
            assert many == [hasher.digest(index) for index in range(200)]
        finally:
            pool.close()

    asyncio.run(whole())
