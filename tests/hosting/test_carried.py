"""Files on drives: whole or not there, ordinary or refused."""

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hosting.carried import CarriedFault, Draft, carried, drafted, open_carried
from hosting.compute import InlineCompute

COMPUTE = InlineCompute()


@contextmanager
def small_files(bytes_max: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes, as on a drive that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_draft_appears_whole_in_a_folder_or_under_its_name(tmp_path: Path) -> None:
    async def story(place: Path) -> Path:
        async with drafted(COMPUTE, place, "name") as draft:
            draft.file.write(b"whole")
            assert not draft.path.exists()
        return draft.path

    assert asyncio.run(story(tmp_path)) == tmp_path / "name"
    assert asyncio.run(story(tmp_path / "other")).read_bytes() == b"whole"
    with pytest.raises(CarriedFault, match="TQ-BN-12"):
        asyncio.run(story(tmp_path))


def test_a_full_drive_is_named_and_left_as_it_was(tmp_path: Path) -> None:
    async def story() -> None:
        async with drafted(COMPUTE, tmp_path, "name") as draft:
            for _ in range(100):
                draft.file.write(bytes(1_000))

    with small_files(50_000), pytest.raises(CarriedFault, match="TQ-BN-11") as caught:
        asyncio.run(story())
    assert "full" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_fails_or_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    async def story(error: BaseException) -> None:
        async with drafted(COMPUTE, tmp_path, "name") as draft:
            draft.file.write(b"half")
            raise error

    for error in (ValueError("a test"), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            asyncio.run(story(error))
    assert list(tmp_path.iterdir()) == []
    draft = Draft(tmp_path, "name")
    draft.discard()
    draft.discard()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(CarriedFault, match="TQ-BN-11"):
        Draft(tmp_path / "nowhere" / "name", "unused")


def test_only_ordinary_files_are_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, tmp_path / "nowhere", Path("/dev/zero"), Path("a\0b")):
        with pytest.raises(CarriedFault, match="TQ-BN-10"):
            open_carried(path)


def test_a_drive_that_fails_while_it_is_read_is_named(tmp_path: Path) -> None:
    async def story() -> None:
        async with carried(COMPUTE, tmp_path / "file") as source:
            assert source.read() == b"x"
            raise OSError(5, "Input/output error")

    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(CarriedFault, match="TQ-BN-10"):
        asyncio.run(story())


def test_a_hostile_drive_leads_no_draft_to_another_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    (tmp_path / f".name.{os.getpid()}.partial").symlink_to(mine)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    async def story(place: Path) -> None:
        async with drafted(COMPUTE, place, "name") as draft:
            draft.file.write(b"whole")

    asyncio.run(story(tmp_path))
    assert (tmp_path / "name").read_bytes() == b"whole"
    assert mine.read_bytes() == b"mine"
    with pytest.raises(CarriedFault, match="TQ-BN-12"):
        asyncio.run(story(tmp_path / "dangling"))
    assert not (tmp_path / "nowhere").exists()


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    async def story() -> None:
        async with drafted(COMPUTE, tmp_path, "name") as draft:
            draft.file.write(b"whole")
            draft.path.write_bytes(b"theirs")

    with pytest.raises(CarriedFault, match="TQ-BN-12"):
        asyncio.run(story())
    assert (tmp_path / "name").read_bytes() == b"theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


@pytest.mark.parametrize("name", ["a\0b", "n" * 300, "file/name", "loop/name"])
def test_a_name_that_can_be_none_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CarriedFault, match="TQ-BN-11"):
        Draft(tmp_path / name, "unused")
