"""What `serve` hands to the service for files that are uploaded: the proposal that `init` makes, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timestore_assets.model.errors import InputError

if TYPE_CHECKING:
    from timestore_assets.service.admin.uploads import ProposedDataset, Proposer, UploadWishes
    from timestore_assets.warehouse import Warehouse


def proposer_for(warehouse: Warehouse) -> Proposer:
    """Looks at files within the limits of this warehouse, and keeps clear of the folders that its datasets watch."""

    def propose(file: Path, wishes: UploadWishes) -> ProposedDataset:

        from timestore_assets.cli.init import look_at
        from timestore_assets.cli.proposal.proposal_yaml import to_yaml
        from timestore_assets.cli.proposal.propose import ProposalOptions, name_of
        from timestore_assets.service.admin.uploads import ProposedColumn, ProposedDataset

        name = wishes.name or name_of(file)
        others = [one for one in warehouse.datasets.values() if one.name != name]
        watched = tuple(source.prefix for one in others for source in one.file_sources)
        options = ProposalOptions(
            name=name, time=wishes.time, time_format=wishes.time_format, window=wishes.window, watched=watched
        )
        found = look_at(file, warehouse.settings, options)
        declaration = to_yaml(found)
        return ProposedDataset(
            name=found.name,
            format=found.sample.format,
            rows=found.sample.rows,
            complete=found.sample.complete,
            time=found.time.name,
            window=found.window.value,
            columns=tuple(
                ProposedColumn(name=one.name, type=one.kind, missing=one.missing + one.tokens, example=one.example, note=one.note)
                for one in found.sample.guesses
            ),
            remarks=found.remarks,
            attributes=_attributes(declaration),
            declaration=declaration,
        )

    return propose


def _attributes(declaration: str) -> dict[str, Any]:
    """What a `defs.yaml` says below `attributes`, as JSON has it; the name is said elsewhere."""
    import yaml

    attributes: Mapping[str, Any] = yaml.safe_load(declaration)["attributes"]
    plain = _plain(attributes)
    if not isinstance(plain, dict):
        raise InputError("the file gave no declaration")
    return {key: value for key, value in plain.items() if key != "name"}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, date | datetime) else value
