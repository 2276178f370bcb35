"""The hub's own certificate: issued by its authority at each start and whenever a third of it is left. Room: identity.

On the walk of link loss. New connections see the new one at once; nodes trust the authority, not the certificate.
"""

from central_sync.config import TlsConfig
from gridmodel.clock import Entropy, UtilityClock
from hosting.keys_certificates import DAY_S, Certificate, CertificateAuthority, TlsKey
from hosting.tls import load_own, server_context

OWN_DAYS = 90
"""Short, because nobody asks whether it was revoked."""


class OwnCertificate:
    """Keeps it fresh; `context` is for the listener."""

    def __init__(
        self, config: TlsConfig, authority: CertificateAuthority, clock: UtilityClock, entropy: Entropy
    ) -> None:
        """Issue one; raises CertificateFault."""
        self._config = config
        self._authority = authority
        self._clock = clock
        self._entropy = entropy
        key = config.ca / "hub.key"
        self._files = (config.ca / "hub.crt", key)
        self._key = TlsKey.read(key) if key.exists() else TlsKey.create(key, entropy)
        self.certificate = self._issue()
        self.context = server_context(authority.certificate, self._files)

    async def run(self) -> None:
        """Look once a day, until cancelled."""
        while True:
            await self._clock.sleep(DAY_S)
            self.look()

    def look(self) -> None:
        """Issue a new one when it is time; raises CertificateFault when the authority has ended."""
        certificate = self.certificate
        if self._clock.now() >= certificate.not_after - (certificate.not_after - certificate.not_before) // 3:
            self.certificate = self._issue()
            load_own(self.context, *self._files)

    def _issue(self) -> Certificate:
        now = self._clock.now()
        certificate = self._authority.for_hub(self._key, self._config.names, now, OWN_DAYS, self._entropy)
        certificate.write(self._files[0])
        return certificate
