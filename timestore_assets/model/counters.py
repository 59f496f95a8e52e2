"""What became of the records that were read, in numbers: one list of dispositions for all who count or show them."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """Dispositions of records (I2): read = landed + duplicates + late_dropped + held + dead_letters.

    The fields are in the order in which they are shown.
    """

    read: int = 0
    landed: int = 0
    duplicates: int = 0
    """Equal to a record that landed before."""
    late_dropped: int = 0
    """Later than the dataset allows, and kept as dead letters only."""
    held: int = 0
    """Later than the dataset allows, and kept until somebody decides."""
    dead_letters: int = 0
    """Refused."""

    def __add__(self, other: Counters) -> Counters:
        return Counters(**{name: count + getattr(other, name) for name, count in self.items()})

    def items(self) -> tuple[tuple[str, int], ...]:
        """Each counter with its name, in the order of the fields."""
        return tuple((name, getattr(self, name)) for name in COUNTERS)

    @property
    def unaccounted(self) -> int:
        """Records read of which nothing else is known; 0 as long as I2 holds."""
        return self.read - sum(number for name, number in self.items() if name != "read")

    @property
    def balanced(self) -> bool:
        return self.unaccounted == 0


COUNTERS = tuple(field.name for field in fields(Counters))
DISPOSITIONS = COUNTERS[1:]
"""What a record that was read ends as."""
NO_COUNTS = Counters()
