"""What the catalog keeps for the HTTP service alone, on both databases: ingestions, tokens, saved queries, declarations, …"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from timestore_assets.catalog.catalog import Catalog
from timestore_assets.catalog.commit_values import NewIngestion
from timestore_assets.catalog.service_records import SavedQuery
from timestore_assets.model.errors import ConflictError, InputError
from timestore_assets_tests.support.catalog_dataset import HOUR, WEATHER, CatalogDataset

NONE = timedelta(0)


def wanted(name: str, key: str | None = None, **changes: object) -> NewIngestion:
    made = NewIngestion(id=name, key=key, digest=f"digest-{name}", outcome={"landed": 10}, actor="token:a")
    return replace(made, **changes)


# --- ingestions


def test_an_ingestion_is_settled_by_the_commit_that_lands_it(catalog_dataset: CatalogDataset) -> None:
    version = catalog_dataset.land_of_requests(wanted("one", key="k"))
    found = catalog_dataset.catalog.ingestions.find("one")
    assert found is not None
    assert (found.state, found.dataset, found.key, found.outcome) == ("landed", "weather", "k", {"landed": 10})
    assert (found.manifest_version, found.actor, found.settled_at is not None) == (version, "token:a", True)
    assert catalog_dataset.catalog.ingestions.with_keys(catalog_dataset.id, ["k", "other"]) == {"k": found}


def test_a_commit_whose_key_is_used_by_now_writes_nothing(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_of_requests(wanted("one", key="k"))
    before = (
        catalog_dataset.live(),
        catalog_dataset.counters(),
        catalog_dataset.catalog.manifest.version(catalog_dataset.id),
        len(catalog_dataset.catalog.audit.newest()),
    )
    with pytest.raises(ConflictError, match="key"):
        catalog_dataset.land_of_requests(wanted("two", key="free"), wanted("three", key="k"))
    after = (
        catalog_dataset.live(),
        catalog_dataset.counters(),
        catalog_dataset.catalog.manifest.version(catalog_dataset.id),
        len(catalog_dataset.catalog.audit.newest()),
    )
    assert after == before
    assert catalog_dataset.catalog.ingestions.find("two") is catalog_dataset.catalog.ingestions.find("three") is None


def test_ingestions_without_a_key_never_meet(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_of_requests(wanted("one"), wanted("two"))
    assert catalog_dataset.catalog.ingestions.find("one") != catalog_dataset.catalog.ingestions.find("two")


def test_an_announced_ingestion_waits_and_is_settled_once(catalog_dataset: CatalogDataset) -> None:
    one = wanted("one", key="k", outcome={})
    assert catalog_dataset.catalog.ingestions.announce(catalog_dataset.id, catalog_dataset.session, one)
    assert not catalog_dataset.catalog.ingestions.announce(catalog_dataset.id, catalog_dataset.session, wanted("two", key="k"))
    found = catalog_dataset.catalog.ingestions.find("one")
    assert found is not None
    assert (found.state, found.outcome, found.manifest_version) == ("pending", {}, None)
    catalog_dataset.land_of_requests(replace(one, announced=True, outcome={"landed": 10}))
    settled = catalog_dataset.catalog.ingestions.find("one")
    assert settled is not None
    assert (settled.state, settled.outcome) == ("landed", {"landed": 10})
    with pytest.raises(ConflictError, match="settled by somebody else"):
        catalog_dataset.land_of_requests(replace(one, announced=True))


def test_what_a_dead_session_announced_is_abandoned_and_its_key_is_free(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    dead = catalog.sessions.begin(catalog_dataset.id, "landing", holder="dead", ttl=NONE)
    assert catalog.ingestions.announce(catalog_dataset.id, dead, wanted("one", key="k"))
    found = catalog.ingestions.find("one")
    assert found is not None and found.state == "abandoned"
    assert catalog.ingestions.with_keys(catalog_dataset.id, ["k"]) == {}
    assert catalog.ingestions.announce(catalog_dataset.id, catalog_dataset.session, wanted("two", key="k"))
    assert catalog.ingestions.find("one") is None
    # the dead one wakes up: it must not land what its client has sent again
    with pytest.raises(ConflictError):
        catalog_dataset.land_of_requests(wanted("one", key="k", announced=True))


def test_a_landed_ingestion_outlives_its_session(catalog_dataset: CatalogDataset) -> None:
    catalog_dataset.land_of_requests(wanted("one", key="k"))
    catalog_dataset.catalog.sessions.end(catalog_dataset.session)
    assert set(catalog_dataset.catalog.ingestions.with_keys(catalog_dataset.id, ["k"])) == {"k"}


def test_old_ingestions_are_forgotten_but_not_those_that_wait(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    catalog_dataset.land_of_requests(wanted("landed", key="k"))
    catalog.ingestions.announce(catalog_dataset.id, catalog_dataset.session, wanted("waiting"))
    dead = catalog.sessions.begin(catalog_dataset.id, "landing", holder="dead", ttl=NONE)
    catalog.ingestions.announce(catalog_dataset.id, dead, wanted("abandoned"))
    assert catalog.ingestions.forget(older_than=HOUR) == 0
    assert catalog.ingestions.forget(older_than=-HOUR) == 2
    assert [name for name in ("landed", "waiting", "abandoned") if catalog.ingestions.find(name)] == ["waiting"]


# --- tokens


def test_a_token_is_found_by_its_digest_and_says_when_it_was_revoked(catalog: Catalog) -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    made = catalog.tokens.add(name="loader", digest="d1", scopes=["a:read", "a:write"], expires_at=until, actor="local")
    assert (made.scopes, made.expires_at, made.revoked_at) == (("a:read", "a:write"), until, None)
    assert catalog.tokens.find("d1") == made
    assert catalog.tokens.find("d2") is None
    revoked = catalog.tokens.revoke("loader", actor="local")
    assert revoked.revoked_at is not None
    assert catalog.tokens.revoke("loader", actor="local") == revoked == catalog.tokens.find("d1")
    assert [row["action"] for row in catalog.audit.newest()] == ["token_revoked", "token_created"]
    assert "d1" not in str(catalog.audit.newest())


def test_a_token_name_is_never_used_twice(catalog: Catalog) -> None:
    catalog.tokens.add(name="loader", digest="d1", scopes=[], expires_at=None, actor="local")
    catalog.tokens.revoke("loader", actor="local")
    with pytest.raises(InputError, match="already"):
        catalog.tokens.add(name="loader", digest="d2", scopes=[], expires_at=None, actor="local")
    with pytest.raises(InputError, match="no token named 'other'"):
        catalog.tokens.revoke("other", actor="local")
    assert [one.name for one in catalog.tokens.listed()] == ["loader"]


# --- what has versions

HOT = SavedQuery(
    name="hot", sql="SELECT 1", parameters={"at": {"type": "int"}}, datasets=("weather",), description="", actor="token:a"
)


def test_a_saved_query_changes_only_at_the_version_one_has_seen(catalog: Catalog) -> None:
    first = catalog.saved_queries.put(HOT, if_version=0)
    assert (first.version, first.parameters, first.datasets) == (1, {"at": {"type": "int"}}, ("weather",))
    with pytest.raises(ConflictError, match="version 1, not at version 0"):
        catalog.saved_queries.put(HOT, if_version=0)
    second = catalog.saved_queries.put(replace(HOT, sql="SELECT 2"), if_version=1)
    assert (second.version, second.sql) == (2, "SELECT 2")
    assert catalog.saved_queries.put(HOT).version == 3
    with pytest.raises(ConflictError):
        catalog.saved_queries.remove("hot", actor="local", if_version=2)
    assert catalog.saved_queries.remove("hot", actor="local", if_version=3)
    assert not catalog.saved_queries.remove("hot", actor="local")
    assert catalog.saved_queries.find("hot") is None
    assert catalog.saved_queries.listed() == []


def test_of_many_who_saw_the_same_version_one_changes_it(catalog: Catalog) -> None:
    catalog.declarations.put("weather", {"name": "weather"}, actor="local")

    def change(number: int) -> bool:
        try:
            catalog.declarations.put("weather", {"name": "weather", "description": str(number)}, actor="local", if_version=1)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(change, range(4))).count(True) == 1
    found = catalog.declarations.find("weather")
    assert found is not None and found.version == 2


def test_of_many_who_declare_a_name_first_one_does(catalog: Catalog) -> None:
    def declare(number: int) -> bool:
        try:
            catalog.declarations.put("weather", {"number": number}, actor="local", if_version=0)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(declare, range(4))).count(True) == 1
    assert [one.name for one in catalog.declarations.listed()] == ["weather"]


def test_a_policy_is_kept_with_what_it_was_before_in_the_audit(catalog: Catalog) -> None:
    record = catalog.datasets.register(WEATHER, actor="test")
    assert catalog.policies.find(record.id, "retention") is None
    first = catalog.policies.put(record.id, "retention", {"max_age": "5y"}, actor="token:a", if_version=0)
    second = catalog.policies.put(record.id, "retention", {"max_age": None}, actor="token:b", if_version=first.version)
    assert catalog.policies.find(record.id, "retention") == second
    assert (second.version, second.value) == (2, {"max_age": None})
    with pytest.raises(ConflictError, match="the retention of dataset 'weather' is at version 2"):
        catalog.policies.put(record.id, "retention", {}, actor="token:a", if_version=1)
    newest = catalog.audit.newest(dataset_ids=[record.id], limit=1)[0]
    assert (newest["action"], newest["actor"]) == ("retention_set", "token:b")
    assert newest["details"] == {"before": {"max_age": "5y"}, "after": {"max_age": None}}


# --- reading


def test_the_audit_is_read_in_pages_and_by_dataset(catalog_dataset: CatalogDataset) -> None:
    other = catalog_dataset.catalog.datasets.register(replace(WEATHER, name="other"), actor="test")
    for _ in range(3):
        catalog_dataset.land()
    first = catalog_dataset.catalog.audit.newest(dataset_ids=[catalog_dataset.id], limit=2)
    rest = catalog_dataset.catalog.audit.newest(dataset_ids=[catalog_dataset.id], before=first[-1]["id"])
    assert [row["action"] for row in (*first, *rest)] == ["landed", "landed", "landed", "dataset_registered"]
    assert {row["dataset"] for row in catalog_dataset.catalog.audit.newest(dataset_ids=[other.id])} == {"other"}
    assert catalog_dataset.catalog.audit.newest(dataset_ids=[]) == []


def test_a_version_is_pinned_with_the_checkpoints_that_belong_to_it(catalog_dataset: CatalogDataset) -> None:
    catalog = catalog_dataset.catalog
    source = catalog.sources.ensure(catalog_dataset.id, "kafka", "weather")
    opened = catalog.topics.open(source.id, cluster_id="c", topic="weather", epoch=1, topic_id="t", starts={0: 5, 1: 9})
    version, lease, places = catalog.versions.pin_with_topics(catalog_dataset.id, holder="test", ttl=HOUR)
    assert (version, {one.number: one.position for one in places}) == (0, {0: 5, 1: 9})
    assert [one.id for one in places] == [one.id for one in opened]
    assert lease.resource.startswith(f"query:{catalog_dataset.id}:")
    assert catalog.versions.pin_with_topics(catalog_dataset.id, holder="test", ttl=HOUR)[1] != lease
