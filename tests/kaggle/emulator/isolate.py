"""Take the network, and the right to write into its inputs, from a program, as far as this system permits; then become it.

    python isolate.py NOTE INPUT alone|internet PROGRAM [ARGUMENT …]

"internet" leaves it the network. NOTE is a JSON file that says what was achieved: {"network": "none" | "open", "inputs": "read-only" | "writable"}.
Linux namespaces do it; where they aren't permitted, the program runs without, and the note says so.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys

NEWNS, NEWUSER, NEWNET = 0x00020000, 0x10000000, 0x40000000  # linux/sched.h
RDONLY, REMOUNT, BIND, REC, PRIVATE = 1, 32, 4096, 16384, 1 << 18  # linux/mount.h
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

libc = ctypes.CDLL(None, use_errno=True)


def done(result: int) -> bool:
    return result == 0


def own_namespaces(network: int) -> bool:
    """Leave the mounts of the others, and with NEWNET their network; as an ordinary user inside a user namespace."""
    if os.geteuid() == 0:
        return done(libc.unshare(NEWNS | network))
    user, group = os.getuid(), os.getgid()
    if not done(libc.unshare(NEWUSER | NEWNS | network)):
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def mount_read_only(folder: str) -> bool:
    path = folder.encode()
    return (
        done(libc.mount(None, b"/", None, REC | PRIVATE, None))
        and done(libc.mount(path, path, None, BIND, None))
        and done(libc.mount(None, path, None, REMOUNT | BIND | RDONLY, None))
    )


def loopback_up() -> None:
    """A new network namespace has a loopback device, switched off; processes that train together meet there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh", b"lo", 0)
        name, flags = struct.unpack("16sh", fcntl.ioctl(s, SIOCGIFFLAGS, request)[:18])
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh", name, flags | IFF_UP))


def isolated(inputs: str, network: int) -> bool:
    """Do all of it: leave the namespaces, bring the loopback device up, and make the inputs read-only."""
    try:
        if not own_namespaces(network):
            return False
        if network:
            loopback_up()
        return mount_read_only(inputs)
    except OSError:
        return False


def permitted(inputs: str, network: int) -> bool:
    """Whether this system lets it: tried by another process first, because half of it could not be taken back."""
    if sys.platform != "linux":
        return False
    child = os.fork()
    if child == 0:
        os._exit(0 if isolated(inputs, network) else 1)
    return os.waitpid(child, 0)[1] == 0


def main(note: str, inputs: str, internet: str, *program: str) -> None:
    network = 0 if internet == "internet" else NEWNET
    done_so = permitted(inputs, network) and isolated(inputs, network)
    with open(note, "w") as file:
        json.dump({"network": "none" if done_so and network else "open", "inputs": "read-only" if done_so else "writable"}, file)
    os.execv(program[0], program)


if __name__ == "__main__":
    main(*sys.argv[1:])
