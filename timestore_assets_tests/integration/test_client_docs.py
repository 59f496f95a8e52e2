"""The examples of `docs/client.md` run, in order, against the service."""

from __future__ import annotations

import re
from pathlib import Path

from timestore_assets import TimestoreClient
from timestore_assets_tests.support.http_service import service

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


def test_the_examples_work_as_written(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    with service(tmp_path / "home") as ground:
        for block in blocks:
            exec(block.replace("http://127.0.0.1:4100", ground.url), names)
        client = names["client"]
        assert isinstance(client, TimestoreClient)
        client.close()
