"""The cashier's desk: a payment is named, made durable, and only then told. Floor: edge_node/money; payment walk.

The entry's id follows from the desk's own name of the request, so that a retry can never make a second payment, not
even after a backup was put back that knows neither: the hub gives the first entry back, and the retry finds it. Supply
is woken after the commit: it reads the ledger itself.

Codes: TQ-PY-01 unknown account, -02 impossible amount, -03 unknown cashier or wrong secret, -04 too many wrong secrets,
-05 a request name used for another payment, -06 an impossible request name.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from hashlib import sha256

from edge_node.store.ledger import Ledger, PaymentTaken, RequestConflict
from edge_node.store.registries import Registries
from edge_node.store.stamping import stamp_of
from edge_node.wakeups import Wakeups
from gridmodel.account import EntryKind, LedgerEntry
from gridmodel.clock import UtilityClock
from gridmodel.fault import Fault
from gridmodel.identity import AccountId, ChannelId, EntryId, IdentityFault, checked_id
from gridmodel.quantity import TIYIN_PER_SOM

PAYMENT_TIYIN_MAX = 100_000_000 * TIYIN_PER_SOM
"""A hundred million soʻm in one payment: a company's month at a desk; more is a slipped finger."""
WRONG_SECRETS_MAX = 5
"""Wrong secrets of one cashier in a row before a pause."""
LOCKED_S = 15 * 60
"""The pause, in utility seconds; other cashiers go on."""


class PaymentFault(Fault):
    """A payment that was not taken; nothing was recorded."""


CheckSecret = Callable[[str, str], Awaitable[bool]]
"""(cashier, secret) -> whether it is theirs; slow on purpose, so it runs off the event loop."""


@dataclass(slots=True)
class _Wrong:
    count: int
    last_at: int


class Desk:
    """Takes payments at one office. `channel` is the office's own payment channel."""

    def __init__(
        self,
        ledger: Ledger,
        registries: Registries,
        *,
        channel: ChannelId,
        cashiers: Collection[str],
        check_secret: CheckSecret,
        clock: UtilityClock,
        wakeups: Wakeups,
        amount_tiyin_max: int = PAYMENT_TIYIN_MAX,
    ) -> None:
        """`cashiers` are the ids of persons with that role."""
        self._ledger = ledger
        self._registries = registries
        self._channel = channel
        self._cashiers = frozenset(cashiers)
        self._check_secret = check_secret
        self._clock = clock
        self._wakeups = wakeups
        self._amount_tiyin_max = amount_tiyin_max
        self._wrong: dict[str, _Wrong] = {}

    async def pay(
        self, account: AccountId, amount_tiyin: int, cashier: str, request_id: str, *, secret: str
    ) -> PaymentTaken:
        """Take one payment and give its durable entry with the new credit; the same request gives the first entry.

        Raises PaymentFault (TQ-PY-01…06); then nothing was recorded.
        """
        await self._log_in(cashier, secret)
        return await self.take(account, amount_tiyin, cashier, request_id)

    async def take(self, account: AccountId, amount_tiyin: int, cashier: str, request_id: str) -> PaymentTaken:
        """`pay` for a cashier who has logged in already (a page's session)."""
        if cashier not in self._cashiers:
            raise _stranger(cashier)
        try:
            checked_id("request", request_id)
            checked_id("account", account)
        except IdentityFault as fault:
            raise PaymentFault("TQ-PY-06", fault.what, fault.hint) from fault
        if type(amount_tiyin) is not int or not 0 < amount_tiyin <= self._amount_tiyin_max:
            raise PaymentFault(
                "TQ-PY-02",
                f"{amount_tiyin!r:.40} tiyin cannot be paid at a desk",
                f"more than nothing, at most {self._amount_tiyin_max // TIYIN_PER_SOM} soʻm; mind the unit",
            )
        registry = self._registries.newest
        known = registry is not None and account in registry.account
        if not known and not await self._ledger.known_account(account):
            raise PaymentFault("TQ-PY-01", f"there is no account {account} at this office", "check the number again")
        stamp = stamp_of(self._clock)
        entry = LedgerEntry(
            id=entry_of(self._channel, request_id),
            account=account,
            kind=EntryKind.PAYMENT,
            amount_tiyin=amount_tiyin,
            at=stamp.at,
            due_at=None,
            channel=self._channel,
            recorded_by=cashier,
        )
        taken = await self._ledger.take_payment(entry, request_id, stamp)
        if isinstance(taken, RequestConflict):
            raise PaymentFault(
                "TQ-PY-05",
                f"the request {request_id} was used for {taken.entry.amount_tiyin} tiyin to {taken.entry.account}",
                "nothing was recorded; begin a new payment",
            )
        self._wakeups.enforcement.set()
        self._wakeups.outbox.set()
        return taken

    async def _log_in(self, cashier: str, secret: str) -> None:
        now = self._clock.now()
        wrong = self._wrong.get(cashier)
        if wrong is not None and wrong.count >= WRONG_SECRETS_MAX and 0 <= now - wrong.last_at < LOCKED_S:
            raise PaymentFault(
                "TQ-PY-04", f"too many wrong secrets for {cashier:.40}", "wait 15 minutes, or let a colleague take it"
            )
        if cashier not in self._cashiers or not await self._check_secret(cashier, secret):
            if cashier in self._cashiers:
                before = self._wrong.get(cashier)
                self._wrong[cashier] = _Wrong(1 if before is None else before.count + 1, now)
            raise _stranger(cashier)
        self._wrong.pop(cashier, None)


def entry_of(channel: ChannelId, request: str) -> EntryId:
    """The id of the entry that a desk's request makes."""
    return EntryId("pay-" + sha256(f"{channel}\0{request}".encode()).hexdigest()[:24])


def _stranger(cashier: str) -> PaymentFault:
    return PaymentFault("TQ-PY-03", f"{cashier!r:.40} is no cashier here, or the secret is wrong", "log in again")
