"""The `evolution:` of a declaration: the contract's modes, and the older spellings of the same."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from timestore_assets.declaration.alert_list import channel_names
from timestore_assets.model.contract import ContractMode
from timestore_assets.model.dataset import BackfillPolicy, Evolution
from timestore_assets.model.errors import DeclarationError

NewColumns = Literal["add", "ignore", "reject"]
_NEW_COLUMNS: dict[NewColumns, ContractMode] = {"add": "evolve", "ignore": "discard_value", "reject": "discard_row"}


class EvolutionAttributes(BaseModel):
    """What records may change about the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: ContractMode | None = Field(
        None,
        description="What a column nobody declared does: `evolve` (it is added, the default), `freeze` (landing stops there), "
        "`discard_value` (it is left out and counted), `discard_row` (its records become dead letters).",
    )
    types: ContractMode | None = Field(
        None,
        description="What a value does that doesn't fit the type of a column that was found in the data: `evolve` (the type "
        "widens: bool, int64, double, string; the default), `freeze`, `discard_value` (it is null and counted), `discard_row`.",
    )
    new_columns: NewColumns | None = Field(
        None, description="Another spelling of `columns`: add = evolve, ignore = discard_value, reject = discard_row."
    )
    widen: bool | None = Field(None, description="Another spelling of `types`: true = evolve, false = discard_row.")
    max_new_columns: int = Field(50, ge=0, description="Most new columns a day; records with more become dead letters.")
    notify: str | list[str] = Field(
        default_factory=list,
        description="Channels of TIMESTORE_ALERT_CHANNELS, one or a list, that get each new version of the schema as a message.",
    )
    backfill: BackfillPolicy = Field("ask", description="Who says that partitions are rewritten for a new schema version.")


def evolution_of(declared: EvolutionAttributes) -> Evolution:
    """The policy of a declaration.

    Raises:
        DeclarationError: a mode is said twice, or a channel's name is none.
    """
    if declared.columns is not None and declared.new_columns is not None:
        raise DeclarationError("says what `columns` says; leave one of them out", key="evolution.new_columns")
    if declared.types is not None and declared.widen is not None:
        raise DeclarationError("says what `types` says; leave one of them out", key="evolution.widen")
    columns = declared.columns or _NEW_COLUMNS[declared.new_columns or "add"]
    return Evolution(
        columns=columns,
        types=declared.types or ("discard_row" if declared.widen is False else "evolve"),
        max_new_columns=declared.max_new_columns,
        notify=channel_names(declared.notify, key="evolution.notify"),
        backfill=declared.backfill,
    )
