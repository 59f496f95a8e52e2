"""The routes below `/admin`. Each asks for the admin scope."""

from __future__ import annotations

from fastapi import APIRouter

from timestore_assets.service.admin import (
    audit,
    datasets,
    dead_letters,
    declare,
    manifest,
    retention,
    storage,
)

router = APIRouter(tags=["admin"])
for part in (
    datasets,
    declare,
    manifest,
    retention,
    storage,
    dead_letters,
    audit,
):
    router.include_router(part.router)
