"""Late records for tests: batches of a topic that a dataset with `late: {policy: hold}` holds."""

from __future__ import annotations

from datetime import UTC, datetime

from timestore_assets.warehouse import Warehouse
from timestore_assets_tests.support.dead_letter_replays import Message, land_topic
from timestore_assets_tests.support.landing_warehouse import LandingWarehouse

BORDER = datetime(2024, 2, 1, tzinfo=UTC)
"""What is before it is late."""


def hold(warehouse: Warehouse, name: str, *documents: str, offset: int = 0) -> None:
    """Land records of the topic as one batch; those before the border are held."""
    dataset = warehouse.declared(name)
    ground = LandingWarehouse(
        root=warehouse.settings.home_folder,
        catalog=warehouse.catalog,
        store=warehouse.storage.target("default"),
        limits=warehouse.limits,
        dataset=dataset,
        now=datetime.now(UTC),
    )
    messages = [Message(value=text.encode(), offset=offset + at) for at, text in enumerate(documents)]
    land_topic(ground, messages, source=dataset.kafka_sources[0], late_before=BORDER)
