"""The routes below `/admin`, and those that change versions. Each asks for the admin scope, but for reading tags."""

from __future__ import annotations

from fastapi import APIRouter

from timestore_assets.service.admin import (
    alert_routes,
    audit_route,
    dataset_routes,
    dead_letter_replay_route,
    dead_letter_route,
    erasure_routes,
    history_routes,
    late_review_routes,
    life_routes,
    manifest_routes,
    operation_routes,
    reload_routes,
    retention_routes,
    retraction_routes,
    storage_routes,
    upload_routes,
)

router = APIRouter(tags=["admin"])
for part in (
    dataset_routes,
    life_routes,
    history_routes,
    manifest_routes,
    retention_routes,
    retraction_routes,
    reload_routes,
    erasure_routes,
    operation_routes,
    storage_routes,
    dead_letter_route,
    dead_letter_replay_route,
    late_review_routes,
    audit_route,
    alert_routes,
    upload_routes,
):
    router.include_router(part.router)
