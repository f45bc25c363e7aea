"""A firewall for one socket: a classic BPF program in the kernel that drops what comes in.

Needs no privilege and no namespace. A listening TCP socket with it loses every SYN, as behind a
firewall that drops; a UDP socket may let datagrams of a few source ports through, as a NAT does
for those that were written to.
"""

import ctypes
import socket
from collections.abc import Sequence

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
LOAD_HALF, JUMP_EQUAL, RETURN = 0x28, 0x15, 0x06
SOURCE_PORT_AT = 0
ALL = 0xFFFFFFFF


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("first", ctypes.c_void_p)]


def drop_incoming(sock: socket.socket, *, but_from: Sequence[int] = ()) -> None:
    """Drop every packet to this socket whose source port is not one of `but_from`."""
    code = [(LOAD_HALF, 0, 0, SOURCE_PORT_AT)]
    for index, port in enumerate(but_from):
        code.append((JUMP_EQUAL, len(but_from) - index, 0, port))
    code += [(RETURN, 0, 0, 0), (RETURN, 0, 0, ALL)]
    instructions = (_Instruction * len(code))(*code)
    program = _Program(len(code), ctypes.addressof(instructions))
    raw = bytes(ctypes.string_at(ctypes.addressof(program), ctypes.sizeof(program)))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, raw)


def drop_nothing(sock: socket.socket) -> None:
    """Let everything in again."""
    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
