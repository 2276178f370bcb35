"""A simulated meter's Security setup (64): policy, titles, key transfer (IEC 62056-6-2). Floor: protocols; payment.

The policy can only be made stricter, and keys are taken only where they are wrapped under the meter's master key. What
changes is told to the device, which uses it from the next association on: the answer still travels under the old keys.
"""

from collections.abc import Callable
from dataclasses import replace

from protocols.dlms.apdu.action import MethodOutcome
from protocols.dlms.apdu.parts import ActionResult
from protocols.dlms.data import Data, Tag, octets
from protocols.dlms.faults import DlmsFault
from protocols.dlms.key_transfer import KeyId, unwrapped_keys
from protocols.dlms.meter_side.objects import DONE, PlainObject
from protocols.dlms.obis import Obis
from protocols.dlms.security import Control, SecurityKeys

POLICIES = (Control(0), Control.AUTHENTICATED, Control.ENCRYPTED, Control.AUTHENTICATED | Control.ENCRYPTED)
"""The least protection by the number of the policy (version 0 of the class)."""
_UNFIT = MethodOutcome(ActionResult.TYPE_UNMATCHED)
_DENIED = MethodOutcome(ActionResult.READ_WRITE_DENIED)


class SecuritySetupObject(PlainObject):
    """A Security setup (64), version 0: suite 0, methods security_activate and global_key_transfer."""

    def __init__(
        self,
        obis: Obis,
        keys: SecurityKeys,
        master: bytes,
        title: bytes,
        *,
        policy: int = 3,
        client_title: Callable[[], bytes] = bytes,
        changed: Callable[[SecurityKeys, Control], None] = lambda _keys, _least: None,
    ) -> None:
        """`title`: the meter's; `client_title` gives the one heard last; `changed` is told of keys and policy."""
        super().__init__(
            64,
            obis,
            {
                2: lambda _: Data(Tag.ENUM, self.policy),
                3: Data(Tag.ENUM, 0),
                4: lambda _: octets(client_title()),
                5: octets(title),
            },
            methods={1: self._activate, 2: self._transfer},
        )
        self.keys = keys
        self.policy = policy
        self._master = master
        self._changed = changed

    def _activate(self, parameters: Data | None, _now: int) -> MethodOutcome:
        wanted = parameters.value if parameters is not None and parameters.tag == Tag.ENUM else None
        if not isinstance(wanted, int) or wanted >= len(POLICIES):
            return _UNFIT
        if POLICIES[wanted] & POLICIES[self.policy] != POLICIES[self.policy]:
            return _DENIED
        self.policy = wanted
        self._changed(self.keys, POLICIES[wanted])
        return DONE

    def _transfer(self, parameters: Data | None, _now: int) -> MethodOutcome:
        """All keys of one transfer, or none of them."""
        try:
            new = unwrapped_keys(self._master, parameters)
        except DlmsFault as fault:
            return _DENIED if fault.code == "TQ-DM-30" else _UNFIT
        self._master = new.get(KeyId.MASTER, self._master)
        self.keys = replace(
            self.keys,
            block_key=new.get(KeyId.BLOCK, self.keys.block_key),
            authentication_key=new.get(KeyId.AUTHENTICATION, self.keys.authentication_key),
        )
        self._changed(self.keys, POLICIES[self.policy])
        return DONE
