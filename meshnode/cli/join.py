"""`meshnode join`: redeem an invite, so that this device is a member of a mesh."""

import argparse
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

from meshnode.cli.output import print_json, say
from meshnode.client.control import command
from meshnode.config.home import Home, home_dir
from meshnode.errors import InviteForeign, PairingRefused, RemoteProtocolError, UsageError
from meshnode.ids import Address, node_id_of, short, to_text

if TYPE_CHECKING:
    from meshnode.identity.invites import Invite
    from meshnode.identity.keys import Identity
    from meshnode.identity.mesh import Mesh
    from meshnode.net.lan import LanSockets
    from meshnode.reach.opening import Opening
    from meshnode.wire.messages import Admission

TIMEOUT_S = 12.0
JOIN_TIMEOUT_S = 40.0
"""Where nobody answers, that is said after three rounds of 5 s; a sponsor that does answer, over a
link that loses a quarter of all packets, is given longer to finish."""
LOOK_S = 30.0
"""So long a member that accepts devices is waited for."""


def add_parser(verbs: "argparse._SubParsersAction[Any]") -> None:
    """Add this verb's options."""
    parser = verbs.add_parser(
        "join",
        description="Redeem an invite: the node that made it admits this device to its mesh. Then "
        "start the node. With --lan no invite is needed: somebody at a member types the code that "
        "is shown here into meshnode accept.",
    )
    parser.add_argument("invite", nargs="?", metavar="mesh1-…", help="what meshnode invite printed")
    parser.add_argument("--lan", action="store_true", help="find a member that accepts devices")
    parser.add_argument("--from", dest="from_", metavar="HOST", help="which one, if there are more")
    parser.add_argument("--name", help="what to be called (default: the host's name)")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="leave the mesh this device is in, if it is the only one there",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Redeem the invite and keep the membership, or change nothing."""
    started = perf_counter()
    from meshnode.identity.invites import parse

    if bool(args.invite) is args.lan:
        raise UsageError("join takes an invite, or --lan", try_="meshnode join --lan")
    home = home_dir(args.home)

    from meshnode.config.load import load
    from meshnode.gateway.control import refuse_second
    from meshnode.node.membership_files import load_identity, load_mesh

    config = load(home, {"node.name": args.name})
    invite = parse(args.invite or let_in_over_the_lan(args, config.node.name))
    home.prepare()
    refuse_second(home.control_socket)
    before = load_mesh(home.mesh_file)
    if before is not None and before.network != invite.network:
        check_replaceable(home, before, invite, wanted=args.replace)
    identity, _ = load_identity(home.identity_key)
    admission = _redeem(invite, identity, config.node.name)
    mesh = keep(home, admission, invite, before)
    took_s = round(perf_counter() - started, 2)
    _say_joined(args, home, mesh, len(admission.members), took_s)
    return 0


def let_in_over_the_lan(
    args: argparse.Namespace, name: str, sockets: "LanSockets | None" = None
) -> str:
    """Return the invite that a member of the LAN gives to this device, or raise PairingRefused."""
    import trio

    from meshnode.net import pairing
    from meshnode.net.lan import LanSockets, outward
    from meshnode.net.transport import SocketTransport

    async def ask() -> bytes:
        lan = sockets or LanSockets(interfaces=outward)
        host, opening = _chosen(await pairing.openings(lan, for_s=LOOK_S), args.from_)
        with trio.fail_after(TIMEOUT_S):
            transport = await SocketTransport.to(
                Address(host, opening.port), unacknowledged_ms=pairing.UNACKNOWLEDGED_MS
            )
        try:
            with trio.fail_after(TIMEOUT_S):
                asked = await pairing.ask(transport, name)
            told = f'"{opening.mesh_name}" at {host} asks for this code:   {asked.code}'
            print(told, file=sys.stderr, flush=True)
            with trio.fail_after(pairing.ANSWER_S):
                return await asked.answer()
        finally:
            transport.close()

    try:
        invite = trio.run(ask)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError, RemoteProtocolError) as error:
        raise PairingRefused(
            "nobody let this device in", because=[str(error) or "in time"]
        ) from error
    if not invite:
        raise PairingRefused("the other device did not let this one in")
    question = "Does the other device say that this one may join? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise PairingRefused(
            "this device joined nothing",
            because=["whoever answered here was not the device that you let it in at"],
            try_="meshnode invite there, and meshnode join mesh1-… here",
        )
    return invite.decode()


def _chosen(found: "list[tuple[str, Opening]]", host: str | None) -> "tuple[str, Opening]":
    there = [each for each in found if host in (None, each[0])]
    if len(there) == 1:
        return there[0]
    heard = [f'"{opening.mesh_name}" at {at}' for at, opening in found]
    if not there:
        raise PairingRefused(
            "nobody on this LAN lets devices in" + (f" at {host}" if host else ""),
            because=heard or [f"nothing was heard on udp 6175 for {LOOK_S:g} s"],
            try_="on a member:  meshnode accept   (where that does not work:  meshnode invite)",
        )
    raise UsageError(
        "several devices let others in here", because=heard, try_="meshnode join --lan --from HOST"
    )


def check_replaceable(home: Home, before: "Mesh", invite: "Invite", *, wanted: bool) -> None:
    """Raise InviteForeign unless the mesh may be left: asked for, and nobody else is in it."""
    from meshnode.node.memory import recall

    others = len(recall(home.state_file).contacts)
    facts = [
        f'this device is in "{before.name}" (mesh {before.network.hex()[:12]})',
        f"the invite is for mesh {invite.network.hex()[:12]}",
    ]
    if others:
        raise InviteForeign(
            "this device belongs to another mesh, with other devices in it",
            because=[*facts, f"{others} other devices of it are known here"],
            try_="a device in two meshes needs two directories: meshnode join --home DIR …",
        )
    if not wanted:
        raise InviteForeign(
            "this device belongs to another mesh",
            because=[*facts, "no other device of it is known here"],
            try_="meshnode join --replace …   leaves it for the invite's",
        )


def keep(home: Home, admission: "Admission", invite: "Invite", before: "Mesh | None") -> "Mesh":
    """Write the membership, verified by `join`, and whom to ask for the others; return the mesh.

    The root key of a mesh that is left stays, under that mesh's name: it alone could bring the
    mesh back.
    """
    from meshnode.node.membership_files import save_admission

    if before is not None and before.network != invite.network and home.root_key.exists():
        home.root_key.rename(home.data / f"root-{before.network.hex()[:12]}.key")
    # What it knew of the mesh's keys is older than what the sponsor gives.
    home.keyring_file.unlink(missing_ok=True)
    return save_admission(home, admission, expected=invite.network)


def _redeem(invite: "Invite", identity: "Identity", name: str) -> "Admission":
    import trio

    from meshnode.net.join import join

    async def redeem() -> "Admission":
        return await join(invite, identity, name=name, timeout_s=JOIN_TIMEOUT_S)

    return trio.run(redeem)


def _say_joined(
    args: argparse.Namespace, home: Home, mesh: "Mesh", members: int, took_s: float
) -> None:
    from meshnode.identity.certificates import Role, read

    certificate = read(mesh.chain[-1])
    roles = [str(role.name).lower() for role in Role if role & certificate.roles]
    node_id = to_text(node_id_of(certificate.subject))
    if args.json:
        facts = {
            "mesh": {"name": mesh.name, "id": short(mesh.root_key)},
            "name": certificate.name,
            "node_id": node_id,
            "roles": roles,
            "valid_until": certificate.not_after,
            "members": members,
            "took_s": took_s,
        }
        print_json({"joined": facts})
        return
    days = round((certificate.not_after - certificate.not_before) / 86400)
    say(
        args,
        f"  ✓ the sponsor's mesh is the invite's ({short(mesh.root_key)})",
        f'  ✓ admitted as "{certificate.name}" ({node_id[:7]}), roles {" ".join(roles)}, '
        f"certificate valid {days} days",
        f"  ✓ {members} member{'s' if members != 1 else ''} to ask for the others",
        f'joined "{mesh.name}" in {took_s:.1f} s. Now start the node:  {command(home)} start',
    )
