"""Where a column's value is in a record: a name, names of members of objects, places in arrays."""

from __future__ import annotations

from dataclasses import dataclass

Step = str | int
"""A member's name, or a place in an array counted from 0."""
_MARKS = frozenset(".[]'\"*")


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldPath:
    """`column`: whose values are there. `steps`: the field of the record that it begins with, and what leads on from there."""

    column: str
    steps: tuple[Step, ...]

    @property
    def root(self) -> str:
        """The field of the record that it begins with."""
        return str(self.steps[0])

    @property
    def flat(self) -> str:
        """What a record that was flattened calls the field (`properties.time`)."""
        return ".".join(map(str, self.steps))

    @property
    def text(self) -> str:
        """As a declaration writes it."""
        return path_text(self.steps)


def path_text(steps: tuple[Step, ...]) -> str:
    """Steps as a declaration writes them: `a.b`, `a[0].b`, `['a.b'].c`."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not step or _MARKS & set(step):
            quote = '"' if "'" in step else "'"
            text += f"[{quote}{step}{quote}]"
        else:
            text += f".{step}" if text else step
    return text
