"""Parses the command line, imports the one verb that was asked for, and ends with its status.

`meshnode --help` imports nothing but this file; a verb's file is imported when the verb is used,
so that one that cannot be imported here does not take the others with it.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    import argparse

VERBS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "see a real mesh on this machine: inference, faults, hostile modules"),
    "start": ("start", "run a node until it is stopped"),
    "invite": ("invite", "make a string that admits another device to the mesh"),
    "accept": ("accept", "let devices of this LAN in by the code that they show"),
    "join": ("join", "make this device a member, by an invite or over the LAN"),
    "pack": ("pack", "make a signed module from a model or a guest"),
    "inspect": ("inspect", "show what a module is, needs and promises"),
    "test": ("test", "try a module out before you publish it: no node needed"),
    "publish": ("publish", "announce a module and spread copies of it"),
    "predict": ("predict", "run a module on an input, at the best node"),
    "pin": ("pin", "keep a module fetched and warm on the node here"),
    "peers": ("peers", "list the other nodes of the mesh"),
    "modules": ("modules", "list the modules known in the mesh"),
    "status": ("status", "show what the node here knows of itself"),
    "doctor": ("doctor", "find out why a node cannot be reached, and what to do"),
    "trust": ("trust", "list or add publishers whose modules may run here; list the revoked"),
    "revoke": ("revoke", "expel a device from the mesh, everywhere"),
    "rotate": ("rotate", "replace the mesh's key without an outage"),
    "stop": ("stop", "drain the node here and stop it"),
    "bench": ("bench", "measure what meshnode adds to onnxruntime on this machine"),
    "bootstrap": ("bootstrap", "run a seed: it introduces nodes and reads no payload"),
    "version": ("version", "show the version"),
}
"""Each verb with the file in this directory that holds it, and its line of help."""

SWITCHES = ("json", "quiet", "debug")
GLOBAL_HELP = """\
accepted before or after the verb:
  --home DIR   where the node keeps its files (else $MESHNODE_HOME, else the user's directories)
  --json       one JSON object on stdout, errors too
  --quiet      results only
  --debug      show the traceback of an error"""


class Globals(NamedTuple):
    """The flags that every verb takes, and what is left of the command line."""

    home: str | None
    json: bool
    quiet: bool
    debug: bool
    rest: list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    _speak_utf8()
    words = list(sys.argv[1:] if argv is None else argv)
    as_json, debug = "--json" in words, "--debug" in words
    try:
        return _run(split_globals(words))
    except SystemExit as done:  # argparse has printed what was asked for
        return done.code if isinstance(done.code, int) else 2
    except BrokenPipeError:
        _let_go_of_stdout()
        return 0
    except BaseException as error:  # the edge: whatever happens is said in one form
        from meshnode.cli.errors import report

        return report(error, as_json=as_json, debug=debug)


def split_globals(words: Sequence[str]) -> Globals:
    """Take the global flags out of a command line, wherever they stand before a `--`."""
    from meshnode.errors import UsageError

    home: str | None = None
    found = dict.fromkeys(SWITCHES, False)
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            rest += [word, *queue]
            break
        if word.startswith("--home="):
            home = word.removeprefix("--home=")
        elif word == "--home":
            if not queue:
                raise UsageError("--home needs a directory")
            home = queue.pop(0)
        elif word.removeprefix("--") in SWITCHES and word.startswith("--"):
            found[word.removeprefix("--")] = True
        else:
            rest.append(word)
    if home == "":
        raise UsageError("--home needs a directory")
    return Globals(home=home, rest=rest, **found)


def help_text() -> str:
    """Return what `meshnode --help` prints."""
    lines = "\n".join(f"  {verb:<11}{text}" for verb, (_, text) in VERBS.items())
    return (
        "usage: meshnode VERB [options]\n\n"
        "A peer-to-peer mesh that runs ML inference on the devices you already own.\n\n"
        f"verbs:\n{lines}\n\n{GLOBAL_HELP}\n\n"
        "meshnode VERB --help   shows what a verb takes"
    )


def build_parser(verb: str) -> "argparse.ArgumentParser":
    """Return a parser that knows one verb, with that verb's file imported."""
    import argparse
    from importlib import import_module

    from meshnode.errors import MissingPart

    class Parser(argparse.ArgumentParser):
        """Raises what the command line cannot mean as our own error."""

        def error(self, message: str) -> NoReturn:
            from meshnode.errors import UsageError

            usage = " ".join(self.format_usage().removeprefix("usage: ").split())
            raise UsageError(message, because=[usage], try_=f"{self.prog} --help")

    parser = Parser(prog="meshnode", allow_abbrev=False)
    verbs = parser.add_subparsers(metavar="VERB", parser_class=Parser)
    try:
        module = import_module(f"meshnode.cli.{VERBS[verb][0]}")
    except ImportError as error:
        raise MissingPart(
            f"'{verb}' cannot be used in this installation",
            because=[str(error)],
            try_="pip install --force-reinstall meshnode",
        ) from error
    module.add_parser(verbs)
    own = verbs.choices[verb]
    own.epilog = GLOBAL_HELP
    own.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def _run(given: Globals) -> int:
    rest = given.rest
    if not rest or rest[0] in ("-h", "--help", "help"):
        print(help_text(), file=sys.stdout if rest else sys.stderr)
        return 0 if rest else 2
    verb = "version" if rest[0] in ("-V", "--version") else rest[0]
    if verb not in VERBS:
        raise _unknown(verb)
    args, extra = build_parser(verb).parse_known_args([verb, *rest[1:]])
    if extra:
        raise _not_understood(verb, extra)
    args.home, args.json, args.quiet, args.debug = given[:4]
    status: int = args.run(args)
    sys.stdout.flush()
    return status


def _not_understood(verb: str, extra: Sequence[str]) -> Exception:
    from meshnode.errors import UsageError

    return UsageError(
        f"'{verb}' does not understand {' '.join(extra)}", try_=f"meshnode {verb} --help"
    )


def _unknown(verb: str) -> Exception:
    from difflib import get_close_matches

    from meshnode.errors import UsageError

    near = get_close_matches(verb, VERBS, n=1, cutoff=0.0)[0]
    return UsageError(
        f"there is no verb '{verb}'",
        because=[f"verbs: {', '.join(VERBS)}"],
        try_=f"meshnode {near}   (the nearest one)",
    )


def _speak_utf8() -> None:
    """A terminal without UTF-8 gets `?` for what it lacks, and no traceback."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _let_go_of_stdout() -> None:
    """The reader of a pipe has left: keep the interpreter from complaining at its exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
