"""Where a usage point stands: account, meter, transformer, as the registry that holds says. Floor: edge_node/supply.

On the payment walk. Pure; worked out in memory before the transaction. More than one account at a point is a doubt:
nobody is cut for what another may owe.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from edge_node.supply.brakes import PointCounts
from gridmodel.identity import AccountId, TransformerId, UsagePointId
from gridmodel.network import Meter, UsagePoint
from gridmodel.registry import Registry
from protocols.driver import MeterTarget
from protocols.profile import MeterProfile, RelayCapability


@dataclass(frozen=True, slots=True)
class Place:
    """One usage point with everything the registry says about it at one moment."""

    point: UsagePoint
    account: AccountId | None
    """None when there is none, or more than one."""
    accounts: int
    meter: Meter | None
    transformer: TransformerId | None
    profile: MeterProfile | None
    may_open: bool
    """The office lets relays of this profile be opened from here; closing needs no leave."""
    counts: PointCounts
    zone: str
    registry_version: int
    registry_works: int
    """Field works in it."""
    proven: bool
    """The meter that stands here was read and is the right one, or the centre vouches for it; true without a meter."""

    @property
    def remote_relay(self) -> bool:
        """Whether the installed meter has a relay that may be moved from here."""
        return self.profile is not None and self.profile.relay is not RelayCapability.NONE

    def target(self) -> MeterTarget | None:
        """How the meter is reached."""
        if self.meter is None:
            return None
        return MeterTarget(self.meter.id, self.meter.serial, self.meter.profile, self.meter.address, self.meter.unit)


class Places:
    """The places of one registry version."""

    def __init__(self, registry: Registry, profiles: Mapping[str, MeterProfile], cut_profiles: Collection[str]) -> None:
        """`cut_profiles` names the meter profiles whose relay may be opened from here."""
        self.registry = registry
        self._cut_profiles = frozenset(cut_profiles)
        self._profiles = profiles

    def at(self, point: UsagePointId, now: int) -> Place | None:
        """The place of `point` at `now`, or None when the registry does not know it."""
        known = self.registry.usage_point.get(point)
        if known is None:
            return None
        topology = self.registry.topology(now)
        placed = topology.installation_at.get(point)
        meter = None if placed is None else self.registry.meter.get(placed.meter)
        transformer = topology.transformer_of.get(point)
        accounts = self.accounts_of(point)
        return Place(
            point=known,
            account=accounts[0] if len(accounts) == 1 else None,
            accounts=len(accounts),
            meter=meter,
            transformer=transformer,
            profile=None if meter is None else self._profiles.get(meter.profile),
            may_open=meter is not None and meter.profile in self._cut_profiles,
            counts=PointCounts(
                len(self.registry.usage_points),
                0 if transformer is None else len(topology.points_of[transformer]),
            ),
            zone=self.registry.zone,
            registry_version=self.registry.version,
            registry_works=self.registry.works,
            proven=placed is None or not placed.unproven,
        )

    def accounts_of(self, point: UsagePointId) -> tuple[AccountId, ...]:
        """Every account at a point."""
        return self.registry.accounts_at.get(point, ())

    def point_of(self, account: AccountId) -> UsagePointId | None:
        """The usage point of an account."""
        known = self.registry.account.get(account)
        return None if known is None else known.usage_point
