"""Whether an exchange lies between two registers, or a new multiplier does. Pure. Room: metering; walk: reading."""

from edge_node.metering.polling import PollTarget
from gridmodel.reading import Channel, RegisterRead
from gridmodel.vee import Baseline, Exchange, LastRegister, counted_wh


def exchange_between(poll: PollTarget, channel: Channel, last: LastRegister | None, at: int) -> Exchange | None:
    """The exchange that lies between the last register and a read at `at`, if its registers are known."""
    exchange = poll.exchanges.get(channel)
    if exchange is None or last is None or last.meter != exchange.old_meter:
        return None
    if last.meter == poll.target.meter and not last.at <= exchange.began_at < at:
        return None  # the same meter under another multiplier, and its new count is under way
    return exchange


def of_old_multiplier(poll: PollTarget, channel: Channel, last: LastRegister, read: RegisterRead) -> bool:
    """Whether the same meter's last register was taken times the multiplier that the papers end before it.

    Then it fits the paper before, not the one after, and the read does not follow it.
    """
    exchange = poll.exchanges.get(channel)
    if exchange is None or poll.rebased_at is None or last.at <= poll.rebased_at:
        return False
    if not last.meter == poll.target.meter == exchange.old_meter:
        return False
    if isinstance(counted_wh(Baseline(last.at, last.register_wh), read, poll.rules), int):
        return False
    known = RegisterRead(poll.point, last.meter, channel, last.at, last.register_wh)
    length = poll.rules.interval_minutes * 60
    since = exchange.began_at // length * length
    fits = counted_wh(Baseline(since, exchange.start_register_wh), known, poll.rules)
    before = counted_wh(Baseline(since, exchange.final_register_wh), known, exchange.old_rules)
    return not isinstance(fits, int) and isinstance(before, int)
