"""What other readers make of a series: affine to LPS millimeters and voxels, for comparison."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK

from tests.support.ct import BRIGHT_HU


def itk_of(folder):
    """Return affine (column, row, slice) to LPS mm and voxels by ITK, multi-frame or not."""
    files = [path for path in Path(folder).iterdir() if path.is_file()]
    if len(files) == 1:
        image = SimpleITK.ReadImage(files[0])
    else:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine, SimpleITK.GetArrayFromImage(image)


def highdicom_of(paths):
    """Return affine and voxels of highdicom, whose slices may run the other way."""
    import highdicom

    as_stored = {"dtype": np.float64, "apply_voi_transform": False}
    if len(set(paths)) == 1:
        volume = highdicom.imread(paths[0]).get_volume(**as_stored)
    else:
        data_sets = [pydicom.dcmread(path) for path in paths]
        for ds in data_sets:
            # It refuses a UID for each slice, as some de-identification leaves it.
            ds.FrameOfReferenceUID = data_sets[0].get("FrameOfReferenceUID") or "1.2.3.4"
        volume = highdicom.get_volume_from_series(data_sets, **as_stored)
    return volume.affine[:, [2, 1, 0, 3]], volume.array


def dcm2niix_of(folder, out):
    """Return affine to LPS mm and voxels in (slice, row, column) order of dcm2niix's NIfTI."""
    tool = shutil.which("dcm2niix", path=os.defpath)
    assert tool is not None, "wanted Debian's dcm2niix"
    out.mkdir()
    # -y: no Y flip; -m: no merging; -x: no crop; -z: no compression.
    command = [tool, "-z", "n", "-y", "n", "-x", "n", "-f", "volume", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    content = (out / "volume.nii").read_bytes()
    i, j, k = np.frombuffer(content, "<i2", 3, 42)
    dtype = {4: "<i2", 512: "<u2"}[int(np.frombuffer(content, "<i2", 1, 70)[0])]
    slope, intercept = np.frombuffer(content, "<f4", 2, 112)
    ras = np.frombuffer(content, "<f4", 12, 280).reshape(3, 4).astype(float)
    start = int(np.frombuffer(content, "<f4", 1, 108)[0])
    voxels = np.frombuffer(content, dtype, int(i) * int(j) * int(k), start).reshape(k, j, i)
    affine = np.vstack([np.diag([-1, -1, 1]) @ ras, [0, 0, 0, 1]])
    return affine, voxels * (slope or 1.0) + intercept


def _values_at(affine, voxels, points_lps):
    """Return voxel values at LPS points, by the nearest index."""
    ijk = (points_lps - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    nearest = np.rint(ijk).astype(int)
    assert np.abs(ijk - nearest).max() < 0.02, "wanted the voxel centers of one grid"
    return voxels[nearest[:, 2], nearest[:, 1], nearest[:, 0]]


def _sample(volume, count=2000):
    """Return (LPS points, values) of some voxels, the corners and the bright ones among them."""
    shape = np.array(volume.voxels_hu.shape)
    kji = np.random.default_rng(5).integers(0, shape, (count, 3))
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1).T
    bright = np.argwhere(volume.voxels_hu == BRIGHT_HU)[:5]
    kji = np.vstack([kji, corners, bright])
    points = volume.geometry.to_lps(kji[:, ::-1].astype(float))
    return points, volume.voxels_hu[tuple(kji.T)]


def assert_agrees(volume, opinion, *, floor_hu=None):
    """Hold a volume against another reader's: the same grid, and the same values on it.

    Axes may run the other way.  Below `floor_hu` values are not compared: other readers keep the
    padding that becomes air here.
    """
    affine, voxels = opinion
    assert sorted(volume.voxels_hu.shape) == sorted(voxels.shape)
    ours = _corners(volume.geometry.affine_ijk_to_lps, volume.voxels_hu.shape)
    theirs = _corners(affine, voxels.shape)
    apart = np.linalg.norm(ours[:, None] - theirs[None], axis=2).min(axis=1)
    assert apart.max() < 0.005, f"wanted the same corners, found them {apart.max():.3f} mm apart"
    points, values = _sample(volume)
    found = _values_at(affine, voxels, points)
    compared = np.full(values.shape, fill_value=True) if floor_hu is None else values > floor_hu
    assert compared.sum() > 0.2 * values.size
    np.testing.assert_array_equal(found[compared], values[compared])


def _corners(affine, shape_kji):
    """Return the centers of the eight corner voxels, in LPS millimeters."""
    kji = np.array(np.meshgrid(*[(0, n - 1) for n in shape_kji])).reshape(3, -1).T
    return kji[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
