"""Decoding in processes of their own: right values, and what their death costs."""

import os
import signal

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from dicomnode.errors import MissingSlices
from dicomnode.imaging import decoding
from dicomnode.imaging.slices import read_slice
from dicomnode.imaging.volume import read_volume
from tests.support.ct import asymmetric_hu, make_series


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_slices_are_decoded_elsewhere_and_stand_in_their_place(tmp_path, syntax):
    shape = (9, 40, 36)
    paths = make_series(tmp_path, shape_kji=shape, transfer_syntax=syntax)
    images = [read_slice(path) for path in paths]
    out = np.zeros(shape, np.int16)

    told = decoding.decode_all(images, list(out))

    assert told == [None] * 9
    np.testing.assert_array_equal(out, asymmetric_hu(shape))


def test_a_worker_that_dies_costs_its_slice_and_no_other(tmp_path, monkeypatch):
    images = [read_slice(path) for path in make_series(tmp_path, transfer_syntax=RLELossless)]
    real = decoding._Worker.decode

    def decode(self, image, path, offset):
        if image is images[3]:
            os.kill(self._process.pid, signal.SIGSEGV)
        return real(self, image, path, offset)

    monkeypatch.setattr(decoding._Worker, "decode", decode)
    out = np.zeros((9, 23, 17), np.int16)

    told = decoding.decode_all(images, list(out))

    assert [index for index, fault in enumerate(told) if fault] == [3]
    assert "ended with status -11" in told[3]
    sound = [0, 1, 2, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(out[sound], asymmetric_hu()[sound])


def test_a_decoder_that_hangs_is_ended(tmp_path, monkeypatch):
    (image,) = [
        read_slice(path)
        for path in make_series(tmp_path, shape_kji=(1, 23, 17), transfer_syntax=RLELossless)
    ]
    decoding.close_workers()
    real = decoding._Worker.decode

    def decode(self, image, path, offset):
        os.kill(self._process.pid, signal.SIGSTOP)
        return real(self, image, path, offset)

    monkeypatch.setattr(decoding._Worker, "decode", decode)
    monkeypatch.setattr(decoding, "SLICE_SECONDS", 0.2)

    (fault,) = decoding.decode_all([image], [np.zeros((23, 17), np.int16)])

    assert "ended with status -9" in fault


def test_a_deflate_bomb_is_a_refusal(tmp_path, monkeypatch):
    paths = make_series(tmp_path, transfer_syntax="1.2.840.10008.1.2.1.99")
    ds = pydicom.dcmread(paths[4])
    ds.add_new(0x00091001, "OB", b"")
    ds.add_new(0x7FE10010, "LO", "X")
    ds.add_new(0x7FE11001, "OB", bytes(3 << 27))
    ds.save_as(paths[4])
    assert paths[4].stat().st_size < 1_000_000
    decoding.close_workers()
    monkeypatch.setattr(decoding, "WORKER_BYTES", 3 << 28)

    with pytest.raises(MissingSlices, match=r"MemoryError|ended with status"):
        read_volume(paths)

    decoding.close_workers()
