"""A registry of any size for tests: two transformers, one account and one meter at each usage point."""

from gridmodel.identity import (
    AccountId,
    DistrictId,
    FeederId,
    MeterId,
    NodeId,
    PersonId,
    SubstationId,
    TransformerId,
    UsagePointId,
)
from gridmodel.network import (
    Account,
    ConsumerClass,
    Feeder,
    FeederLink,
    Installation,
    Meter,
    Substation,
    Transformer,
    TransformerLink,
    UsagePoint,
)
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel
from gridmodel.registry import Registry

NODE = NodeId("node-a")
DISTRICT = DistrictId("1726269")
ZONE = "Asia/Tashkent"
PROFILE = "dds238_2_zn_sr"


def point_id(number: int) -> UsagePointId:
    return UsagePointId(f"up-{number:03}")


def account_id(number: int) -> AccountId:
    return AccountId(f"acc-{number:03}")


def meter_id(number: int) -> MeterId:
    return MeterId(f"m-{number:03}")


def registry(points: int = 20, *, version: int = 1, protected: dict[int, str] | None = None) -> Registry:
    """`points` usage points under two transformers of one feeder; each has one account and one meter."""
    transformers = [TransformerId("tr-0"), TransformerId("tr-1")]
    numbers = range(points)
    return Registry(
        node=NODE,
        version=version,
        zone=ZONE,
        interval_minutes=15,
        districts=(DISTRICT,),
        substations=(Substation(SubstationId("ss"), DISTRICT, "S"),),
        feeders=(Feeder(FeederId("f"), SubstationId("ss"), "F"),),
        transformers=tuple(Transformer(one, DISTRICT, one, 250) for one in transformers),
        usage_points=tuple(
            UsagePoint(point_id(n), DISTRICT, ConsumerClass.HOUSEHOLD, (protected or {}).get(n), "street")
            for n in numbers
        ),
        supply_points=(),
        accounts=tuple(Account(account_id(n), point_id(n), PersonId(f"p-{n}")) for n in numbers),
        meters=tuple(Meter(meter_id(n), f"serial-{n}", PROFILE, "10.0.0.1:502", n % 247 + 1) for n in numbers),
        installations=tuple(
            Installation(meter_id(n), point_id(n), (Channel.IMPORT,), Multiplier(), 0) for n in numbers
        ),
        transformer_links=tuple(TransformerLink(point_id(n), transformers[n % 2], 0) for n in numbers),
        feeder_links=tuple(FeederLink(one, FeederId("f"), 0) for one in transformers),
    )
