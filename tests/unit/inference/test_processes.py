import os
import subprocess
import sys

from dicomnode.inference.processes import dead_descendants, descendants

# A shell that starts a child, waits for word and never asks for the child's status.
CARELESS = """
import os, sys
child = os.fork()
if child == 0:
    sys.stdin.read(1)
    os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
print("dead", flush=True)
sys.stdin.read()
"""


def test_a_child_that_died_unnoticed_is_seen_from_above():
    with subprocess.Popen(
        [sys.executable, "-c", CARELESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        below = descendants(os.getpid())
        before = dead_descendants(os.getpid())
        parent.stdin.write(b"1")
        parent.stdin.flush()
        parent.stdout.readline()
        after = dead_descendants(os.getpid())

    assert parent.pid in {each.pid for each in below}
    assert not before
    assert after
