"""How much a concentrator is asked at once, learned from how it answers. Floor: protocols; walk: reading.

Theory of operation. Additive increase, multiplicative decrease, as TCP does it, between one and a named limit; but a
power line loses one answer in seven on a bad evening without being overloaded, so a single loss says nothing. Exchanges
are counted in epochs. At an epoch's end the width

* halves when more of it was lost than weather explains: a queue that overflows, a concentrator that drowns;
* shrinks by a quarter when answers took far longer than in the quietest epoch known: they wait in its queue by then,
  and more at once only makes the queue longer;
* grows by one when neither is so and all of it was in use: width that nobody uses proves nothing.

Times are compared by their logarithms, since a few answers of a minute would swamp a mean. What is quiet is looked at
anew from time to time at half the width: networks grow and seasons change, and whoever only ever saw a queue would take
it for quiet. Pure: no clock is looked at, times come in.
"""

import math

EPOCH_EXCHANGES = 40
"""Long enough that 15 % of evening loss is taken for a flood once in a hundred epochs; some ten sessions."""
LOSS_SHARE_MAX = 0.30
"""More than twice the evening's loss is no weather."""
SLOWER_MAX = 2.5
"""Answers that take so many times the quietest epoch's time wait in a queue; chance alone comes to half of that."""
EPOCHS_PER_LOOK = 50
"""How often quiet is looked at anew: some hundreds of sessions, half an hour of a full concentrator."""
WIDTH_AT_FIRST = 4
"""Begin gently: after a power cut all concentrators of a district are met at once."""


class Pace:
    """The width of one concentrator; of a bus that never has more than one, it is one."""

    def __init__(self, width_max: int) -> None:
        """`width_max`: the most that it will ever be, 1 and more."""
        self.width_max = width_max
        self.width = min(WIDTH_AT_FIRST, width_max)
        """How many calls may be under way now."""
        self._answered = self._lost = 0
        self._logs = 0.0
        self._quietest = self._quietest_before = math.inf
        """Since the last look, and between that and the one before it."""
        self._epochs = 0
        self._filled = False

    def filled(self) -> None:
        """As many calls are under way as may be: more width might be used, too."""
        self._filled = True

    def answered(self, seconds: float) -> None:
        """An exchange was answered after so long (I/O seconds)."""
        if self.width_max == 1:
            return
        self._answered += 1
        self._logs += math.log(max(seconds, 1e-4))
        self._end_epoch()

    def lost(self) -> None:
        """An exchange was not answered within its timeout."""
        if self.width_max == 1:
            return
        self._lost += 1
        self._end_epoch()

    def refused(self, at_once: int) -> None:
        """It took no further connection while so many calls, this one counted, were under way."""
        self.width = max(1, min(self.width, at_once - 1))

    def _end_epoch(self) -> None:
        count = self._answered + self._lost
        if count < EPOCH_EXCHANGES:
            return
        usual = self._logs / self._answered if self._answered else math.inf
        self._quietest = min(self._quietest, usual)
        if self._lost > count * LOSS_SHARE_MAX:
            self.width = max(1, self.width // 2)
        elif usual > min(self._quietest, self._quietest_before) + math.log(SLOWER_MAX):
            self.width = max(1, self.width * 3 // 4)
        elif self._filled:
            self.width = min(self.width_max, self.width + 1)
        self._epochs += 1
        if self._epochs % EPOCHS_PER_LOOK == 0:
            self._quietest_before, self._quietest = self._quietest, math.inf
            self.width = max(1, self.width // 2)
        self._answered = self._lost = 0
        self._logs = 0.0
        self._filled = False
