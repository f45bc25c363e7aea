"""What docs take from the code is what the code says now."""

import tomllib

import pytest

from meshnode.config.home import home_dir
from meshnode.config.load import load
from meshnode.gateway.routes import PATHS
from meshnode.wire.control import OPS
from tests.house.write_docs import DOCS, errors_page, with_settings

REWRITE = "run: python -m tests.house.write_docs"
BOOTSTRAP = DOCS.parent / "bootstrap"


def test_the_list_of_errors_is_current() -> None:
    assert (DOCS / "errors.md").read_text() == errors_page(), REWRITE


def test_the_table_of_settings_is_current() -> None:
    page = (DOCS / "operating.md").read_text()
    assert page == with_settings(page), REWRITE


def test_every_path_and_operation_is_in_the_manual() -> None:
    page = (DOCS / "operating.md").read_text()
    assert [path for path in PATHS if f"`{path}" not in page and f" {path}" not in page] == []
    assert [op for op in OPS if f"`{op}`" not in page] == []


@pytest.mark.parametrize("name", ["node.toml", "seed.toml"])
def test_the_shipped_configurations_are_valid(name: str, tmp_path: object) -> None:
    text = (BOOTSTRAP / name).read_text()
    tomllib.loads(text)
    home = home_dir(str(tmp_path), environ={})
    home.config_file.write_text(text)
    load(home, environ={})
