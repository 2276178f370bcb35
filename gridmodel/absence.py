"""Why a meter has no fresh reading, by name. Ground floor; on the reading walk.

The faults of every wire name one of these (`protocols.errors`), metering adds what only it can see, the store keeps the
present one of each meter, and faces say it in words: a meter that nobody hears is never just "no data".
"""

from enum import StrEnum


class Absence(StrEnum):
    """What stands between a meter and its fresh reading. The values are stored and never change."""

    NEVER_ASKED = "never_asked"
    """Its first turn has not come yet."""
    UNREACHABLE = "unreachable"
    """Its address, gateway or concentrator takes or keeps no connection."""
    SILENT = "silent"
    """The way is there, and the meter does not answer, or not to the end."""
    SUSPENDED = "suspended"
    """It stayed silent again and again, and is probed once a minute only."""
    WRONG_METER = "wrong_meter"
    """Another serial number or system title answers in its place."""
    SECURITY = "security"
    """Keys, password or counters do not fit: the meter refuses us, or we cannot believe it."""
    REFUSED = "refused"
    """It answers, and refuses what its profile asks for."""
    NOT_UNDERSTOOD = "not_understood"
    """What it answers breaks a rule of its protocol or profile."""
    NO_VALUE = "no_value"
    """It answers that it has no value, or one that cannot be booked for this interval."""
    QUEUE_FULL = "queue_full"
    """Too many calls wait for its bus already."""
    INTERVAL_OVER = "interval_over"
    """Its turn or its answer came after the interval had ended."""
    NO_PROFILE = "no_profile"
    """No profile or no driver for its model."""
    MISCONFIGURED = "misconfigured"
    """Registry or profile ask for what cannot be: nothing was sent."""
    CLOCK_DOUBTFUL = "clock_doubtful"
    """It answered, and the node's own clock is in doubt: no register is stamped by it."""
