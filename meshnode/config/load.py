"""Reads the configuration: defaults, then the file, then the environment, then flags.

`MESHNODE_SECTION__KEY` in the environment overrides the file, and a flag overrides both. A key
that does not exist is an error that names the nearest one: a setting that is silently ignored
is worse than a node that does not start.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from meshnode.config.home import Home
from meshnode.config.settings import Config, Key, keys
from meshnode.errors import ConfigError

_PREFIX = "MESHNODE_"
CONFIG_BYTES_MAX = 1 << 20
"""A hand-written file is a few KiB; more is the wrong file."""


def load(
    home: Home,
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    default_name: str = "",
) -> Config:
    """Return the configuration of a home directory, or raise ConfigError naming the key.

    `overrides` maps dotted names to values as TOML or as text; None values are skipped, so that
    flags that were not given can be passed as they are. `default_name` is the node's name if
    nothing says another; without it the host's.
    """
    values: dict[str, object] = {}
    known = {key.dotted: key for key in keys()}
    for source, given in (
        (str(home.config_file), _from_file(home.config_file)),
        ("the environment", _from_environment(os.environ if environ is None else environ)),
        ("the command line", {k: v for k, v in (overrides or {}).items() if v is not None}),
    ):
        for dotted, raw in given.items():
            values[dotted] = _read(known, dotted, raw, source)
    return _named(_build(known, values), default_name)


def _read(known: Mapping[str, Key], dotted: str, raw: object, source: str) -> object:
    key = known.get(dotted)
    if key is None:
        raise _unknown(known, dotted, source)
    try:
        return key.kind.read(raw)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{dotted} must be {key.kind.allowed}",
            because=[f"{source} says {raw!r}", *([str(error)] if str(error) else [])],
            try_=f"{dotted} = {key.default}   is the default",
        ) from error


def _unknown(known: Mapping[str, Key], dotted: str, source: str) -> ConfigError:
    section, _, name = dotted.partition(".")
    sections = sorted({key.section for key in known.values()})
    if section in sections and name:
        # The same key elsewhere is likelier meant than a similar one here.
        elsewhere = [d for d, key in known.items() if key.key == name]
        here = [d for d, key in known.items() if key.section == section]
        near = elsewhere or get_close_matches(dotted, here, n=1, cutoff=0.0) or here
        return ConfigError(
            f"unknown key {dotted} in {source}",
            because=[f"[{section}] knows {', '.join(known[d].key for d in here)}"],
            try_=f"did you mean {near[0]}?",
        )
    near = get_close_matches(section, sections, n=1, cutoff=0.0)
    return ConfigError(
        f"unknown section [{section}] in {source}",
        because=[f"sections are {', '.join(sections)}"],
        try_=f"did you mean [{near[0]}]?",
    )


def _from_file(path: Path) -> dict[str, object]:
    """Return dotted name to raw value; a file that does not exist sets nothing."""
    import tomllib

    try:
        if path.stat().st_size > CONFIG_BYTES_MAX:
            raise ConfigError(f"{path} is too large to be a configuration file")
        parsed = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read", because=[str(error)]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML", because=[str(error)]) from error
    found: dict[str, object] = {}
    for section, table in parsed.items():
        if not isinstance(table, dict):
            found[f"{section}."] = table
            continue
        found |= {f"{section}.{key}": value for key, value in table.items()}
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """Return the overrides in `MESHNODE_SECTION__KEY`; other variables are not settings."""
    found: dict[str, object] = {}
    for variable, value in environ.items():
        section, separator, key = variable.removeprefix(_PREFIX).partition("__")
        if variable.startswith(_PREFIX) and separator:
            found[f"{section.lower()}.{key.lower()}"] = value
    return found


def _build(known: Mapping[str, Key], values: Mapping[str, object]) -> Config:
    config = Config()
    for dotted, value in values.items():
        key = known[dotted]
        section = replace(getattr(config, key.section), **{key.attribute: value})
        config = replace(config, **{key.section: section})
    return config


def _named(config: Config, default_name: str) -> Config:
    """Fill in the name, cut to what a name may be."""
    if config.node.name:
        return config
    host = default_name or os.uname().nodename.split(".")[0]
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in host)[:64] or "node"
    return replace(config, node=replace(config.node, name=name))
