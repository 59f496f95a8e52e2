"""The catalog's tables, the same on SQLite and PostgreSQL. `migrations/` makes them; a test keeps the two equal.

Times are microseconds since 1970 (`catalog.instants`); lists and mappings are JSON text that nothing but this package reads.
Ids never come back after a delete (AUTOINCREMENT, identity), because a file name, a `__source` or a lease may outlive its row.
"""

from __future__ import annotations

from timestore_assets.catalog.dataset_tables import (
    backfills,
    dataset_schemas,
    datasets,
    declarations,
    former_names,
    migrations,
    policies,
    saved_queries,
    tags,
)
from timestore_assets.catalog.landing_tables import (
    file_chunks,
    files,
    idempotency_keys,
    ingestions,
    intents,
    landed_rows,
    late_records,
    leases,
    lost_offsets,
    sessions,
    source_partitions,
    sources,
    topics,
)
from timestore_assets.catalog.ledger_tables import (
    alert_messages,
    alert_states,
    audit,
    event_cursors,
    outbox,
    tokens,
)
from timestore_assets.catalog.object_tables import (
    archives,
    build_requests,
    collected_objects,
    dead_letter_files,
    partitions,
    retractions,
    segment_stats,
    segments,
    warehouse,
    warehouse_targets,
)

HEAD = "0011"
"""The newest migration. A catalog that is stamped with it opens without importing Alembic."""

__all__ = [
    "HEAD",
    "alert_messages",
    "alert_states",
    "archives",
    "audit",
    "backfills",
    "build_requests",
    "collected_objects",
    "dataset_schemas",
    "datasets",
    "dead_letter_files",
    "declarations",
    "event_cursors",
    "file_chunks",
    "files",
    "former_names",
    "idempotency_keys",
    "ingestions",
    "intents",
    "landed_rows",
    "late_records",
    "leases",
    "lost_offsets",
    "migrations",
    "outbox",
    "partitions",
    "policies",
    "retractions",
    "saved_queries",
    "segment_stats",
    "segments",
    "sessions",
    "source_partitions",
    "sources",
    "tags",
    "tokens",
    "topics",
    "warehouse",
    "warehouse_targets",
]
