"""Say what the Python that runs this lacks to carry the node: one line a fault, none when it fits.

Runs under any Python 3 before anything is installed: standard library only, old syntax only.
A line that begins with ``apt:`` names Debian packages that would mend the fault before it.
"""

import importlib.util
import os
import platform
import sqlite3
import sys
import sysconfig

OLDEST = (3, 11)
NEWEST = (3, 12)
OLDEST_GLIBC = (2, 35)
OLDEST_SQLITE = (3, 42)


def main():
    faults = list(find_faults())
    for fault in faults:
        print(fault)
    return 1 if faults else 0


def find_faults():
    version = sys.version_info[:2]
    dotted = "%d.%d" % version
    if not OLDEST <= version <= NEWEST:
        yield (
            "is Python %s; wanted 3.11 or 3.12 (the inference server's Python backend needs "
            "numpy 1.26, which has no wheel for later ones)" % dotted
        )
        return
    if version >= (3, 12) and sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield (
            "has SQLite %s; with Python 3.12 the job engine needs 3.42 or later"
            % sqlite3.sqlite_version
        )
    yield from find_platform_faults()
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        yield "cannot make virtual environments (no module ensurepip)"
        yield "apt: python%s-venv" % dotted
    library = "libpython%s.so.1.0" % dotted
    if not any(os.path.exists(os.path.join(folder, library)) for folder in library_folders()):
        yield "has no %s, which the inference server's Python backend is linked to" % library
        yield "apt: libpython%s" % dotted


def find_platform_faults():
    system, machine = platform.system(), platform.machine()
    if (system, machine) not in {("Linux", "x86_64"), ("Linux", "aarch64")}:
        yield (
            "runs on %s %s; the embedded inference server is to be had for Linux on x86_64 and "
            "aarch64 only" % (system, machine)
        )
        return
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(map(int, version.split(".")[:2])) < OLDEST_GLIBC:
        yield (
            "runs on %s %s; the embedded inference server needs glibc 2.35 or later "
            "(Debian 12, Ubuntu 22.04)" % (name or "an unknown C library", version)
        )


def library_folders():
    """Yield the folders in which the node will look for Python's shared library."""
    for variable in ("LIBDIR", "LIBPL"):
        folder = sysconfig.get_config_var(variable)
        if folder:
            yield folder
    yield os.path.join(sys.base_prefix, "lib")
    # A Python without a library of its own can borrow the distribution's of the same version.
    yield os.path.join("/usr/lib", sysconfig.get_config_var("MULTIARCH") or "")


if __name__ == "__main__":
    sys.exit(main())
