"""What the crash tests share."""

from collections.abc import Iterator

import pytest

from timestore_assets_tests.support.forked_programs import ForkedPrograms, forked_programs


@pytest.fixture(scope="session")
def programs() -> Iterator[ForkedPrograms]:
    """Runs the programs that kill themselves."""
    with forked_programs() as started:
        yield started
