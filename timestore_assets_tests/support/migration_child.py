"""A migration for crash tests: kills itself after the n-th statement of the cut-over, or once that is committed.

Arguments: home, URL of the catalog, manifest as JSON, n (0: after the commit).
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import event

from timestore_assets.catalog.schema_migrations import SchemaMigrations
from timestore_assets.migrating.manifest_file import manifest_of
from timestore_assets.settings import Settings
from timestore_assets.warehouse import Warehouse


def main(home: Path, url: str, plain: dict[str, Any], last: int) -> None:
    cut_over, calls = SchemaMigrations.cut_over, itertools.count(1)
    with Warehouse.open(Settings(home=home, database_url=url)) as warehouse:

        def killed(*arguments: Any, **options: Any) -> Any:
            def called(*_: Any) -> None:
                if next(calls) == last:
                    os.kill(os.getpid(), signal.SIGKILL)

            engine = warehouse.catalog.database.engine
            event.listen(engine, "after_cursor_execute", called)
            done = cut_over(*arguments, **options)
            event.remove(engine, "after_cursor_execute", called)
            if last == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        SchemaMigrations.cut_over = killed  # type: ignore[method-assign] # this process is made to die
        warehouse.migrate(manifest_of(plain), actor="child")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]))
