"""What latching relays keep through a power failure: every move of a fleet's relays. Floor: simulate; payment walk.

A fleet's registers follow from its seed and from these moves alone, so a fleet that is stopped and started again with
the same file goes on where it was: the homes that were dark stay dark. Reports judge the product by these moves, which
no product code has written.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from simulate.grid_registry import GridFault
from simulate.truth import GridTruth


@dataclass(frozen=True, slots=True)
class RelayMove:
    """A relay that changed its contact."""

    meter: str
    closed: bool
    at: int
    """UTC seconds."""


class RelayMemory:
    """The moves of one fleet; in `path` as JSON lines when one is given."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises GridFault TQ-SM-15 for a file that is no such list."""
        self.moves: list[RelayMove] = [] if path is None or not path.exists() else read_moves(path)
        self._file: TextIO | None = None if path is None else path.open("a", encoding="utf-8")

    def remember(self, move: RelayMove) -> None:
        """Keep one more move, at once in the file too."""
        self.moves.append(move)
        if self._file is not None:
            self._file.write(json.dumps(asdict(move)) + "\n")
            self._file.flush()

    def replay(self, truth: GridTruth) -> None:
        """Let a truth that has just begun live through every move. Raises TruthFault for a meter that is not in it."""
        for move in self.moves:
            truth.move_relay(move.meter, closed=move.closed, at=move.at)

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_moves(path: Path) -> list[RelayMove]:
    """The moves in a file, in their order. Raises GridFault TQ-SM-15."""
    hint = "give the file that the same fleet wrote"
    try:
        told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise GridFault("TQ-SM-15", f"{path} holds no relay moves: {error!s:.80}", hint) from error
    fields = {"meter": str, "closed": bool, "at": int}
    if not all(isinstance(one, dict) and {key: type(value) for key, value in one.items()} == fields for one in told):
        raise GridFault("TQ-SM-15", f"{path} holds relay moves of another kind", hint)
    return [RelayMove(**one) for one in told]
