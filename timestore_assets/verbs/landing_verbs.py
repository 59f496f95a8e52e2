"""Files land, and what was refused before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from timestore_assets.model.dataset import FileFormat, FileSource
from timestore_assets.verbs.workplace import Workplace

if TYPE_CHECKING:
    from timestore_assets.landing.dead_letters.replay import ReplayReport, Selection
    from timestore_assets.landing.files.context import Share
    from timestore_assets.landing.files.land_report import LandingListener, LandReport
    from timestore_assets.reload import UnsettledFiles
    from timestore_assets.sources.files.input_file import InputFile


class LandingVerbs(Workplace):
    """Landing of files, and of dead letters once more."""

    def land(
        self,
        name: str,
        files: Sequence[Path | InputFile],
        *,
        format: FileFormat | None = None,
        chunk_rows: int | None = None,
        progress: LandingListener | None = None,
        actor: str = "command line",
    ) -> LandReport:
        """Land files by the path that the sensor takes, under the dataset's first file source.

        A file below that source's prefix keeps its address there, any other is known by its absolute path or URI.
        """
        source = next(iter(self.declared(name).file_sources), FileSource(prefix=f"inbox/{name}/"))
        return self.land_source(name, source, files, format=format, chunk_rows=chunk_rows, progress=progress, actor=actor)

    def land_source(
        self,
        name: str,
        source: FileSource,
        files: Sequence[Path | InputFile],
        *,
        format: FileFormat | None = None,
        chunk_rows: int | None = None,
        share: Share | None = None,
        progress: LandingListener | None = None,
        actor: str = "sensor",
    ) -> LandReport:
        """Land files of one source of the dataset; see `landing.files.lander.Lander.land_files`."""
        from timestore_assets.landing.files.context import BulkLimits
        from timestore_assets.landing.files.lander import Lander

        dataset, _ = self._in_use(name)
        lander = Lander(self.writing, bulk=BulkLimits.of(self.settings))
        named = [*map(self.source_files(source).known_as, files)]
        return lander.land_files(
            dataset, source, named, format=format, chunk_rows=chunk_rows, share=share, progress=progress, actor=actor
        )

    def unsettled_files(self, name: str, start: datetime | None, end: datetime | None) -> UnsettledFiles:
        """The new and changed files of the dataset's own sources for times in `[start, end)`; see `reload.unsettled_files`."""
        from timestore_assets.reload import unsettled_files

        dataset, record = self.resolve(name)
        return unsettled_files(self.catalog, dataset, record, self.source_files, start, end)

    def land_unsettled(
        self,
        name: str,
        found: UnsettledFiles,
        *,
        format: FileFormat | None = None,
        chunk_rows: int | None = None,
        progress: LandingListener | None = None,
        actor: str = "command line",
    ) -> LandReport:
        """Land what `unsettled_files` found, by the path that the sensor takes."""
        from timestore_assets.reload import merged_reports

        reports = [
            self.land_source(name, source, files, format=format, chunk_rows=chunk_rows, progress=progress, actor=actor)
            for source, files in found
        ]
        return merged_reports(reports)

    def replay(self, name: str, selection: Selection | None = None, *, actor: str = "command line") -> ReplayReport:
        """Land what can be landed of a dataset's dead letters now; see `landing.dead_letters.replay.Replayer.replay`."""
        from timestore_assets.landing.dead_letters.replay import Replayer

        dataset, _ = self._in_use(name)
        return Replayer(self.writing).replay(dataset, selection, actor=actor)
