"""A fleet that lost power: its relays stand where they stood, and its registers go on."""

from pathlib import Path

import pytest

from protocols.profile import load_profiles
from simulate.grid import build_grid
from simulate.grid_registry import GridFault
from simulate.relay_memory import RelayMemory, RelayMove, read_moves
from simulate.truth import GridTruth
from tests.simulate.rigs import ORIGIN, spec

HOUR_S = 3600


def truth_of(memory: RelayMemory) -> GridTruth:
    truth = GridTruth(build_grid(spec(20)), load_profiles())
    memory.replay(truth)
    return truth


def relayed(truth: GridTruth) -> str:
    return next(meter for n, meter in enumerate(truth.grid.meters) if truth.images[truth.grid.profile_of(n)].plan.relay)


def test_dark_homes_stay_dark_and_their_registers_stand_still(tmp_path: Path) -> None:
    path = tmp_path / "relays"
    first = RelayMemory(path)
    truth = truth_of(first)
    meter = relayed(truth)
    truth.move_relay(meter, closed=False, at=ORIGIN + 3 * HOUR_S + 60)
    first.remember(RelayMove(meter, closed=False, at=ORIGIN + 3 * HOUR_S + 60))
    first.close()

    second = RelayMemory(path)
    again = truth_of(second)
    assert not again.connected(again.index(meter))
    later = ORIGIN + 30 * HOUR_S
    assert again.register_wh(meter, later) == truth.register_wh(meter, later)
    assert again.register_wh(meter, later) == again.register_wh(meter, ORIGIN + 5 * HOUR_S)
    second.remember(RelayMove(meter, closed=True, at=later))
    second.close()
    assert [move.closed for move in read_moves(path)] == [False, True]


@pytest.mark.parametrize("text", ["no json", '{"meter": 1, "closed": true, "at": 2}', '{"meter": "m"}', "[]"])
def test_a_file_of_something_else_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "relays").write_text(text)
    with pytest.raises(GridFault, match="TQ-SM-15"):
        RelayMemory(tmp_path / "relays")
