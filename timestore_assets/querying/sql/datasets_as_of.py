"""The datasets of a statement as they are now, or with the columns that they had at the versions that are meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from timestore_assets.catalog.records import DatasetRecord
from timestore_assets.model.as_of import AsOf, AsOfEach
from timestore_assets.model.dataset import Dataset
from timestore_assets.model.errors import InputError
from timestore_assets.querying.reading.querier import Querier

Datasets = Mapping[str, tuple[Dataset, DatasetRecord]]
_MOST_PROBLEMS = 3


class DatasetsAsOf(Mapping[str, tuple[Dataset, DatasetRecord]]):
    """For one statement: which version of each dataset it reads, decided once, and the dataset as it was then.

    Without `as_of`, and for datasets that it does not name, they are the newest ones, as they are given.
    """

    def __init__(self, querier: Querier, datasets: Datasets, as_of: AsOfEach | None) -> None:
        self._querier, self._datasets, self._as_of = querier, datasets, as_of
        self._named = {name.lower(): one for name, one in as_of.items()} if isinstance(as_of, Mapping) else {}
        self._newest: dict[str, tuple[Dataset, DatasetRecord]] = {}
        self._then: dict[str, tuple[int, tuple[Dataset, DatasetRecord]]] = {}

    def __getitem__(self, name: str) -> tuple[Dataset, DatasetRecord]:
        """Raises InputError: what is meant is no version of that dataset."""
        meant = self._meant(name)
        return self._now(name) if meant is None else self._found(name, meant)[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)

    def version(self, name: str) -> int | None:
        """The version that is meant, None for the newest; errors as `[name]`."""
        meant = self._meant(name)
        return None if meant is None else self._found(name, meant)[0]

    def column_names(self, name: str) -> Sequence[str]:
        """Of a dataset that the text may only seem to mention, so that it need not have such a version."""
        try:
            return self[name][1].schema.names
        except InputError:
            return self._now(name)[1].schema.names

    def require(self, read: Sequence[str]) -> None:
        """See that what is meant makes sense for a statement that reads these datasets.

        Raises:
            InputError: it is the number of one dataset's version, names one that is not read, or is no version of one that is.
        """
        shown = ", ".join(read)
        if isinstance(self._as_of, int) and len(read) > 1:
            raise InputError(
                f"as of {self._as_of}: a number is a version of one dataset, and the statement reads {shown}; "
                f"give a time or a tag, or the number by name, as {read[0]}={self._as_of}"
            )
        for name in self._named.keys() - {one.lower() for one in read}:
            raise InputError(f"as of: the statement does not read {name[:80]!r}; it reads {shown or 'no dataset'}")
        problems = []
        for name in read:
            try:
                self.version(name)
            except InputError as error:
                problems.append(str(error))
        if problems:
            raise InputError("; ".join(problems[:_MOST_PROBLEMS]))

    def _meant(self, name: str) -> AsOf | None:
        return self._named.get(name.lower()) if isinstance(self._as_of, Mapping) else self._as_of

    def _now(self, name: str) -> tuple[Dataset, DatasetRecord]:
        """The newest, looked up once."""
        if name not in self._newest:
            self._newest[name] = self._datasets[name]
        return self._newest[name]

    def _found(self, name: str, meant: AsOf) -> tuple[int, tuple[Dataset, DatasetRecord]]:
        if name not in self._then:
            dataset, record = self._now(name)
            version = self._querier.catalog.in_time.find(record.id, meant)
            self._then[name] = version, self._querier.in_force(dataset, record, version)
        return self._then[name]


def as_meant(querier: Querier, datasets: Datasets) -> DatasetsAsOf:
    """The datasets as somebody means them already, else the newest ones."""
    return datasets if isinstance(datasets, DatasetsAsOf) else DatasetsAsOf(querier, datasets, None)
