"""The catalog: what is in the warehouse and how far it has come, one concern beside the other, on SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from timestore_assets.catalog.alerts import Alerts
from timestore_assets.catalog.archives import Archives
from timestore_assets.catalog.audit import AuditLog
from timestore_assets.catalog.backfills import Backfills
from timestore_assets.catalog.commits import Commits
from timestore_assets.catalog.database import PATIENCE_SECONDS, Database
from timestore_assets.catalog.dataset_life import DatasetLife
from timestore_assets.catalog.datasets import Datasets
from timestore_assets.catalog.dead_letter_files import DeadLetterFiles
from timestore_assets.catalog.dropped_datasets import DroppedDatasets
from timestore_assets.catalog.erasure import Erasures
from timestore_assets.catalog.event_cursors import EventCursors
from timestore_assets.catalog.expiry import Expiry
from timestore_assets.catalog.file_chunks import Chunks
from timestore_assets.catalog.file_reloads import FileReloads
from timestore_assets.catalog.files import Files
from timestore_assets.catalog.identity import Identity
from timestore_assets.catalog.ingestions import Ingestions
from timestore_assets.catalog.late_records import LateRecords
from timestore_assets.catalog.leases import Leases, ReadableVersions
from timestore_assets.catalog.long_requests import LongRequests
from timestore_assets.catalog.manifest import Manifest
from timestore_assets.catalog.migrate import ensure_current, revision
from timestore_assets.catalog.outbox import Outbox
from timestore_assets.catalog.partitions import Partitions
from timestore_assets.catalog.postgres import DEFAULT_LIMITS, PostgresLimits, renew_password
from timestore_assets.catalog.reloads import Reloads
from timestore_assets.catalog.repairs import Repairs
from timestore_assets.catalog.replacement import SeenVersions
from timestore_assets.catalog.replica import Replica
from timestore_assets.catalog.retractions import Retractions
from timestore_assets.catalog.rollbacks import Rollbacks
from timestore_assets.catalog.schema_migrations import SchemaMigrations
from timestore_assets.catalog.schema_restoring import SchemaRestores
from timestore_assets.catalog.sessions import Sessions
from timestore_assets.catalog.sources import Sources
from timestore_assets.catalog.stored_objects import Moving, StoredObjects
from timestore_assets.catalog.tables import HEAD
from timestore_assets.catalog.tags import Tags
from timestore_assets.catalog.tokens import Tokens
from timestore_assets.catalog.topics import StoredTopics
from timestore_assets.catalog.trimming import Trimming
from timestore_assets.catalog.versioned_rows import Declarations, Policies, SavedQueries
from timestore_assets.catalog.versions_in_time import VersionsInTime

DEFAULT_SCHEMA = "timestore"


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalog:
    """Its concerns. Each of their methods is one short transaction; threads may share them, and so may processes after a fork.

    Times are aware and UTC. Unknown ids raise KeyError (a bug, not an input).
    """

    database: Database
    """What the concerns share; nobody else needs it."""
    replica: Replica | None
    """What queries plan by as far as it has come, if there is one."""

    # what is declared, and where its records come from
    datasets: Datasets
    """Declarations and the history of their schemas."""
    declarations: Declarations
    migrations: SchemaMigrations
    """Changes of columns that people asked for."""
    schema_restores: SchemaRestores
    """Taking them back."""
    archives: Archives
    """Files with what dropped columns held."""
    life: DatasetLife
    """Dropping, renaming and retiring datasets."""
    policies: Policies
    sources: Sources
    """Sources with their checkpoints and counters."""
    files: Files
    """What content stands at which address of a source, and what became of it."""
    file_reloads: FileReloads
    """Files that are to be landed again."""
    chunks: Chunks
    """Parts of large files."""
    reloads: Reloads
    """Windows of topics that are read again."""
    topics: StoredTopics
    """Topic partitions: who reads them, and what the broker lost."""

    # who is at work
    sessions: Sessions
    """Sessions with their heartbeats, and the objects they announce."""
    leases: Leases
    """Exclusive claims that expire by themselves."""
    commits: Commits
    """The transactions that make manifest versions."""
    operations: LongRequests
    """What people asked for over HTTP that takes longer than a request."""
    rollbacks: Rollbacks
    """The one that shows an earlier version's rows again."""

    # what is there
    manifest: Manifest
    """Segments by manifest version."""
    versions: ReadableVersions
    """Which manifest versions can be read, and pins that keep them."""
    retractions: Retractions
    """Rows that people took out."""
    in_time: VersionsInTime
    """Which version was in force at a time, or is meant by a tag."""
    tags: Tags
    """Versions with a name, which are kept."""
    partitions: Partitions
    """Partitions, and the builds that were asked for."""
    backfills: Backfills
    """Rewrites that schema versions ask for."""
    expiry: Expiry
    """Partitions whose time is over, and what legal holds keep."""
    erasures: Erasures
    """What is never to be read again."""
    dead_letters: DeadLetterFiles
    late: LateRecords
    """The ledger of late data."""
    dropped: DroppedDatasets
    """What dropped datasets leave behind."""
    objects: StoredObjects
    """All objects by name, and those that may be deleted."""
    repairs: Repairs
    """What is proved beside segments, and what may be put right."""
    moving: Moving
    """Where objects are."""

    # what is told, kept for the service, and forgotten in time
    audit: AuditLog
    outbox: Outbox
    """Events for Dagster."""
    event_cursors: EventCursors
    """How far consumers of the audit have been told."""
    alerts: Alerts
    """How alerts stand, and messages about them."""
    ingestions: Ingestions
    tokens: Tokens
    saved_queries: SavedQueries
    trimming: Trimming
    identity: Identity
    """Which warehouse this is."""

    @classmethod
    def open(
        cls,
        url: str,
        *,
        schema: str = DEFAULT_SCHEMA,
        patience: float = PATIENCE_SECONDS,
        limits: PostgresLimits = DEFAULT_LIMITS,
        read_url: str | None = None,
        renew: Callable[[], str] | None = None,
    ) -> Catalog:
        """Open the catalog behind a `sqlite:` or `postgresql:` URL, making or migrating its tables when that is needed.

        Args:
            schema: PostgreSQL schema that holds the tables.
            patience: seconds to wait for another's transaction.
            read_url: a read replica, for what queries plan by.
            renew: gives the URL again, with the password as it is by then.

        Raises:
            InputError: the URL, the credentials or the file behind it are wrong.
            UnavailableError: the database can't be reached or stays locked.
            RefusedError: a newer version of this package made the catalog.
        """
        database = Database.open(url, schema=schema, patience=patience, limits=limits)
        if renew is not None:
            renew_password(database.engine, renew)
        try:
            replica = Replica.open(read_url, schema=schema, limits=limits) if read_url else None
            ensure_current(database)
        except BaseException:
            database.close()
            raise
        return cls.over(database, replica)

    @classmethod
    def over(cls, database: Database, replica: Replica | None = None) -> Catalog:
        """The catalog in a database whose tables are current."""
        progress = SeenVersions(database.replacement)
        return cls(
            database=database,
            replica=replica,
            datasets=Datasets(database, progress, replica),
            declarations=Declarations(database),
            migrations=SchemaMigrations(database, progress),
            schema_restores=SchemaRestores(database, progress),
            archives=Archives(database),
            life=DatasetLife(database),
            policies=Policies(database),
            sources=Sources(database),
            files=Files(database),
            file_reloads=FileReloads(database),
            chunks=Chunks(database),
            reloads=Reloads(database),
            topics=StoredTopics(database),
            sessions=Sessions(database),
            leases=Leases(database),
            commits=Commits(database, progress),
            operations=LongRequests(database),
            rollbacks=Rollbacks(database, progress),
            manifest=Manifest(database, replica),
            versions=ReadableVersions(database, progress),
            retractions=Retractions(database, progress),
            in_time=VersionsInTime(database),
            tags=Tags(database),
            partitions=Partitions(database),
            backfills=Backfills(database),
            expiry=Expiry(database),
            erasures=Erasures(database),
            dead_letters=DeadLetterFiles(database),
            late=LateRecords(database),
            dropped=DroppedDatasets(database),
            objects=StoredObjects(database),
            repairs=Repairs(database),
            moving=Moving(database),
            audit=AuditLog(database),
            outbox=Outbox(database),
            event_cursors=EventCursors(database),
            alerts=Alerts(database),
            ingestions=Ingestions(database),
            tokens=Tokens(database),
            saved_queries=SavedQueries(database),
            trimming=Trimming(database),
            identity=Identity(database),
        )

    def close(self) -> None:
        self.database.close()
        if self.replica is not None:
            self.replica.close()

    @property
    def place(self) -> str:
        """What errors call the catalog (no password in it)."""
        return self.database.place

    def is_current(self) -> bool:
        """Whether the tables are (still) those that this version of the package reads and writes.

        Raises:
            CatalogReplacedError: the catalog is another one, or an older one, than this process has seen.
        """
        current = self.database.read(revision) == HEAD
        if current:
            self.identity.look()
        return current
