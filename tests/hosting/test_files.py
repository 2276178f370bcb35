"""Files of others: what is no file, or no end of it, is refused at once."""

import os
from pathlib import Path

import pytest

from hosting.files import read_private, read_text


def test_a_text_is_read_whole_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes("қ\r\nb".encode())
    assert read_text(path, 5) == "қ\nb", "line ends of other machines are line ends"
    with pytest.raises(ValueError, match="longer than 4 bytes"):
        read_text(path, 4)
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(path, 5)


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises((ValueError, OSError)):
            read_text(path, 5)
        with pytest.raises((ValueError, OSError)):
            read_private(path, 5)
    with pytest.raises(ValueError, match="null"):
        read_text(Path("a\0b"), 5)
