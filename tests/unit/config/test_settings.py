"""The list of settings is consistent with itself."""

import tomllib

from meshnode.config.settings import Config, keys


def test_every_default_can_be_written_to_the_file_and_read_back() -> None:
    for key in keys():
        raw = tomllib.loads(f"value = {key.default}")["value"]
        settings = getattr(Config(), key.section)
        assert key.kind.read(raw) == getattr(settings, key.attribute), key.dotted


def test_every_key_says_what_it_does() -> None:
    found = [key.dotted for key in keys()]
    assert len(found) == len(set(found))
    assert all(key.meaning.strip().endswith((".", "`.")) for key in keys())
