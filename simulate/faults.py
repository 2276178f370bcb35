"""The dice of misfortune: named faults, each with its own stream of chance, counted. Floor: simulate; on all walks.

Random times rarely meet the instant that matters, so most faults are thrown *at events* (a commit, a send, a relay
command). Those that last (a cut line, a dead feed) begin at random times. A fault only makes trouble; whether the
product stood it is for the checkers to say, which know nothing of this page.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

from simulate.clock import stream
from simulate.scenario import AtEvent, InTime, Scenario

DAY_S = 86_400.0
HUB_FAULTS = frozenset({InTime.HUB_DOWN, InTime.HUB_PUT_BACK, InTime.FEED_DEAD, InTime.HUB_CLOCK})
"""These befall the centre, not each node."""


class Faults:
    """Throws the scenario's faults until `cease`; counts what struck and what was seen to happen."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self._seed = seed
        self._dice: dict[str, Random] = {}
        self._on = True
        self.struck: Counter[str] = Counter()
        """How often each fault befell something."""
        self.sometimes: Counter[str] = Counter()
        """Rare things that a campaign must have seen."""
        self.told: Callable[[str, str], None] = _untold
        """Told of (whom, what) when something lasting begins or ends."""

    @property
    def on(self) -> bool:
        """Whether anything still goes wrong."""
        return self._on

    def cease(self) -> None:
        """From now on nothing new goes wrong; what lasts ends as well (see `world`)."""
        self._on = False

    def strikes(self, event: AtEvent) -> bool:
        """Whether this fault strikes at this very event."""
        chance = self.scenario.at_event.get(event, 0.0)
        if not self._on or chance <= 0.0 or self._stream(event.value).random() >= chance:
            return False
        self.struck[event.value] += 1
        return True

    def happened(self, what: str, times: int = 1) -> None:
        """Count something rare."""
        self.sometimes[what] += times

    def between(self, name: str, low: float, high: float) -> float:
        """A float from the stream called `name`."""
        return self._stream(name).uniform(low, high)

    def pick(self, name: str, count: int) -> int:
        """A number below `count` from the stream called `name`."""
        return self._stream(name).randrange(count)

    async def befall(self, kind: InTime, whom: str, strike: Callable[[float], Awaitable[None]]) -> None:
        """Strike `whom` with `kind` again and again at random times, one at a time, until `cease`.

        `strike(seconds)` makes the fault last so long and returns when it is over.
        """
        spell = self.scenario.in_time.get(kind)
        if spell is None or spell.per_day <= 0:
            return
        name = f"{kind.value}/{whom}"
        while self._on:
            await asyncio.sleep(self._stream(name).expovariate(spell.per_day / DAY_S))
            if self.on:
                self.struck[kind.value] += 1
                seconds = min(self._stream(name).uniform(*spell.minutes) * 60, self.scenario.down_hours_max * 3600)
                self.told(whom, f"{kind.value} for {seconds:.0f} s")
                await strike(seconds)
                self.told(whom, f"{kind.value} is over")

    def _stream(self, name: str) -> Random:
        dice = self._dice.get(name)
        if dice is None:
            dice = self._dice[name] = stream(self._seed, f"fault/{name}")
        return dice


def _untold(_whom: str, _what: str) -> None:
    """Nobody listens yet."""
