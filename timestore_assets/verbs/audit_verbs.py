"""Who changed what, when and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timestore_assets.model.errors import InputError
from timestore_assets.verbs.workplace import Workplace

if TYPE_CHECKING:
    from timestore_assets.catalog.audit import AuditFilter


class AuditVerbs(Workplace):
    """Looking into the audit."""

    def audit(
        self,
        name: str | None = None,
        *,
        only: AuditFilter | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[dict[str, Any]]:
        """Rows of the audit, the newest first, each with a sentence for people as `summary`.

        `name`: of a dataset that is, or was, declared; those of that name that were dropped are among them. `before`: id of the
        row that the page before ended with.

        Raises:
            InputError: the catalog has never had a dataset of that name.
        """
        from timestore_assets.catalog.audit import ANY
        from timestore_assets.catalog.audit_sentences import sentence

        ids = None if name is None else self.catalog.life.ids(name)
        if ids == []:
            raise InputError(f"there is no dataset {name!r} in the catalog; `timestore status` lists those there are")
        rows = self.catalog.audit.newest(dataset_ids=ids, limit=limit, before=before, only=only or ANY)
        return [{**row, "summary": sentence(row)} for row in rows]
