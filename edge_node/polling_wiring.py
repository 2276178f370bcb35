"""The writer of readings over a store, and what waits there for the time. Above the rooms; walk: reading."""

from edge_node.metering.holding import Holding
from edge_node.metering.plans import Plans
from edge_node.metering.polling import PollPlan
from edge_node.metering.rounds import Rounds
from edge_node.store.opening import EdgeStore
from edge_node.wakeups import Wakeups
from gridmodel.clock import ToldClock, UtilityClock


def rounds_of(
    store: EdgeStore, plans: Plans, *, clock: UtilityClock, wakeups: Wakeups, told: ToldClock | None
) -> Rounds:
    """`told`: the clock itself, where it listens to meters and knows moments of a time that is not known yet."""

    async def plan_at(at: int) -> PollPlan | None:
        registry = store.registries.newest
        return None if registry is None else await plans.of(registry, at)

    return Rounds(
        control=store.control,
        readings=store.readings,
        alarms=store.alarms,
        relays=store.relays,
        clock=clock,
        wakeups=wakeups,
        time_witnessed=None if told is None else told.witness,
        holding=None if told is None else Holding(store.held_reads, told, plan_at),
    )
