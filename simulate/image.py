"""A meter's register image: values into the bytes that its profile decodes again. Floor: simulate; reading walk.

The exact inverse of `protocols.modbus.section.ValueField.value`, so that fleets on sockets and the driver in memory
serve the same bytes, with the resolution and the end of the real register.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gridmodel.reading import Channel
from protocols.modbus.codec import READ_HOLDING, READ_INPUT
from protocols.modbus.section import REGISTER_KEY, ValueField, modbus_plan
from protocols.profile import MeterProfile

_PACKERS = {
    "u16": struct.Struct(">H"),
    "i16": struct.Struct(">h"),
    "u32": struct.Struct(">I"),
    "i32": struct.Struct(">i"),
    "u64": struct.Struct(">Q"),
    "i64": struct.Struct(">q"),
    "f32": struct.Struct(">f"),
    "f64": struct.Struct(">d"),
}


def encode_value(field: ValueField, value: int | None) -> bytes:
    """The bytes a meter shows for `value` in its base unit: cut to the register's resolution and range.

    None becomes the field's first null pattern (NaN in floats, zero where the model has no way to say it).
    """
    packer = _PACKERS[field.type]
    if value is None:
        if field.nulls:
            return field.nulls[0]
        raw = packer.pack(float("nan")) if field.type in ("f32", "f64") else packer.pack(0)
    elif field.type in ("f32", "f64"):
        raw = packer.pack(value * field.denominator / field.numerator)
    else:
        bits = 8 * field.size
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if field.type[0] == "i" else (0, (1 << bits) - 1)
        raw = packer.pack(max(low, min(high, value * field.denominator // field.numerator)))
    return b"".join(raw[at : at + 2] for at in range(field.size - 2, -1, -2)) if field.swapped else raw


class Display(Protocol):
    """What the truth must know of a meter's model."""

    @property
    def has_relay(self) -> bool:
        """Whether it can be disconnected."""
        ...

    def served_wh(self, channel: Channel, register_wh: int) -> int:
        """What a reader decodes when the exact register is `register_wh`; 0 for a channel the model lacks."""
        ...


class ProfileImage:
    """One meter model as its register map shows it."""

    def __init__(self, profile: MeterProfile) -> None:
        """Raises `ProfileFault` for a profile that is no sound Modbus profile."""
        self.profile = profile
        self.plan = modbus_plan(profile)
        self.fields = tuple(
            (block.function, block.address + field.offset // 2, field)
            for block in self.plan.poll
            for field in block.fields
        )
        self.tells_serial = any(field.key == "serial" for _, _, field in self.fields)
        """Whether the model has a register for its serial number."""
        self._sizes = {
            function: max((at + field.size // 2 for code, at, field in self.fields if code == function), default=0)
            for function in (READ_HOLDING, READ_INPUT)
        }
        energy = {key: field for _, _, field in self.fields for key in (field.key,) if key.startswith(REGISTER_KEY)}
        self._energy = {channel: energy[key] for key, channel in self.plan.channels.items()}
        self._counts_max = {channel: (1 << 8 * field.size - 1) - 1 for channel, field in self._energy.items()}
        """Below it a count is neither cut to the register's end nor a null pattern."""
        self._nothing_wh = {channel: self._through_bytes(field, 0) for channel, field in self._energy.items()}
        """What a register that counted nothing shows: export, at most meters."""

    @property
    def has_relay(self) -> bool:
        """Whether the model has a relay."""
        return self.plan.relay is not None

    def served_wh(self, channel: Channel, register_wh: int) -> int:
        """What a reader of this model decodes when the exact register is `register_wh`; 0 for a channel it lacks."""
        field = self._energy.get(channel)
        if field is None:
            return 0
        if not register_wh:
            return self._nothing_wh[channel]
        value = self._wrapped(register_wh)
        if (
            field.type[0] in "iu"
            and 0 <= (count := value * field.denominator // field.numerator) < self._counts_max[channel]
        ):
            return count * field.numerator // field.denominator  # what the bytes say, without making them
        return self._through_bytes(field, value)

    @staticmethod
    def _through_bytes(field: ValueField, register_wh: int) -> int:
        return field.value(bytes(field.offset) + encode_value(field, register_wh)) or 0

    def draw(self, values: Mapping[str, int | None]) -> "RegisterImage":
        """The registers that show these values, keyed as the profile's fields; a missing one shows "no value"."""
        words = {function: bytearray(2 * size) for function, size in self._sizes.items()}
        for function, at, field in self.fields:
            value = values.get(field.key)
            if value is not None and field.key.startswith(REGISTER_KEY):
                value = self._wrapped(value)
            words[function][2 * at : 2 * at + field.size] = encode_value(field, value)
        return RegisterImage({function: bytes(content) for function, content in words.items()})

    def _wrapped(self, register_wh: int) -> int:
        wrap = self.profile.register_wh_wrap
        return register_wh % wrap if wrap else register_wh


@dataclass(frozen=True, slots=True)
class RegisterImage:
    """The registers of one meter at one moment."""

    words: Mapping[int, bytes]
    """Function code to its registers from address 0."""

    def read(self, function: int, address: int, count: int) -> bytes | None:
        """The bytes of `count` registers, None where the meter has none."""
        content = self.words.get(function, b"")
        data = content[2 * address : 2 * (address + count)]
        return data if len(data) == 2 * count else None
