"""From files that are ready to the landing runs that are asked for: at once, later, or not any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from timestore_assets.model.dataset import Dataset, FileSource
from timestore_assets.orchestration.attempts import attempts, digest_of
from timestore_assets.orchestration.names import DATASET_TAG, FILES_TAG, SHARE_TAG, SOURCE_TAG, landing_op
from timestore_assets.settings import Settings
from timestore_assets.sources.files.listing import ListedFile


@dataclass(frozen=True, kw_only=True, slots=True)
class NotNow:
    """Why no run is asked for. `given_up`: nor will one be, unless the files change."""

    reason: str
    given_up: bool = False


def source_tags(dataset: Dataset, source: FileSource) -> dict[str, str]:
    """What runs of a source are found by."""
    return {DATASET_TAG: dataset.name, SOURCE_TAG: digest_of([source.address])}


def landing_requests(
    instance: dg.DagsterInstance, dataset: Dataset, source: FileSource, files: Sequence[ListedFile], settings: Settings
) -> list[dg.RunRequest] | NotNow:
    """The runs that land these files: one, or several that share them when there are more bytes than one should take."""
    digest = digest_of([dataset.name, source.address, *(f"{file.address}\0{file.etag}" for file in files)])
    tried = attempts(instance, FILES_TAG, digest)
    if tried.exhausted(settings.partition_build_attempts):
        text = (
            f"landing {counted(files)} failed {tried.count} times, last in run {tried.last_run[:8]}; mend what it says, "
            f"then launch the job by hand or touch one of the files"
        )
        return NotNow(reason=text, given_up=True)
    due = tried.next_at(timedelta(milliseconds=settings.partition_build_backoff_ms))
    if due is not None and due > datetime.now(UTC):
        return NotNow(reason=f"{counted(files)} failed to land in run {tried.last_run[:8]}; tried again at {due:%H:%M:%S} UTC")
    size = sum(file.size for file in files)
    config = {"source": source.address, "files": [file.address for file in files], "bytes": size}
    runs = max(1, min(settings.bulk_runs, -(-size // settings.bulk_run_bytes)))
    key, tags = f"{dataset.name}:{digest}:{tried.count}", source_tags(dataset, source)
    if runs == 1:
        return [_request(dataset, key, config, {**tags, FILES_TAG: digest})]
    return [
        _request(
            dataset,
            f"{key}:{share}",
            {**config, "share": number, "of": runs},
            # the first one stands for the group when attempts are counted
            {**tags, SHARE_TAG: share, FILES_TAG: f"{digest}:{share}" if number else digest},
        )
        for number in range(runs)
        for share in [f"{number}/{runs}"]
    ]


def counted(files: Sequence[ListedFile]) -> str:
    """`1 file`, `1,234 files`."""
    return "1 file" if len(files) == 1 else f"{len(files):,} files"


def _request(dataset: Dataset, key: str, config: dict[str, Any], tags: dict[str, str]) -> dg.RunRequest:
    return dg.RunRequest(run_key=key, run_config={"ops": {landing_op(dataset.name): {"config": config}}}, tags=tags)
