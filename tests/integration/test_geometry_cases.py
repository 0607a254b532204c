"""Every readable series of the folder of cases: the geometry and voxels of three other readers."""

import os
import shutil
import subprocess
import tarfile

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import generate_uid

from dicomnode.imaging.policy import GatePolicy
from dicomnode.imaging.volume import read_series
from dicomnode.standard.sop_classes import CT_SOP_CLASSES
from tests.support.opinions import assert_agrees, dcm2niix_of, highdicom_of, itk_of

READERS = ("itk", "highdicom", "dcm2niix")

SERIES = (
    "chest/lidc-idri-0001.tar.xz",
    "chest/cmb-crc-msb-01068-lung.tar.xz",
    "negative/acrin-flt-breast-001-abdomen-pelvis.tar.xz",
    "negative/head-phantom-philips-5mm.tar.xz",
    "negative/totalsegmentator-body-20slices-j2k.tar.xz",
    "odd/missing-slice/ge-head-missing-slice-4slices.tar.xz",
    "odd/reformat/acrin-flt-breast-013-sagittal-nonsquare-20slices.tar.xz",
    "odd/multiframe-and-seg/dcmqi-ct-3slice-and-liver-seg.tar.xz",
    "odd/multiframe-and-seg/dcmqi-24x38x3/image-*.dcm",
    "odd/multiframe-and-seg/dcmqi-24x38x3/multiframe-mf.dcm",
    "odd/transfer-syntax/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm",
)
TILTED = (
    "odd/gantry-tilt/head-phantom-philips-tilt16.5.tar.xz",
    "odd/gantry-tilt/siemens-head-tilt14-4slices.tar.xz",
)
POLICY = GatePolicy(gaps="largest_block", min_slices=2)


@pytest.fixture(scope="module")
def series(cases, tmp_path_factory):
    """Lay the images of a series alone into a folder, once; return their paths."""
    done = {}

    def lay_out(name):
        if name not in done:
            done[name] = _lay_out(cases, name, tmp_path_factory.mktemp("case"))
        return done[name]

    return lay_out


def _lay_out(cases, name, scratch):
    folder = scratch / "images"
    folder.mkdir()
    if name.endswith(".tar.xz"):
        with tarfile.open(cases / name) as archive:
            archive.extractall(scratch / "all", filter="data")
        files = [path for path in (scratch / "all").rglob("*") if path.is_file()]
    else:
        files = sorted(cases.glob(name))
    uids = [generate_uid(), generate_uid()]
    for number, path in enumerate(sorted(files)):
        ds = pydicom.dcmread(path, force=True)
        if ds.get("SOPClassUID") and ds.SOPClassUID not in CT_SOP_CLASSES:
            continue
        target = folder / f"{number}.dcm"
        if all(ds.get(each) for each in ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")):
            shutil.copyfile(path, target)
            continue
        # De-identified too far: given UIDs, its geometry counts like any other.
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        ds.SOPInstanceUID = ds.get("SOPInstanceUID") or generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = uids
        ds.save_as(target)
    return sorted(folder.iterdir())


@pytest.mark.cases
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", SERIES)
def test_other_readers_agree_on_a_real_series(series, name, reader, tmp_path):
    found = read_series(series(name), POLICY)
    folder = tmp_path / "in"
    folder.mkdir()
    for path in set(found.paths):
        # The block of slices that was read, where one is missing.
        shutil.copyfile(path, folder / path.name)
        if ".51." in name and reader != "itk":
            # Neither highdicom nor dcm2niix has a decoder of 12-bit JPEG Extended: DCMTK's is lent.
            tool = shutil.which("dcmdjpeg", path=os.defpath)
            assert tool is not None, "wanted DCMTK of Debian"
            subprocess.run([tool, path, folder / path.name], check=True, timeout=60)
    paths = [folder / path.name for path in found.paths]

    if reader == "itk":
        opinion = itk_of(folder)
    elif reader == "highdicom":
        opinion = highdicom_of(paths)
    else:
        opinion = dcm2niix_of(folder, tmp_path / "out")

    # Below, there is padding that becomes air here.
    assert_agrees(found.volume, opinion, floor_hu=-1024)


# ITK's and highdicom's volumes have right angles only, and dcm2niix straightens what it writes (the
# phantom that it makes so is compared elsewhere) where a tag tells it to: each slice of a tilted
# gantry is read by ITK alone.
@pytest.mark.cases
@pytest.mark.parametrize("name", TILTED)
def test_itk_agrees_on_each_slice_of_a_real_tilted_series(series, name):
    found = read_series(series(name), POLICY)

    assert any("tilted" in note for note in found.volume.notes)
    affine = found.volume.geometry.affine_ijk_to_lps
    for k, path in enumerate(found.paths):
        image = SimpleITK.ReadImage(path)
        place = found.volume.geometry.to_lps(np.array([0.0, 0.0, k]))
        np.testing.assert_allclose(place, image.GetOrigin(), atol=0.02)
        axes = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        np.testing.assert_allclose(affine[:3, :2], axes[:, :2], atol=1e-4)
        (theirs,) = SimpleITK.GetArrayFromImage(image)
        ours = found.volume.voxels_hu[k]
        np.testing.assert_array_equal(ours[ours > -1024], theirs[ours > -1024])


@pytest.mark.cases
def test_no_series_of_the_cases_is_forgotten(cases):
    archives = {str(path.relative_to(cases)) for path in cases.rglob("*.tar.xz")}

    # Malformed files, each of which is a test of its own elsewhere.
    assert archives - {*SERIES, *TILTED} == {"odd/malformed/fuzz-pwnlab.tar.xz"}
