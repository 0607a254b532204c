import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from dicomnode.inference.nifti import decode_nifti, encode_nifti

AFFINE = np.array(
    [[0.7, 0.1, 0.0, -31.0], [-0.1, 0.9, 0.0, 17.0], [0.0, 0.0, 2.5, -250.0], [0, 0, 0, 1]]
)
AFFINE[:3, :2] = np.linalg.qr(AFFINE[:3, :2])[0] * (0.7, 0.9)


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(3).integers(-1024, 3000, (4, 6, 9)).astype(np.int16)


@pytest.mark.parametrize(("compress", "name"), [(True, "a.nii.gz"), (False, "a.nii")])
def test_itk_reads_what_was_written(tmp_path: Path, voxels: np.ndarray, compress: bool, name: str):
    (tmp_path / name).write_bytes(encode_nifti(voxels, AFFINE, compress=compress))

    image = SimpleITK.ReadImage(tmp_path / name)

    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), voxels)
    for index in ((0, 0, 0), (8, 0, 0), (0, 5, 0), (8, 5, 3)):
        point = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(point, AFFINE[:3] @ (*index, 1), atol=1e-4)


def test_what_itk_writes_is_read(tmp_path: Path, voxels: np.ndarray):
    image = SimpleITK.GetImageFromArray(voxels.astype(np.uint8))
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((-31, 17, -250))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    SimpleITK.WriteImage(image, tmp_path / "b.nii.gz")

    found, affine = decode_nifti((tmp_path / "b.nii.gz").read_bytes())

    np.testing.assert_array_equal(found, voxels.astype(np.uint8))
    np.testing.assert_allclose(affine @ (1, 0, 0, 1), (-31.7, 17, -250, 1), atol=1e-5)


def test_the_same_volume_gives_the_same_bytes(voxels: np.ndarray):
    assert encode_nifti(voxels, AFFINE, compress=True) == encode_nifti(
        voxels, AFFINE, compress=True
    )


def test_slope_and_intercept_are_applied(voxels: np.ndarray):
    content = bytearray(encode_nifti(voxels, AFFINE, compress=False))
    struct.pack_into("<2f", content, 112, 0.5, -3.0)

    found, _ = decode_nifti(bytes(content))

    np.testing.assert_allclose(found, voxels * 0.5 - 3.0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "wanted a NIfTI-1 file"),
        (b"\x00" * 400, "wanted a NIfTI-1 file"),
        (b"\x1f\x8b broken", "damaged"),
        (gzip.compress(b"abc" * 200)[:-12], "incomplete"),
    ],
    ids=["nothing", "zeros", "damaged", "cut"],
)
def test_what_is_no_nifti_file_is_refused(content: bytes, words: str):
    with pytest.raises(ValueError, match=words):
        decode_nifti(content)


@pytest.mark.parametrize(
    ("at", "form", "value", "words"),
    [
        (40, "<h", 2, "three axes"),
        (42, "<h", 3000, "NIfTI voxels, found"),
        (70, "<h", 32, "real type"),
        (254, "<h", 0, "sform"),
        (108, "<f", float("inf"), "voxels from byte 352"),
        (108, "<f", float("nan"), "voxels from byte 352"),
    ],
    ids=["two axes", "too few bytes", "complex numbers", "no sform", "beyond all", "nowhere"],
)
def test_a_header_that_cannot_be_used_is_refused(voxels, at, form, value, words):
    content = bytearray(encode_nifti(voxels, AFFINE, compress=False))
    struct.pack_into(form, content, at, value)

    with pytest.raises(ValueError, match=words):
        decode_nifti(bytes(content))
