"""Times as meters spell them (IEC 62056-6-2, 4.6): date, hour, deviation from UTC, status. Floor: protocols; reading.

The standard counts the deviation from local time *to* UTC: Tashkent, five hours ahead, is -300. Some makers count the
other way, some leave it out: both are quirks of a meter's profile, given here as arguments. Fields may be "not
specified" (FF); a time of which more than the deviation, hundredths and day of week are missing has no UTC.
"""

import struct
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from protocols.dlms.faults import local_fault, malformed

SIZE = 12
DEVIATION_UNKNOWN = -0x8000
DEVIATION_MIN_MAX = 840
INVALID = 0x01
"""Clock status: the meter lost its time."""
DOUBTFUL = 0x02
"""Clock status: the time may be wrong."""
SUMMER = 0x80
"""Clock status: daylight saving is in force, and is in the deviation already."""
_UNKNOWN = 0xFF
_FORM = struct.Struct(">HBBxBBBxhB")
"""Year, month, day, hour, minute, second, deviation, status; day of week and hundredths are passed over."""
_TIME_OF_DAY = struct.Struct(">4BhB")
"""Hour, minute, second, hundredths, deviation, status."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
_EPOCH_DAY = _EPOCH.toordinal()
DAYS_REMEMBERED = 512
"""A year's rows, read or written, and some strays."""
STAMPS_REMEMBERED = 4_096
"""Six weeks of quarter hours: 0.7 MB."""


class CosemTime(NamedTuple):
    """A date-time of a meter."""

    local_s: int
    """As the meter's own clock shows it, in seconds since its own 1970."""
    deviation_min: int | None
    """Minutes from local time to UTC as the standard counts them; None: not told."""
    status: int | None
    """Clock status bits; None: not told."""

    def utc(self, offset_min: int, *, reversed_sign: bool = False) -> int:
        """UTC seconds. `offset_min`: local time minus UTC where the meter does not tell; Tashkent 300."""
        ahead_min = offset_min if self.deviation_min is None else -self.deviation_min
        if reversed_sign and self.deviation_min is not None:
            ahead_min = -ahead_min
        return self.local_s - ahead_min * 60

    @property
    def local(self) -> datetime:
        """As the meter's own clock shows it, without a zone."""
        return _EPOCH + timedelta(seconds=self.local_s)


@lru_cache(STAMPS_REMEMBERED)
def read_time(raw: bytes) -> CosemTime | None:
    """A date-time of 12 bytes; None when the meter does not say which moment.

    The stamps of profile rows are the same in every meter, so what was read lately is remembered.

    Raises:
        DlmsFault: TQ-DM-02 for another size or a date that does not exist.

    """
    if len(raw) != SIZE:
        raise malformed("date-time", raw)
    year, month, day, hour, minute, second, deviation, status = _FORM.unpack(raw)
    if year == 0xFFFF or month >= 0xFD or day >= 0xFD or _UNKNOWN in (hour, minute):
        return None
    if second == _UNKNOWN:
        second = 0
    try:
        day_s = _day_s(year, month, day)
    except ValueError:
        raise malformed("date-time", raw) from None
    if hour > 23 or minute > 59 or second > 59:
        raise malformed("date-time", raw)
    if deviation != DEVIATION_UNKNOWN and abs(deviation) > DEVIATION_MIN_MAX:
        raise malformed("date-time", raw)
    if not 1970 <= year <= 9000:
        return None
    return CosemTime(
        day_s + hour * 3600 + minute * 60 + second,
        None if deviation == DEVIATION_UNKNOWN else deviation,
        None if status == _UNKNOWN else status,
    )


@lru_cache(DAYS_REMEMBERED)
def _day_s(year: int, month: int, day: int) -> int:
    """The first second of a day; the rows of one profile share a few days. Raises ValueError when there is none."""
    return (date(year, month, day).toordinal() - _EPOCH_DAY) * 86_400


@lru_cache(DAYS_REMEMBERED)
def _date_bytes(day: int) -> bytes:
    """Year, month, day, day of week of the day with that number since 1970."""
    shown = date.fromordinal(day + _EPOCH_DAY)
    return shown.year.to_bytes(2) + bytes((shown.month, shown.day, shown.isoweekday()))


def encode_time(
    utc: int, offset_min: int, *, deviation: bool = True, reversed_sign: bool = False, status: int = 0
) -> bytes:
    """A date-time of 12 bytes for a moment in UTC seconds, in a local time `offset_min` minutes ahead of UTC.

    `deviation` False leaves the deviation unspecified, as meters that ignore it want it.

    Raises:
        DlmsFault: TQ-DM-76 for a moment outside the years 1970 to 9000.

    """
    if not 0 <= utc < 221_845_392_000:
        raise local_fault("TQ-DM-76", f"{utc} is no time a meter can show")
    day, second = divmod(utc + offset_min * 60, 86_400)
    told = (offset_min if reversed_sign else -offset_min) if deviation else DEVIATION_UNKNOWN
    return _date_bytes(day) + _TIME_OF_DAY.pack(second // 3600, second // 60 % 60, second % 60, 0, told, status)
