"""What the system lets a process of ours have that handles a stranger's bytes."""

from collections.abc import Mapping


def lower(limits: Mapping[str, int]) -> None:
    """Lower limits of this process for good, by their names without `RLIMIT_`.

    Where the system does not have one, or has none at all, the parent's clock is the only limit.
    """
    try:
        import resource
    except ImportError:  # not POSIX
        return
    for name, most in limits.items():
        what: int | None = getattr(resource, f"RLIMIT_{name}", None)
        if what is None:
            continue
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
