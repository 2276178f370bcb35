"""Who is dark and should not be, and what has stopped to move: looked at every few virtual minutes. Floor: simulate.

On the payment walk. Liveness is a law like the others: a node that hangs politely violates nothing else. A duty runs
only while it could be done (process up, meter answering, line and hub clean), and its clock starts anew whenever that
ends. Time is the world's: a node whose wall is wrong may refuse to stamp a reading, and asks its meters all the same.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from gridmodel.period import HOUR_S
from simulate.judges.debts import SAFETY_LOCK, standing_kinds
from simulate.judges.permits import CONTRADICTED_S
from simulate.judges.sight import NodeSight, Verdicts

RESTORE_S_MAX = 15 * 60
"""The policy's target from knowable payment or protection to supply, where the meter answers."""
LOOK_S = 300
"""How often the world looks: a duty may be found broken that much late, and is allowed that much more."""
POLL_S_MAX = 45 * 60
"""A running node has asked meters, and booked what they said, within so long: two intervals, their spread and grace."""
TALK_S_MAX = 75 * 60
"""On a clean line a whole exchange comes about within so long: the longest patience of one exchange, and a back-off."""
METER_S_MAX = 5_400
"""A meter that answers is read within so long: the interval's end may be an interval old, and one call may hang."""
LOOKS_PER_METERS = 6
"""Meters are looked at every half hour: it reads a few hundred rows."""
DOUBT_KNOWN = "SELECT count(*) FROM node_state WHERE key = 'clock_doubted'"
ANCHOR_KNOWN = "SELECT value FROM node_state WHERE key = 'clock_anchor'"
DRAIN_S_MAX = 3 * HOUR_S
"""On a clean line nothing sealed or waiting is older than this: a day's backlog drains in minutes."""


@dataclass(slots=True)
class _Heard:
    asked_s: float = 0.0
    """When any meter was last asked."""
    asked: dict[str, float] = field(default_factory=dict)
    """The same by meter."""
    known_s: float | None = None
    """When a registry was first seen here."""
    unsure_s: float = 0.0
    """When it was last seen in a doubt of its clock that it had a right to."""


@dataclass(slots=True)
class SupplyChecker:
    """Duties that run in time; `look` is called every LOOK_S."""

    sights: dict[str, NodeSight]
    verdicts: Verdicts
    time_s: Callable[[], float]
    """Virtual seconds."""
    _heard: dict[str, _Heard] = field(default_factory=dict)
    _dark_since: dict[tuple[str, int], float] = field(default_factory=dict)
    _looks: int = 0

    def polled(self, node: str) -> None:
        """A poll round was committed."""
        self.sights[node].polled_s = self.time_s()

    def asked(self, node: str, meter: str) -> None:
        """The node asks `meter` for its registers."""
        heard = self._heard.setdefault(node, _Heard())
        heard.asked_s = heard.asked[meter] = self.time_s()

    def answered(self, node: str) -> None:
        """A whole reply of the hub reached the node."""
        self.sights[node].answered_s = self.time_s()

    def look(self) -> None:
        """Every duty of every node."""
        self._looks += 1
        for node in sorted(self.sights):
            sight = self.sights[node]
            self._wrongly_dark(sight)
            self._alive(sight)
            if self._looks % LOOKS_PER_METERS == 0:
                self._meters_read(sight)

    def _wrongly_dark(self, sight: NodeSight) -> None:
        now_s, now = self.time_s(), self.verdicts.now()
        up_since = sight.up_since()
        ill, dark = sight.ill(), sight.truth.dark()
        for key in [key for key in self._dark_since if key[0] == sight.node and key[1] not in dark]:
            del self._dark_since[key]
        for meter, index in sight.homes() if dark else ():
            if index not in dark:
                continue
            key = (sight.node, index)
            point = sight.grid.points[index]
            why = "" if up_since is None or meter in ill else self._why_light(sight, index, now)
            if up_since is None or not why:
                self._dark_since.pop(key, None)
                continue
            since = self._dark_since.setdefault(key, now_s)
            if now_s - max(since, up_since) > RESTORE_S_MAX + LOOK_S:
                self.verdicts.against(
                    "restored_in_time", sight.node, str(point.id), f"{why}, known here, the meter answers, still dark"
                )

    def _why_light(self, sight: NodeSight, index: int, now: int) -> str:
        """Why this dark home is to have light, by what is durable here; empty when it is rightly dark."""
        point = sight.grid.points[index]
        kinds = standing_kinds(sight, str(point.id), str(point.district), now, now)
        if SAFETY_LOCK in kinds:
            return ""
        if self._knowably_paid(sight, str(point.account), now):
            return "paid"
        return "protected" if kinds else ""

    def _knowably_paid(self, sight: NodeSight, account: str, now: int) -> bool:
        rows = sight.control.rows("SELECT amount_tiyin, due_at FROM ledger_entry WHERE account = ?", (account,))
        due = -sum(amount for amount, due_at in rows if amount < 0 and due_at is not None and due_at < now)
        return bool(rows) and sum(amount for amount, _ in rows if amount > 0) >= due

    def _alive(self, sight: NodeSight) -> None:
        now_s = self.time_s()
        up_since, clean_since = sight.up_since(), sight.link_clean_since()
        if up_since is None:
            return
        heard = self._heard.setdefault(sight.node, _Heard())
        if self._rightly_unsure(sight, up_since):
            heard.unsure_s = now_s  # it asks, and stamps nothing
        if heard.known_s is None and sight.control.value("SELECT count(*) FROM registry"):
            heard.known_s = now_s
        if heard.known_s is not None:
            since_s = max(up_since, heard.known_s)
            minutes = POLL_S_MAX // 60
            if now_s - max(heard.asked_s, since_s) > POLL_S_MAX:
                self.verdicts.against("liveness", sight.node, "asking", f"no meter was asked for {minutes} minutes")
            if now_s - max(sight.polled_s, heard.unsure_s, since_s) > POLL_S_MAX:
                self.verdicts.against("liveness", sight.node, "polling", f"no poll round for {minutes} minutes")
        if clean_since is None:
            return
        clean_s = max(clean_since, up_since)
        if now_s - max(sight.answered_s, clean_s) > TALK_S_MAX:
            self.verdicts.against(
                "liveness", sight.node, "uplink", f"no whole exchange on a clean line for {TALK_S_MAX // 60} minutes"
            )
        if now_s - clean_s > DRAIN_S_MAX:
            self._drained(sight)

    def _rightly_unsure(self, sight: NodeSight, up_since: float) -> bool:
        """Whether its wall is wrong, or was before this process began and nobody has confirmed it since.

        A process whose wall went wrong and came back needs nobody: its steady clock tells. One that began by a wrong
        wall, or that the hub confirmed by one that was a little wrong, is in doubt when it comes back; one that began
        later, when an earlier run has written down its doubt.
        """
        now = self.verdicts.now()
        started, answered = (now - self.time_s() + moment_s for moment_s in (up_since, sight.answered_s))
        for span in sight.clock_spans():
            little = max(-span.low_s, span.high_s) <= CONTRADICTED_S and span.begin < answered
            if span.over > now or (started < span.over > answered and (span.begin < started or little)):
                return True
            if span.over <= started and answered < started and sight.control.value(DOUBT_KNOWN):
                return True
        if any(span.begin <= now and span.over >= answered for span in sight.hub_spans()):
            return True  # the last word that it heard was wrong
        anchor = sight.control.value(ANCHOR_KNOWN)
        return answered < started and (anchor is None or json.loads(anchor)["boot"] != sight.boot())

    def _meters_read(self, sight: NodeSight) -> None:
        """Every meter that answers is read: one hung call must not starve it for ever."""
        now, now_s, up_since = self.verdicts.now(), self.time_s(), sight.up_since()
        heard = self._heard.setdefault(sight.node, _Heard())
        if up_since is None or heard.known_s is None or now_s - max(up_since, heard.known_s) < METER_S_MAX:
            return
        unsure = now_s - heard.unsure_s < METER_S_MAX
        read = set(sight.measured.values()) if unsure else sight.read_since(now - METER_S_MAX)
        ill = sight.ill()
        for meter, point in sight.measured.items():
            if meter in ill or now_s - sight.well_since.get(meter, -METER_S_MAX) < METER_S_MAX:
                continue
            if now_s - heard.asked.get(meter, 0.0) > METER_S_MAX:
                self.verdicts.against("liveness", sight.node, meter, f"it was not asked for {METER_S_MAX} s")
            elif point not in read:
                self.verdicts.against(
                    "liveness", sight.node, meter, f"it answers, and was not read for {METER_S_MAX} s"
                )

    def _drained(self, sight: NodeSight) -> None:
        """A backlog drains once the line is clean; a stuck lane shows here."""
        before = self.verdicts.now() - DRAIN_S_MAX
        for lane, oldest in sight.control.rows(
            "SELECT lane, min(created_at) FROM (SELECT lane, created_at FROM outbox_batch WHERE acked_at IS NULL"
            " UNION ALL SELECT lane, created_at FROM outbox_record WHERE seq IS NULL) GROUP BY lane"
        ):
            if oldest < before and not sight.stamped_within(oldest, before, self.verdicts.now()):
                self.verdicts.against(
                    "liveness", sight.node, f"lane {lane}", f"a fact from {oldest} still waits on a clean line"
                )
