"""The routes below `/admin`. Each asks for the admin scope."""

from __future__ import annotations

from fastapi import APIRouter

from timestore_assets.service import (
    admin_audit,
    admin_datasets,
    admin_dead_letters,
    admin_declare,
    admin_manifest,
    admin_retention,
    admin_storage,
)

router = APIRouter(tags=["admin"])
for part in (
    admin_datasets,
    admin_declare,
    admin_manifest,
    admin_retention,
    admin_storage,
    admin_dead_letters,
    admin_audit,
):
    router.include_router(part.router)
