"""Configuration: where a node keeps its files, and the settings in its one TOML file.

Client verbs need only `home_dir`, so the settings are loaded when they are asked for.
"""

from typing import TYPE_CHECKING

from meshnode.config.home import Home, home_dir

if TYPE_CHECKING:
    from meshnode.config.load import load
    from meshnode.config.settings import Config

__all__ = ["Config", "Home", "home_dir", "load"]


def __getattr__(name: str) -> object:
    """Load what was not needed until now."""
    if name == "load":
        from meshnode.config.load import load

        return load
    if name.endswith(("Config", "Settings")):
        from meshnode.config import settings

        return getattr(settings, name)
    raise AttributeError(f"meshnode.config has no {name}")
