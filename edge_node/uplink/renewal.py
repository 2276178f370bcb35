"""Renews the node's certificate before it ends, or as soon as there is a link again. Room: uplink; walk: link loss.

Over the certificate it has, and with the key it has. A hub out of reach costs nothing: the node works on, tries again,
and shows what stands. A clock in doubt cannot tell whether it is time, so the hub is asked at the start and once a day.
"""

import base64
from typing import Any

from edge_node.uplink.identity import NodeTls
from edge_node.wakeups import Wakeups, rung_or_over
from gridmodel.clock import UtilityClock
from gridmodel.fault import Fault
from hosting.keys_certificates import TlsKey
from hosting.log import logger
from protocols.enrolment.client import EnrolmentClient

LOOK_S = 3_600
"""Utility seconds between two looks; a certificate lives for weeks."""
RENEWED_S = 86_400
"""After a renewal nobody asks again for a day."""
RETRY_S_MIN, RETRY_S_MAX = 15, 1_800
"""Utility seconds between tries while it is due."""


class Renewal:
    """Works until cancelled."""

    def __init__(self, hub_url: str, own: NodeTls, *, clock: UtilityClock, wakeups: Wakeups) -> None:
        self._hub_url = hub_url
        self._own = own
        self._clock = clock
        self._wakeups = wakeups
        self._error: dict[str, str] | None = None
        self._log = logger("certificate")

    async def run(self) -> None:
        """Look, renew, wait."""
        retry_s = RETRY_S_MIN
        while True:
            if not self._due():
                await rung_or_over(self._own.look, self._clock.sleep(LOOK_S))
                self._own.look.clear()
            elif await self.renew():
                retry_s = RETRY_S_MIN
                await self._clock.sleep(RENEWED_S)
            else:
                await self._clock.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_S_MAX)

    async def renew(self) -> bool:
        """Ask for a new certificate; gives whether there is one."""
        identity = self._own.identity
        try:
            client = EnrolmentClient(self._hub_url, self._own.loaded())
            request = TlsKey.read(identity.key_path).request(identity.node)
            certificate = identity.accept(await client.renew(base64.b64encode(request).decode("ascii")))
        except Fault as fault:
            if self._error is None or self._error["code"] != fault.code:
                self._log.warning("certificate_not_renewed", code=fault.code, what=fault.what)
            self._error = fault.as_dict()
            return False
        self._error = None
        self._log.info("certificate_renewed", not_after=certificate.not_after)
        self._wakeups.outbox.set()
        return True

    def told(self) -> dict[str, Any]:
        """How the node's certificate stands, with the reason why it was not renewed."""
        return self._own.told(self._error)

    def _due(self) -> bool:
        try:
            return self._own.due()
        except Fault as fault:
            self._error = fault.as_dict()
            return False
