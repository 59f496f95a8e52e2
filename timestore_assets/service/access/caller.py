"""A caller's name and scopes, and which datasets they open."""

from __future__ import annotations

from dataclasses import dataclass

from timestore_assets.model.dataset import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Scopes:
    """Scopes with a meaning of their own: what stands in where a dataset declares none, and what opens everything."""

    read: str
    write: str
    admin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks. A dataset's own scopes stand in for the general ones; any is enough."""

    name: str
    """As the audit log shows it."""
    scopes: frozenset[str]
    known: Scopes

    @property
    def is_admin(self) -> bool:
        return self.known.admin in self.scopes

    def may_read(self, dataset: Dataset) -> bool:
        return self._holds(dataset.access.read or (self.known.read,))

    def may_write(self, dataset: Dataset) -> bool:
        return self._holds(dataset.access.write or (self.known.write,))

    def may_see(self, dataset: Dataset) -> bool:
        """Whether the caller may know that the dataset is there."""
        return self.may_read(dataset) or self.may_write(dataset)

    def _holds(self, wanted: tuple[str, ...]) -> bool:
        return self.is_admin or not self.scopes.isdisjoint(wanted)
