"""What comes from elsewhere is what its license file says, and asks for nothing from elsewhere."""

import hashlib
import re
from pathlib import Path

import pytest

import dicomnode.console

STATIC = Path(dicomnode.console.__file__).parent / "static"


def test_niivue_is_the_file_that_its_license_speaks_of():
    words = (STATIC / "niivue.LICENSE.txt").read_text(encoding="utf-8")
    digest = hashlib.sha256((STATIC / "niivue.umd.js").read_bytes()).hexdigest()

    assert digest in words
    assert "@niivue/niivue@0.69.0" in words
    for name in ("NiiVue (BSD-2-Clause)", "gl-matrix (MIT)", "fflate (MIT)", "zarrita (MIT)"):
        assert name in words


@pytest.mark.parametrize("name", ["viewer.js", "viewer_3d.js", "viewer.css"])
def test_our_own_files_ask_for_nothing_from_elsewhere(name):
    text = (STATIC / name).read_text(encoding="utf-8")

    assert not re.search(r"https?://|//cdn|@import|\beval\(|new Function", text)
