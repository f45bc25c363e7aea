"""Finds the files that are shipped with the package: prebuilt guests and the demo's model.

Floor 0. In a wheel they lie in `meshnode/_guests`; in a checkout (an editable install) they are
read from the top-level `guests/dist`, where they are committed.
"""

from pathlib import Path

_HERE = Path(__file__).parent
_PLACES = (_HERE / "_guests", _HERE.parent / "guests" / "dist")


def asset(name: str) -> Path:
    """Return the path of a shipped file, or raise FileNotFoundError naming where it was sought."""
    for place in _PLACES:
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(f"{name} is in none of {', '.join(map(str, _PLACES))}")
