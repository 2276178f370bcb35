"""Who stands at the desk: people of the office, their secrets and roles. Room: console; on the payment walk.

Every writing verb names a person and proves it, at the pages and at the local door alike. A secret is checked against
its Argon2id hash off the event loop. Guessing is slow: after a few failures a person's name is closed for a while, and
the answer never tells whether the name or the secret was wrong.

Codes: TQ-LG-01 not known or wrong, -02 too many tries, -03 the role is missing.
"""

from collections import deque
from collections.abc import Iterable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from edge_node.config import PersonConfig, PersonRole
from gridmodel.clock import Compute, UtilityClock
from gridmodel.fault import Fault

TRIES_MAX = 5
"""Wrong secrets within the window before a name is closed: a tired cashier needs three."""
WINDOW_S = 600
"""Utility seconds until a failure is forgotten."""
NAMES_WATCHED_MAX = 1_000
"""Names whose failures are remembered: the office's people and a few mistyped ones."""
SECRET_LENGTH_MAX = 256
"""Characters; Argon2 would work through a megabyte as well, at our cost."""


class LoginFault(Fault):
    """A person who may not do that, or not yet."""

    status = 403


class People:
    """The people of the configuration."""

    def __init__(self, people: Iterable[PersonConfig], *, compute: Compute, clock: UtilityClock) -> None:
        self._people = {person.id: person for person in people}
        self._compute = compute
        self._clock = clock
        self._failures: dict[str, deque[int]] = {}
        self._hasher = PasswordHasher()

    def name_of(self, person_id: str) -> str | None:
        """What the person is called on pages and receipts; None for someone who is no longer of the office."""
        person = self._people.get(person_id)
        return None if person is None else person.name

    async def check(self, person_id: str, secret: str, role: PersonRole | None = None) -> PersonConfig:
        """The person, when the secret is theirs and they have `role` (if one is asked for); raises LoginFault."""
        now = self._clock.now()
        failures = self._failures.get(person_id, deque())
        while failures and now - failures[0] > WINDOW_S:
            failures.popleft()
        if len(failures) >= TRIES_MAX:
            raise LoginFault("TQ-LG-02", "too many wrong secrets", f"wait {WINDOW_S // 60} minutes, or ask the chief")
        person = self._people.get(person_id)
        known = person is not None and len(secret) <= SECRET_LENGTH_MAX
        right = await self._compute.run(_matches, self._hasher, person.secret, secret) if person and known else False
        if person is None or not right:
            if person_id in self._failures or len(self._failures) < NAMES_WATCHED_MAX:
                failures.append(now)
                self._failures[person_id] = failures
            raise LoginFault("TQ-LG-01", "this name with this secret is not known", "check both; capitals count")
        self._failures.pop(person_id, None)
        if role is not None and role not in person.roles:
            raise LoginFault(
                "TQ-LG-03", f"{person_id} does not have the role {role.value}", f"ask a {role.value} of the office"
            )
        return person

    async def knows(self, person_id: str, secret: str) -> bool:
        """Whether the secret is theirs; for callers that count failures themselves."""
        person = self._people.get(person_id)
        if person is None or len(secret) > SECRET_LENGTH_MAX:
            return False
        return await self._compute.run(_matches, self._hasher, person.secret, secret)


def hash_secret(secret: str) -> str:
    """The Argon2id hash that stands in the configuration."""
    return PasswordHasher().hash(secret)


def _matches(hasher: PasswordHasher, stored: str, secret: str) -> bool:
    try:
        return hasher.verify(stored, secret)
    except (VerificationError, InvalidHashError):
        return False
