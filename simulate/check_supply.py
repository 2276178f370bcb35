"""Who is dark though paid, and what has stopped to move: looked at every few virtual minutes. Floor: simulate; payment.

Liveness is a law like the others: a node that hangs politely violates nothing else. A duty runs only while it could be
done (process up, meter answering, line and hub clean), and its clock starts anew whenever that ends.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from gridmodel.period import HOUR_S
from simulate.check_relays import RelayChecker
from simulate.sight import NodeSight, Verdicts

RESTORE_S_MAX = 15 * 60
"""The policy's target from knowable payment to supply, where the meter answers."""
LOOK_S = 300
"""How often the world looks: a duty may be found broken that much late, and is allowed that much more."""
POLL_S_MAX = 45 * 60
"""A running node has read its meters within so long: two intervals, their spread and grace."""
TALK_S_MAX = 75 * 60
"""On a clean line a whole exchange comes about within so long: the longest patience of one exchange, and a back-off."""
METER_S_MAX = 5_400
"""A meter that answers is read within so long: the interval's end may be an interval old, and one call may hang."""
LOOKS_PER_METERS = 6
"""Meters are looked at every half hour: it reads a few hundred rows."""
REGISTRY_KNOWN = "SELECT count(*) FROM registry WHERE received_at > 0"
DOUBT_KNOWN = "SELECT count(*) FROM node_state WHERE key = 'clock_doubted'"
DRAIN_S_MAX = 3 * HOUR_S
"""On a clean line nothing sealed or waiting is older than this: a day's backlog drains in minutes."""


@dataclass(slots=True)
class _Heard:
    polled_s: float = 0.0
    answered_s: float = 0.0
    unsure_s: float = 0.0
    """When it was last seen in a doubt of its clock that it had a right to."""


@dataclass(slots=True)
class SupplyChecker:
    """Duties that run in time; `look` is called every LOOK_S."""

    sights: dict[str, NodeSight]
    relays: RelayChecker
    verdicts: Verdicts
    time_s: Callable[[], float]
    """Virtual seconds."""
    _heard: dict[str, _Heard] = field(default_factory=dict)
    _dark_since: dict[tuple[str, int], float] = field(default_factory=dict)
    _looks: int = 0

    def polled(self, node: str) -> None:
        """A poll round was committed."""
        self._heard.setdefault(node, _Heard()).polled_s = self.time_s()

    def answered(self, node: str) -> None:
        """A whole reply of the hub reached the node."""
        self._heard.setdefault(node, _Heard()).answered_s = self.time_s()

    def look(self) -> None:
        """Every duty of every node."""
        self._looks += 1
        for node in sorted(self.sights):
            sight = self.sights[node]
            self._paid_but_dark(sight)
            self._alive(sight)
            if self._looks % LOOKS_PER_METERS == 0:
                self._meters_read(sight)

    def _paid_but_dark(self, sight: NodeSight) -> None:
        now_s, now = self.time_s(), self.verdicts.now()
        up_since = sight.up_since()
        ill = sight.ill()
        for meter, index in sight.point_of.items():
            key = (sight.node, index)
            if sight.truth.connected(index):
                self._dark_since.pop(key, None)
                continue
            point = sight.grid.points[index]
            if up_since is None or meter in ill or not self._knowably_paid(sight, str(point.account), now):
                self._dark_since.pop(key, None)
                continue
            since = self._dark_since.setdefault(key, now_s)
            if now_s - max(since, up_since) > RESTORE_S_MAX + LOOK_S:
                self.verdicts.against(
                    "restored_in_time", sight.node, str(point.id), "paid, known here, the meter answers, still dark"
                )

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
        if self._rightly_unsure(sight, heard, up_since):
            heard.unsure_s = now_s  # it polls, and stamps nothing
        known = sight.control.value("SELECT count(*) FROM registry")
        if known and now_s - max(heard.polled_s, heard.unsure_s, up_since) > POLL_S_MAX:
            self.verdicts.against("liveness", sight.node, "polling", f"no poll round for {POLL_S_MAX // 60} minutes")
        if clean_since is None:
            return
        clean_s = max(clean_since, up_since)
        if now_s - max(heard.answered_s, clean_s) > TALK_S_MAX:
            self.verdicts.against(
                "liveness", sight.node, "uplink", f"no whole exchange on a clean line for {TALK_S_MAX // 60} minutes"
            )
        if now_s - clean_s > DRAIN_S_MAX:
            self._drained(sight)

    def _rightly_unsure(self, sight: NodeSight, heard: _Heard, up_since: float) -> bool:
        """Whether its wall is wrong, or was before this process began and nobody has confirmed it since.

        A process whose wall went wrong and came back needs nobody: its steady clock tells.
        """
        now = self.verdicts.now()
        started, answered = (now - self.time_s() + moment_s for moment_s in (up_since, heard.answered_s))
        spans = sight.clock_spans()
        if any(over > now for _, over in spans):
            return True
        restarted = any(begin < started and answered < max(over, started) for begin, over in spans)
        return restarted and bool(sight.control.value(DOUBT_KNOWN))

    def _meters_read(self, sight: NodeSight) -> None:
        """Every meter that answers is read: one hung call must not starve it for ever."""
        now, now_s, up_since = self.verdicts.now(), self.time_s(), sight.up_since()
        heard = self._heard.setdefault(sight.node, _Heard())
        if up_since is None or now_s - max(up_since, heard.unsure_s) < METER_S_MAX:
            return
        if not sight.control.value(REGISTRY_KNOWN):
            return
        read = sight.read_since(now - METER_S_MAX)
        ill = sight.ill()
        for meter, point in sight.measured.items():
            if meter in ill or now_s - sight.well_since.get(meter, -METER_S_MAX) < METER_S_MAX or point in read:
                continue
            self.verdicts.against("liveness", sight.node, meter, f"it answers, and was not read for {METER_S_MAX} s")

    def _drained(self, sight: NodeSight) -> None:
        """A backlog drains once the line is clean; a stuck lane shows here."""
        before = self.verdicts.now() - DRAIN_S_MAX
        for lane, oldest in sight.control.rows(
            "SELECT lane, min(created_at) FROM (SELECT lane, created_at FROM outbox_batch WHERE acked_at IS NULL"
            " UNION ALL SELECT lane, created_at FROM outbox_record WHERE seq IS NULL) GROUP BY lane"
        ):
            if oldest < before:
                self.verdicts.against(
                    "liveness", sight.node, f"lane {lane}", f"a fact from {oldest} still waits on a clean line"
                )
