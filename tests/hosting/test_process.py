import asyncio
import gc
import os
import resource
import signal
import subprocess
import sys
import weakref

import pytest

from gridmodel.fault import Fault
from hosting.process import (
    TURN_S,
    Exit,
    FilesFault,
    leave_alone_what_lives,
    make_room_for_files,
    run_process,
    take_short_turns,
    walk_at_rest,
)

CHILD = """
import asyncio
from hosting.process import Exit, run_process
async def main(stop):
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.Event().wait() if {stubborn} else None
    return Exit.PARTLY
raise SystemExit(run_process(main))
"""


def test_a_fault_is_told_in_three_parts(capsys: pytest.CaptureFixture[str]) -> None:
    async def main(_: asyncio.Event) -> int:
        raise Fault("TQ-XX-01", "the key file is gone", "restore it")

    assert run_process(main) == Exit.FAILED
    assert capsys.readouterr().err == "TQ-XX-01: the key file is gone\n  restore it\n"


def test_a_mistake_of_ours_is_not_hidden() -> None:
    async def main(_: asyncio.Event) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_process(main)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stubborn", [False, True])
def test_the_first_signal_asks_and_the_second_insists(number: signal.Signals, stubborn: bool) -> None:
    with subprocess.Popen(  # noqa: S603 — our own interpreter
        [sys.executable, "-c", CHILD.format(stubborn=stubborn)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert child.stdout.readline() == "stopping\n"
        if stubborn:
            child.send_signal(number)
        code = child.wait(timeout=20)
    if not stubborn:
        assert code == Exit.PARTLY
    else:
        assert code in {-signal.SIGTERM, -signal.SIGINT, Exit.FAILED}


def test_the_limit_of_open_files_is_raised_as_far_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    make_room_for_files(1_000)
    assert given == []
    make_room_for_files(4_000)
    assert given == [(4_000, 4_096)]
    with pytest.raises(FilesFault, match="TQ-IN-04"):
        make_room_for_files(5_000)


class Circle:
    """What only the garbage collector can free."""

    itself: "Circle"


def test_what_lives_is_left_alone_and_circles_still_die() -> None:
    before = gc.get_threshold()
    try:
        leave_alone_what_lives()
        assert gc.get_freeze_count() > 0
        circle = Circle()
        circle.itself = circle
        held = weakref.ref(circle)
        del circle
        assert held() is not None
        walk_at_rest()
        assert held() is None
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def test_threads_hand_the_interpreter_back_soon() -> None:
    before = sys.getswitchinterval()
    try:
        take_short_turns()
        assert sys.getswitchinterval() == pytest.approx(TURN_S, rel=0.01)
    finally:
        sys.setswitchinterval(before)
