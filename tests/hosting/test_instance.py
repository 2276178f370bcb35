import subprocess
import sys
from pathlib import Path

import pytest

from hosting.instance import FreeSpaceGuard, InstanceFault, InstanceLock, free_bytes_of, make_data_folder

HOLDER = """
import pathlib, sys
from hosting.instance import InstanceLock
with InstanceLock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_holds_a_folder_and_is_named(tmp_path: Path) -> None:
    with subprocess.Popen(  # noqa: S603 — our own interpreter
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InstanceFault, match=f"TQ-IN-01: process {holder.pid} "):
            InstanceLock(tmp_path).acquire()
        holder.kill()
        holder.wait()
    with InstanceLock(tmp_path):
        pass
    with InstanceLock(tmp_path):
        pass


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstanceFault, match="TQ-IN-02"):
        InstanceLock(tmp_path / "none").acquire()


def test_a_disk_nearly_full_is_named_before_it_is_full(tmp_path: Path) -> None:
    assert free_bytes_of(tmp_path) > 0
    guard = FreeSpaceGuard(tmp_path, 1000, measure=lambda _: 999)
    assert guard.is_short()
    with pytest.raises(InstanceFault, match="TQ-IN-03"):
        guard.check()
    assert FreeSpaceGuard(tmp_path, 1000, measure=lambda _: 1000).check() == 1000


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    make_data_folder(tmp_path / "a" / "b")
    make_data_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none/below")):
        with pytest.raises(InstanceFault, match="TQ-IN-02"):
            make_data_folder(wrong)
