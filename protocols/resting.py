"""Who is left alone for a while: silent units behind one ``host:port``, and the address. Floor: protocols; reading.

A unit that stays silent three times rests and costs its neighbours nothing but one probe a minute; an address that does
not accept connections rests for a growing, jittered while. All of it is utility time: a rehearsal at speed must see it
end. The faults are the driver's own, so that their codes name the protocol.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from gridmodel.clock import Rng, UtilityClock

K = TypeVar("K", bound=Hashable)

SILENCES_BEFORE_SUSPENSION = 3
"""One lost answer is weather, two are bad luck, three in a row are a dead unit."""
SUSPENSION_S = 60
"""A suspended unit is probed once a minute."""
BACKOFF_S_MIN = 1.0
"""After the first refused connection."""
BACKOFF_S_MAX = 60.0
"""A gateway that comes back is found within a minute."""
BACKOFF_JITTER = 0.25
"""Gateways of one street that lost power together are not tried again together."""


class _Health:
    __slots__ = ("rest_until", "silences")

    def __init__(self) -> None:
        self.silences = 0
        self.rest_until = 0


class Resting(Generic[K]):
    """The rests of one address and of the units (`K`) behind it."""

    def __init__(self, clock: UtilityClock, rng: Rng) -> None:
        self._clock = clock
        self._rng = rng
        self._units: dict[K, _Health] = {}
        self._refusals = 0
        self._retry_at = 0

    @property
    def idle(self) -> bool:
        """Nothing is known against anybody: the common case of a call."""
        return not self._units and not self._retry_at

    def suspended(self, unit: K) -> bool:
        """Whether the unit is left alone at this moment."""
        health = self._units.get(unit)
        return health is not None and self._left_s(health.rest_until, SUSPENSION_S) > 0

    def rests(self, unit: K) -> bool:
        """Whether the unit, or the address as a whole, is left alone at this moment."""
        return self.suspended(unit) or self.address_left_s() > 0

    def address_left_s(self) -> int:
        """For how many seconds more the address is left alone; 0: not at all."""
        return self._left_s(self._retry_at, BACKOFF_S_MAX * (1 + BACKOFF_JITTER))

    def probe_left_s(self, unit: K) -> int:
        """For how many seconds more it is left alone; with 0 the caller asks it, which is a silent unit's probe."""
        health = self._units.get(unit)
        if health is None or health.silences < SILENCES_BEFORE_SUSPENSION:
            return 0
        left_s = self._left_s(health.rest_until, SUSPENSION_S)
        if left_s == 0:
            health.rest_until = self._clock.now() + SUSPENSION_S
        return left_s

    def answered(self, unit: K) -> None:
        """The unit is well."""
        self._units.pop(unit, None)

    def silent(self, unit: K) -> None:
        """The unit gave no answer that can be believed."""
        health = self._units.setdefault(unit, _Health())
        health.silences += 1
        if health.silences >= SILENCES_BEFORE_SUSPENSION:
            health.rest_until = self._clock.now() + SUSPENSION_S

    def accepted(self) -> None:
        """The address took a connection."""
        self._refusals = self._retry_at = 0

    def refused(self) -> None:
        """The address took no connection."""
        growth = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2.0 ** min(self._refusals, 10))
        wait_s = growth * self._rng.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER)
        self._refusals += 1
        self._retry_at = self._clock.now() + max(1, round(wait_s))

    def _left_s(self, until: int, at_most_s: float) -> int:
        """Utility seconds until `until`; 0 when the clock was set back and the wait would exceed its own limit."""
        left_s = until - self._clock.now()
        return left_s if 0 < left_s <= at_most_s + 1 else 0
