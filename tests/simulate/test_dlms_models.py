"""A fleet's meters made from meter profiles: the product's driver reads each with the profile it came from."""

from dataclasses import replace

import pytest

from protocols.dlms.cosem import AssociationLn
from protocols.dlms.data import Data
from protocols.dlms.meter_side.model import ASSOCIATION_CLASS
from protocols.dlms.obis import CURRENT_ASSOCIATION
from protocols.profile import load_profile, load_profiles
from simulate.dlms_keys import Security
from simulate.dlms_models import shape_of
from simulate.fleet import FleetFault
from tests.simulate.dlms_rig import client_of, dlms_fleet, on_sockets, reading

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


ATTRIBUTES = {1: 2, 3: 3, 7: 8, 8: 9, 40: 7, 64: 5, 70: 4, 71: 11}
"""How many each class has, by IEC 62056-6-2, in the versions that the meters tell."""


def test_every_object_has_all_the_attributes_of_its_class() -> None:
    async def story() -> None:
        async with reading(fleet, 0, client_of(Security.GMAC, hdlc=False)) as meter:
            listed = await meter.get(AssociationLn(CURRENT_ASSOCIATION).attribute(2))
            assert isinstance(listed, Data)
            assert isinstance(listed.value, tuple)
            classes = set()
            for entry in listed.value:
                assert isinstance(entry.value, tuple)
                number, _, name, rights = (one.value for one in entry.value)
                assert isinstance(number, int)
                assert isinstance(name, bytes)
                assert isinstance(rights, tuple)
                assert isinstance(rights[0].value, tuple)
                if number != ASSOCIATION_CLASS:
                    assert len(rights[0].value) == ATTRIBUTES[number], (number, name)
                    classes.add(number)
            assert classes == set(ATTRIBUTES)

    fleet = dlms_fleet()
    on_sockets(fleet, story)
