"""Labs are set up only where they can be; elsewhere their tests are skipped and say why."""

import pytest

from tests.netns.lab import why_not


@pytest.fixture(scope="session")
def hosts_allowed() -> None:
    """Skip the test where no hosts can be made."""
    if reason := why_not():
        pytest.skip(reason)
