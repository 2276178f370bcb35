"""Nothing acknowledged is lost, nothing is counted twice: money and marks. Floor: simulate; payment walk, link loss.

A receipt that was given out, an import that was confirmed, a batch that the hub acknowledged: each must be found as a
committed row from that moment on, through every crash. Unknown or doubled money is found by comparing with the book.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from simulate.book import Book
from simulate.judges.sight import Eye, NodeSight, Verdicts
from simulate.people import APP


@dataclass(slots=True)
class MoneyChecker:
    """Looks at committed rows of nodes and hub."""

    sights: Mapping[str, NodeSight]
    hub: Eye
    book: Book
    verdicts: Verdicts

    def kept(self) -> None:
        """Every acknowledged payment is where it was acknowledged."""
        at_hub = {row[0] for row in self.hub.rows("SELECT id FROM ledger_entry")}
        at_edge = {
            node: {row[0] for row in sight.control.rows("SELECT id FROM ledger_entry")}
            for node, sight in self.sights.items()
        }
        for payment in self.book.all_payments():
            if payment.acknowledged_at is None:
                continue
            place = at_hub if payment.channel == APP else at_edge[payment.node]
            forgot = self.verdicts.forgetful & ({"hub"} if payment.channel == APP else {payment.node})
            if forgot and payment.entry in at_hub | at_edge[payment.node]:
                continue  # whoever has it gives it back
            if payment.channel == APP and forgot:
                continue  # its file is brought again
            if payment.entry not in place:
                where = "hub" if payment.channel == APP else payment.node
                self.verdicts.against(
                    "acknowledged_never_lost", payment.node, payment.id, f"acknowledged, and not at {where}"
                )

    def marks(self) -> None:
        """No node holds an acknowledgement of what the hub has not committed."""
        held = {
            (node, lane): (epoch, seq)
            for node, lane, epoch, seq in self.hub.rows("SELECT node, lane, epoch, seq FROM lane")
        }
        for node, sight in sorted(self.sights.items()):
            for lane, epoch, seq in sight.control.rows("SELECT lane, epoch, acked_seq FROM lane"):
                there = held.get((node, lane), (epoch, 0))
                if (epoch, seq) > there and there[0] >= epoch and "hub" not in self.verdicts.forgetful:
                    self.verdicts.against(
                        "acknowledged_never_lost",
                        node,
                        f"lane {lane}",
                        f"{seq} is acknowledged, the hub has {there[1]}",
                    )

    def complete(self, before: int) -> None:
        """Control and ledger never expire: every relay operation and payment made before then stands at the hub."""
        told = {(row[0], row[1]) for row in self.hub.rows("SELECT node, id FROM relay_operation")}
        paid = {row[0] for row in self.hub.rows("SELECT id FROM ledger_entry")}
        for node, sight in sorted(self.sights.items()):
            for (one,) in sight.control.rows("SELECT id FROM relay_operation WHERE intent_at < ?", (before,)):
                if (node, one) not in told:
                    self.verdicts.against("nothing_expires", node, one, "the hub never heard of this operation")
            for (one,) in sight.control.rows(
                "SELECT id FROM ledger_entry WHERE origin = 'desk' AND received_at < ?", (before,)
            ):
                if one not in paid:
                    self.verdicts.against("nothing_expires", node, one, "the hub never heard of this payment")

    def forks(self) -> None:
        """Where nobody put a backup back, a lane that forked is a mistake of one of the two sides."""
        for node, lane, epoch in self.hub.rows("SELECT node, lane, epoch FROM fork_request"):
            if self.verdicts.restored & {node, "hub"}:
                continue
            self.verdicts.against("no_fork_without_cause", node, f"lane {lane}", f"epoch {epoch} had to be minted")

    def counted_once(self) -> None:
        """No payment stands that nobody made, none stands twice."""
        places = [("hub", self.hub), *((node, sight.control) for node, sight in sorted(self.sights.items()))]
        for where, eye in places:
            sums: dict[str, int] = dict(
                eye.rows("SELECT account, sum(amount_tiyin) FROM ledger_entry WHERE kind = 'payment' GROUP BY account")
            )
            for account, amount in sorted(sums.items()):
                made = sum(one.amount_tiyin for one in self.book.payments.get(account, ()))
                if amount > made:
                    self.verdicts.against("counted_once", where, account, f"{amount} tiyin credited, {made} were paid")

    def settled(self) -> bool:
        """Whether hub and edges hold exactly the book's money."""
        return not self._apart()

    def compare(self) -> None:
        """Every account has the same credit at hub, edge and in the book."""
        for where, account, there, true in self._apart():
            self.verdicts.against("counted_once", where, account, f"credit {there} tiyin, {true} by the book")

    def _apart(self) -> list[tuple[str, str, int, int]]:
        accounts = sorted({*self.book.debits, *self.book.payments})
        owner = {str(point.account): node for node, sight in self.sights.items() for point in sight.grid.points}
        sums = {
            where: dict(eye.rows("SELECT account, sum(amount_tiyin) FROM ledger_entry GROUP BY account"))
            for where, eye in (("hub", self.hub), *((node, sight.control) for node, sight in self.sights.items()))
        }
        apart = []
        for account in accounts:
            true = sum(one.amount_tiyin for one in self.book.payments.get(account, ()))
            true -= sum(one.amount_tiyin for one in self.book.debits.get(account, ()))
            for where in ("hub", owner[account]):
                there = sums[where].get(account, 0)
                if there != true:
                    apart.append((where, account, there, true))
        return apart
