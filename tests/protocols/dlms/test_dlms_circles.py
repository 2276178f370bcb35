"""Calls of the driver leave no circles behind: hundreds a second must not wait for the garbage collector."""

import asyncio
import gc

from protocols.dlms.association import ClientAssociation
from protocols.dlms.connection import Connection
from protocols.errors import ProtocolFault
from tests.simulate.concentrator_rig import behind

TURNS_MAX = 1_000
"""Turns of the loop in which what was closed has to be gone."""


def kept(kind: type) -> int:
    return sum(isinstance(one, kind) for one in gc.get_objects())


def transports() -> int:
    return sum(type(one).__name__ == "_SelectorSocketTransport" for one in gc.get_objects())


def test_a_call_dies_with_its_end_whether_it_was_answered_or_not() -> None:
    async def story() -> None:
        async with behind(8, 8) as made:
            await made.driver.read(made.targets[0])
            gc.collect()
            before = transports()
            gc.disable()
            try:
                await asyncio.gather(*(made.driver.read(target) for target in made.targets))
                made.fleet.silent.update(range(8))
                for target in made.targets[:3]:
                    try:
                        await made.driver.read(target)
                    except ProtocolFault as fault:
                        assert fault.code == "TQ-DM-81"
                made.fleet.close()
                for _ in range(TURNS_MAX):
                    if (kept(Connection), kept(ClientAssociation)) == (0, 0) and transports() <= before + 1:
                        break
                    await asyncio.sleep(0)
                assert (kept(Connection), kept(ClientAssociation)) == (0, 0)
                assert transports() <= before + 1, "that of the very last connection may still be closing"
            finally:
                gc.enable()

    asyncio.run(asyncio.wait_for(story(), 30))
