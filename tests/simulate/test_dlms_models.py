"""A fleet's meters made from meter profiles: the product's driver reads each with the profile it came from."""

from dataclasses import replace

import pytest

from protocols.profile import load_profile, load_profiles
from simulate.dlms_models import shape_of
from simulate.fleet import FleetFault

DLMS = sorted(name for name, one in load_profiles().items() if one.protocol == "dlms")


@pytest.mark.parametrize("name", DLMS)
def test_every_shipped_profile_has_a_shape(name: str) -> None:
    shape = shape_of(load_profile(name))
    assert shape.name == name
    assert {"import_wh", "export_wh", "power_w"} <= {one.shows for one in shape.registers}
    assert shape.period_s in {900, 3_600}


def test_what_no_simulated_meter_can_show_is_refused() -> None:
    plain = load_profile("dlms_plain_single")
    channels = {**plain.section["channels"], "t1": {"obis": "1.0.1.8.1.255", "unit": "Wh"}}
    with pytest.raises(FleetFault, match="register t1"):
        shape_of(replace(plain, section={**plain.section, "channels": channels}))
    load = {**plain.section["load_profile"], "stamp": "start"}
    with pytest.raises(FleetFault, match="load profile"):
        shape_of(replace(plain, section={**plain.section, "load_profile": load}))
