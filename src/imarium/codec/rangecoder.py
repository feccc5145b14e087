"""A binary adaptive range coder, for symbols that are few but cost a fraction of a bit.

The coder of Martin's range encoding with binary decisions and carry propagation, 11-bit probabilities that
move by 1/16 of their distance after every decision. docs/design/pack-format.md defines it to the bit.
"""

from __future__ import annotations

from imarium.errors import IntegrityError

HALF = 1 << 10
_BITS = 11
_RATE = 4
_TOP = 1 << 24
_MASK = (1 << 32) - 1


def start(*shares: float) -> list[int]:
    """Probabilities to start from, for shares of decisions that are a zero."""
    return [round(share * (1 << _BITS)) for share in shares]


class Encoder:
    """Collects decisions into bytes. Probabilities are lists that encoder and decoder change alike."""

    def __init__(self) -> None:
        self._low = 0
        self._range = _MASK
        self._out = bytearray()
        self._used = False

    def bit(self, probabilities: list[int], context: int, value: int) -> int:
        """Code a decision and return it; `probabilities[context]` is that of a zero, in 1/2048."""
        self._used = True
        probability = probabilities[context]
        bound = (self._range >> _BITS) * probability
        if value:
            self._low += bound
            self._range -= bound
            probabilities[context] = probability - (probability >> _RATE)
        else:
            self._range = bound
            probabilities[context] = probability + ((2048 - probability) >> _RATE)
        while self._range < _TOP:
            self._shift()
        return value

    def bits(self, count: int, value: int) -> int:
        """Code the lowest `count` bits of a number, as likely 0 as 1 each, highest first, and return them."""
        self._used = True
        for place in range(count - 1, -1, -1):
            self._range >>= 1
            if value >> place & 1:
                self._low += self._range
            while self._range < _TOP:
                self._shift()
        return value & ((1 << count) - 1)

    def _shift(self) -> None:
        if self._low > _MASK:
            self._carry()
        self._out.append(self._low >> 24)
        self._low = (self._low << 8) & _MASK
        self._range <<= 8

    def _carry(self) -> None:
        self._low &= _MASK
        place = len(self._out) - 1
        while self._out[place] == 0xFF:
            self._out[place] = 0
            place -= 1
        self._out[place] += 1

    def finish(self) -> bytes:
        """The bytes; none if nothing was coded. Zeros at the end are left out."""
        if not self._used:
            return b""
        # Any number from low to low + range - 1 will do: the one with the most zeros at its end.
        high = self._low + self._range - 1
        for zeros in range(31, -1, -1):
            value = high >> zeros << zeros
            if value >= self._low:
                break
        self._low = value
        if self._low > _MASK:
            self._carry()
        self._out += self._low.to_bytes(4, "big")
        return bytes(self._out).rstrip(b"\0")


class Decoder:
    """The inverse of `Encoder`; reads zeros beyond the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 4
        self._range = _MASK
        self._code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def bit(self, probabilities: list[int], context: int, _value: int = 0) -> int:
        """The next decision, whatever is given."""
        probability = probabilities[context]
        bound = (self._range >> _BITS) * probability
        if self._code < bound:
            self._range = bound
            probabilities[context] = probability + ((2048 - probability) >> _RATE)
            value = 0
        else:
            self._code -= bound
            self._range -= bound
            probabilities[context] = probability - (probability >> _RATE)
            value = 1
        while self._range < _TOP:
            self._shift()
        return value

    def bits(self, count: int, _value: int = 0) -> int:
        """The next `count` bits as a number, whatever is given."""
        value = 0
        for _ in range(count):
            self._range >>= 1
            bit = self._code >= self._range
            if bit:
                self._code -= self._range
            value = value << 1 | bit
            while self._range < _TOP:
                self._shift()
        return value

    def _shift(self) -> None:
        place = self._place
        following = self._data[place] if place < len(self._data) else 0
        # Far beyond the end the data are not what an encoder wrote; do not go on for ever.
        if place > len(self._data) + (1 << 20):
            raise IntegrityError("a stored part ends too early")
        self._place = place + 1
        self._code = (self._code << 8 | following) & _MASK
        self._range <<= 8


Coder = Encoder | Decoder
"""Takes the decisions that are to be coded and returns them, or returns those that were coded."""
