"""What the hub said, made durable: where lanes stand, and what came down. Room: uplink; on the walk of link loss.

The same for a reply over the link (`hub_link`) and for a bundle that a courier brought (`bundles`).
"""

from collections.abc import Mapping, Sequence
from typing import assert_never

from edge_node.store.alarms import Alarms
from edge_node.store.batches import Outbox
from edge_node.store.downlink import Applied, Downlink
from edge_node.uplink.hub_word import HubWord
from edge_node.uplink.reconciliation import Reconciliation
from edge_node.wakeups import Wakeups
from gridmodel.clock import ClockTrust, UtilityClock
from gridmodel.event import AlarmKind
from hosting.log import logger
from protocols.sync.effects import Acknowledged, Effect, Forked, Held, HubChanged, HubRolledBack, NewEpoch
from protocols.sync.lanes import DownLane, Lane, LaneMark
from protocols.sync.pull import DownItem

REMEMBERED_BY_BRAKES = frozenset({Lane.CONTROL, Lane.LEDGER})
"""Lanes of movements and payments: a store that lacks some of them decides on less than it once knew."""

AHEAD_S_MAX = 24 * 3_600
"""A word of the hub from beyond a day ahead of a trusted clock is of a clock that is wrong."""


class Taking:
    """Takes in what the hub says; the rooms that need it are woken."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        downlink: Downlink,
        alarms: Alarms,
        reconciliation: Reconciliation,
        clock: UtilityClock,
        wakeups: Wakeups,
    ) -> None:
        self._outbox = outbox
        self._downlink = downlink
        self._alarms = alarms
        self._reconciliation = reconciliation
        self._clock = clock
        self._wakeups = wakeups
        self._maybe_held = set(Lane)
        """Lanes whose alarm may stand: at first nothing is known of any."""
        self._log = logger("uplink")

    async def persist(self, effects: Sequence[Effect], told_at: int) -> None:
        """Make each effect durable before the session is asked again; `told_at` is the hub's time of its word."""
        now = self._clock.now()
        told_at = self._dated(told_at, now)
        behind = {effect.lane for effect in effects if isinstance(effect, HubRolledBack)}
        for effect in effects:
            match effect:
                case Acknowledged():
                    await self._acknowledged(effect, told_at, now)
                case NewEpoch():
                    await self._outbox.new_epoch(effect.lane, effect.mark, told_at)
                    await self._alarms.clear(AlarmKind.LANE_FORKED, effect.lane.value, now)
                    self._log.info("new_epoch", lane=effect.lane.value, epoch=effect.mark.epoch)
                case Forked():
                    await self._alarms.put(AlarmKind.LANE_FORKED, effect.lane.value, effect.reason, now)
                    await self._reconciliation.moved(f"lane {effect.lane.value}: {effect.reason}", now)
                    if effect.lane in REMEMBERED_BY_BRAKES - behind and not effect.own_gap:
                        await self._reconciliation.went_back(f"lane {effect.lane.value}", now)
                case Held():
                    self._maybe_held.add(effect.lane)
                    await self._alarms.put(AlarmKind.LANE_HELD, effect.lane.value, effect.reason, now)
                case HubChanged():
                    await self._reconciliation.moved(f"hub {effect.after} answers, {effect.before} did before", now)
                case HubRolledBack():
                    what = f"lane {effect.lane.value}: the hub has {effect.have.seq}, {effect.acknowledged.seq} it had"
                    await self._reconciliation.rolled_back(what, now)
                    await self._outbox.reopen(effect.lane, effect.have)
                case _:
                    assert_never(effect)

    async def greeted(self, lanes: Mapping[Lane, LaneMark], told_at: int) -> None:
        """The hub said where all lanes stand: bundles made before that are older words, later ones go on from there."""
        at = self._dated(told_at, self._clock.now())
        await self._outbox.heard(at, HubWord(at, lanes).to_text())

    def _dated(self, told_at: int, now: int) -> int:
        """When the hub said it; a hub whose clock ran ahead once must not make every later bundle look old."""
        trusted = self._clock.trust() is ClockTrust.TRUSTED
        return min(told_at, now + AHEAD_S_MAX) if trusted else told_at

    async def items(self, items: Sequence[DownItem], now: int, *, gapless: bool = False) -> Applied:
        """Apply what came down, in one transaction with its offsets; see `Downlink.apply`."""
        result = await self._downlink.apply(items, now, gapless=gapless)
        if result.refused:
            self._log.warning("downlink_refused", count=result.refused)
            self._wakeups.outbox.set()
        if DownLane.REGISTRY in result.lanes:
            self._wakeups.hour.set()
        if result.lanes:
            self._wakeups.enforcement.set()
        return result

    async def begin_anew(self, lanes: frozenset[DownLane], now: int) -> None:
        """The hub numbers these lanes anew: start them over."""
        await self._reconciliation.moved(f"the hub numbers its lanes anew: {', '.join(sorted(lanes))}", now)
        await self._downlink.refetch(lanes)

    async def retry_refused(self, now: int) -> None:
        """Try again what could not be taken in."""
        if await self._downlink.retry_refused(now):
            self._wakeups.outbox.set()
            self._wakeups.hour.set()
            self._wakeups.enforcement.set()

    async def _acknowledged(self, effect: Acknowledged, told_at: int, now: int) -> None:
        await self._outbox.acknowledge(effect.lane, effect.mark, effect.outcome, effect.reason, now, told_at=told_at)
        if effect.lane in self._maybe_held:
            await self._alarms.clear(AlarmKind.LANE_HELD, effect.lane.value, now)
            self._maybe_held.discard(effect.lane)
        if effect.reason:
            self._log.warning("batch_set_aside", lane=effect.lane.value, reason=effect.reason)
