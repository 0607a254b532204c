"""The lung segmentation: right where there are lungs, silent where there are none."""

import io
import tarfile

import numpy as np
import pydicom
import pytest
import SimpleITK
from lungs import segment_lungs

AIR, TISSUE, LUNG, BONE = -1000, 40, -850, 700


def dice(found, wanted):
    return 2 * (found & wanted).sum() / (found.sum() + wanted.sum())


def read_series(path):
    """Read a packed series: HU, spacing; slices to the head.  All of them are axial."""
    planes = {}
    with tarfile.open(path) as tar:
        for member in filter(tarfile.TarInfo.isfile, tar.getmembers()):
            content = tar.extractfile(member)
            ds = pydicom.dcmread(io.BytesIO(content.read()), force=True)
            hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
            planes[float(ds.ImagePositionPatient[2])] = hu.astype(np.int16)
            pixel_mm = [float(each) for each in ds.PixelSpacing]
    heights = sorted(planes)
    hu = np.stack([planes[z] for z in heights])
    return hu, (float(np.median(np.diff(heights))), *pixel_mm)


def ellipsoid(shape, spacing, center_mm, radii_mm):
    """Voxels of an ellipsoid; center and radii are (z, y, x) from the middle of the volume."""
    grids = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)),
        indexing="ij",
    )
    parts = zip(grids, center_mm, radii_mm, strict=True)
    return sum(((grid - at) / radius) ** 2 for grid, at, radius in parts) < 1


# Phantom


@pytest.fixture(scope="module")
def found(thorax):
    """What is found in the phantom as it is."""
    hu, _, spacing = thorax
    return segment_lungs(hu, spacing)


def test_both_lungs_are_found_on_their_sides(thorax, found):
    hu, truth, _ = thorax
    labels = found

    assert labels.dtype == np.uint8
    assert labels.shape == hu.shape
    assert dice(labels > 0, truth > 0) > 0.97
    assert dice(labels == 1, truth == 1) > 0.97
    assert dice(labels == 2, truth == 2) > 0.97


def test_the_same_volume_gives_the_same_labels(thorax, found):
    hu, _, spacing = thorax

    assert np.array_equal(segment_lungs(hu, spacing), found)


def test_the_volume_is_left_as_it_was(thorax):
    hu, _, spacing = thorax
    before = hu.copy()
    hu.flags.writeable = False

    segment_lungs(hu, spacing)

    hu.flags.writeable = True
    assert np.array_equal(before, hu)


def test_a_prone_patient_is_segmented_alike(thorax):
    hu, truth, spacing = thorax
    turned = np.ascontiguousarray(hu[:, ::-1, ::-1])

    labels = segment_lungs(turned, spacing)

    # Turned by half a circle, the other lung lies on the left of the image.
    assert dice(labels == 1, truth[:, ::-1, ::-1] == 2) > 0.97
    assert dice(labels == 2, truth[:, ::-1, ::-1] == 1) > 0.97


@pytest.mark.parametrize("scale", [0.55, 0.35], ids=["child", "infant"])
def test_small_patients_are_segmented_too(thorax, scale):
    hu, truth, spacing = thorax

    labels = segment_lungs(hu, [scale * mm for mm in spacing])

    assert dice(labels > 0, truth > 0) > 0.95


def test_spacing_is_taken_as_it_comes(thorax):
    """On a grid whose axes are stretched differently, the result is the same anatomy."""
    hu, truth, spacing = thorax

    labels = segment_lungs(
        np.ascontiguousarray(hu[:, ::2]), (spacing[0], 2 * spacing[1], spacing[2])
    )

    assert dice(labels > 0, truth[:, ::2] > 0) > 0.96


@pytest.mark.parametrize("step", [2, 3], ids=["8 mm", "12 mm"])
def test_thick_slices_are_segmented(thorax, step):
    hu, truth, spacing = thorax
    offset = step // 2

    labels = segment_lungs(
        np.ascontiguousarray(hu[offset::step]), (step * spacing[0], *spacing[1:])
    )

    assert dice(labels == 1, truth[offset::step] == 1) > 0.95
    assert dice(labels == 2, truth[offset::step] == 2) > 0.95


def test_noise_of_a_low_dose_is_borne(thorax):
    hu, truth, spacing = thorax
    noise = np.random.default_rng(3).normal(0, 90, hu.shape)

    labels = segment_lungs(np.clip(hu + noise, -1024, 3071).astype(np.int16), spacing)

    assert dice(labels > 0, truth > 0) > 0.95


@pytest.mark.parametrize(
    "part", [slice(35, 80), slice(0, 55), slice(38, 50)], ids=["base", "apex", "both"]
)
def test_lungs_that_the_scan_cuts_keep_their_cut(thorax, part):
    hu, truth, spacing = thorax

    labels = segment_lungs(np.ascontiguousarray(hu[part]), spacing)

    assert dice(labels > 0, truth[part] > 0) > 0.96


@pytest.mark.parametrize("padding", [-1024, -2000, -3024])
def test_lungs_that_a_round_field_of_view_cuts_are_found(thorax, padding):
    hu, truth, spacing = thorax
    j, i = np.ogrid[:180, :200]
    outside = np.hypot((j - 85) * spacing[1], (i - 100) * spacing[2]) > 105
    box = (slice(None), slice(32, 138), slice(41, 160))
    cut = np.ascontiguousarray(np.where(outside, np.int16(padding), hu)[box])

    labels = segment_lungs(cut, spacing)

    assert dice(labels > 0, ((truth > 0) & ~outside)[box]) > 0.95


def test_the_trachea_is_not_lung(thorax, found):
    hu, truth, _ = thorax

    airway = (hu < -930) & (truth == 0)
    airway[:, :50] = airway[:, 130:] = airway[:, :, :70] = airway[:, :, 130:] = False
    airway[:50] = False
    assert airway.sum() > 500
    assert (found > 0)[airway].mean() < 0.02


def ball(hu, spacing, center_kji, radius_mm):
    grids = np.ogrid[tuple(slice(0, n) for n in hu.shape)]
    parts = zip(grids, center_kji, spacing, strict=True)
    return sum(((grid - at) * mm) ** 2 for grid, at, mm in parts) < radius_mm**2


@pytest.mark.parametrize("gap_mm", [10, 0], ids=["beside", "touching"])
def test_arms_at_the_patients_sides_change_nothing(thorax, found, gap_mm):
    hu, _, spacing = thorax
    with_arms = hu.copy()
    row = hu.shape[1] // 2
    body = np.flatnonzero(hu[40, row] > -300)[[0, -1]]
    j, i = np.ogrid[: hu.shape[1], : hu.shape[2]]
    for edge, outward in zip(body, (-1, 1), strict=True):
        from_bone = np.hypot(
            (j - row) * spacing[1], (i - edge) * spacing[2] - outward * 20 - outward * gap_mm
        )
        with_arms[:, from_bone < 22] = np.maximum(with_arms[:, from_bone < 22], 50)
        with_arms[:, from_bone < 9] = 600

    labels = segment_lungs(with_arms, spacing)

    assert (with_arms != hu).any()
    assert np.array_equal(labels, found)


@pytest.mark.parametrize(
    ("center_kji", "radius_mm"), [((40, 95, 55), 24), ((45, 100, 50), 20), ((50, 90, 145), 24)]
)
@pytest.mark.parametrize("hu_within", [40, -980], ids=["consolidation", "bulla"])
def test_what_a_lung_encloses_belongs_to_it(thorax, center_kji, radius_mm, hu_within):
    hu, truth, spacing = thorax
    inside = ball(hu, spacing, center_kji, radius_mm)
    around = ball(hu, spacing, center_kji, radius_mm + 10)
    assert (truth[around] == truth[center_kji]).mean() > 0.98

    labels = segment_lungs(np.where(inside, np.int16(hu_within), hu), spacing)

    assert (labels[inside] == truth[center_kji]).mean() > 0.98
    assert dice(labels > 0, truth > 0) > 0.97


@pytest.mark.parametrize(
    ("center_kji", "radius_mm"), [((30, 125, 50), 35), ((30, 120, 50), 50), ((15, 90, 140), 60)]
)
def test_a_consolidation_at_the_pleura_costs_itself_and_swallows_nothing(
    thorax, found, center_kji, radius_mm
):
    hu, truth, spacing = thorax
    before = (found > 0) & (truth == 0)
    dense = ball(hu, spacing, center_kji, radius_mm) & (truth > 0)
    assert dense.sum() * np.prod(spacing) / 1000 > 50

    labels = segment_lungs(np.where(dense, np.int16(40), hu), spacing)

    rest = (truth > 0) & ~dense
    assert dice((labels > 0) & ~dense, rest) > 0.97
    beyond = (labels > 0) & (truth == 0)
    assert beyond.sum() < 1.05 * before.sum()


def test_contrast_in_heart_and_vessels_changes_little(thorax):
    hu, truth, spacing = thorax
    heart = ball(hu, spacing, (35, 85, 105), 55) & (hu > 0) & (hu < 80)
    bright = heart | ((truth > 0) & (hu > -100))

    labels = segment_lungs(np.where(bright, np.int16(350), hu), spacing)

    assert dice(labels == 1, truth == 1) > 0.97
    assert dice(labels == 2, truth == 2) > 0.97
    assert (
        not labels[heart & (truth == 0)].any() or (labels[heart & (truth == 0)] > 0).mean() < 0.02
    )


@pytest.mark.parametrize("mean_hu", [-960, -600], ids=["emphysema", "ground glass"])
def test_lungs_that_are_ill_throughout_are_found(thorax, mean_hu):
    hu, truth, spacing = thorax
    noise = np.random.default_rng(4).normal(0, 45, hu.shape)
    ill = np.where((truth > 0) & (hu < -700), np.clip(mean_hu + noise, -1024, 0), hu)

    labels = segment_lungs(ill.astype(np.int16), spacing)

    assert dice(labels == 1, truth == 1) > 0.95
    assert dice(labels == 2, truth == 2) > 0.95


def test_gas_in_the_stomach_is_not_lung(thorax, found):
    hu, truth, _ = thorax

    gas = (hu[:12, 30:90] < -900) & (truth[:12, 30:90] == 0)
    inside = gas & (np.arange(200) > 100) & (np.arange(200) < 160)
    assert inside.sum() > 300
    assert not (found[:12, 30:90] > 0)[inside].any()


# Bodies without lungs, made of shapes

SHAPE, SPACING = (40, 120, 140), (5.0, 2.5, 2.6)


def body(noise=12.0):
    rng = np.random.default_rng(5)
    hu = np.full(SHAPE, AIR, np.float32)
    hu[ellipsoid(SHAPE, SPACING, (0, 0, 0), (1e9, 110, 150))] = TISSUE
    return hu, rng.normal(0, noise, SHAPE)


def test_an_abdomen_with_bowel_gas_has_no_lungs():
    hu, noise = body()
    hu[ellipsoid(SHAPE, SPACING, (0, -50, 40), (60, 25, 45))] = AIR
    hu[ellipsoid(SHAPE, SPACING, (-50, -20, -80), (40, 30, 30))] = AIR
    hu[ellipsoid(SHAPE, SPACING, (60, -30, -60), (30, 20, 30))] = AIR

    assert not segment_lungs((hu + noise).astype(np.int16), SPACING).any()


def test_a_hollow_skull_has_no_lungs():
    hu = np.full(SHAPE, AIR, np.float32)
    hu[ellipsoid(SHAPE, SPACING, (0, 0, 0), (90, 100, 75))] = BONE
    hu[ellipsoid(SHAPE, SPACING, (0, 0, 0), (80, 90, 65))] = AIR

    assert not segment_lungs(hu.astype(np.int16), SPACING).any()


def test_foam_of_a_table_is_not_lung():
    hu, noise = body()
    hu[:, 108:] = -920
    hu[:, 108] = -100

    assert not segment_lungs((hu + noise).astype(np.int16), SPACING).any()


def test_lungs_that_touch_are_told_apart():
    hu, noise = body()
    right = ellipsoid(SHAPE, SPACING, (0, 0, -52), (85, 70, 55))
    left = ellipsoid(SHAPE, SPACING, (0, 0, 52), (85, 65, 55))
    hu[right | left] = LUNG
    assert (right & left).any()

    labels = segment_lungs((hu + 4 * noise).astype(np.int16), SPACING)

    assert dice(labels == 1, left) > 0.95
    assert dice(labels == 2, right) > 0.95


@pytest.mark.parametrize(
    "shape",
    [(1, 512, 512), (3, 2, 2), (5, 1, 1), (2, 100, 90), (12, 40, 70)],
    ids=lambda shape: "x".join(map(str, shape)),
)
@pytest.mark.parametrize("value", [-3024, -1024, -850, 0, 3071])
def test_a_constant_volume_is_empty_and_no_error(shape, value):
    labels = segment_lungs(np.full(shape, value, np.int16), (2.5, 0.9, 0.7))

    assert labels.shape == shape
    assert not labels.any()


@pytest.mark.parametrize("shape", [(9, 23, 17), (30, 64, 80), (3, 90, 100)])
def test_pure_noise_is_empty(shape):
    noise = np.random.default_rng(1).integers(-1024, 3071, shape).astype(np.int16)

    assert not segment_lungs(noise, (2.5, 0.9, 0.7)).any()


@pytest.mark.parametrize("spacing", [(2.5, 0.0, 0.7), (2.5, 0.7), (np.nan, 1.0, 1.0)])
def test_a_spacing_that_cannot_be_is_refused(spacing):
    with pytest.raises(ValueError, match="three spacings above 0 mm"):
        segment_lungs(np.zeros((4, 50, 60), np.int16), spacing)


def test_a_plane_is_refused():
    with pytest.raises(ValueError, match="three axes"):
        segment_lungs(np.zeros((50, 60), np.int16), (2.5, 0.7, 0.7))


# Real cases


@pytest.mark.cases
def test_real_lungs_agree_with_the_reference(cases):
    folder = cases / "chest-with-lung-mask"
    image = SimpleITK.ReadImage(folder / "lctsc-test-s1-201_ct.nrrd")
    reference = SimpleITK.GetArrayFromImage(
        SimpleITK.ReadImage(folder / "lctsc-test-s1-201_lungmask.nrrd")
    )

    labels = segment_lungs(
        SimpleITK.GetArrayFromImage(image).astype(np.int16), image.GetSpacing()[::-1]
    )

    assert dice(labels > 0, reference > 0) > 0.97


@pytest.mark.cases
@pytest.mark.parametrize(
    ("name", "left_ml", "right_ml"),
    [
        ("lidc-idri-0001", (1500, 2100), (1700, 2300)),
        ("cmb-crc-msb-01068-lung", (1700, 2300), (2200, 2800)),
    ],
)
def test_real_lungs_have_sane_volumes(cases, name, left_ml, right_ml):
    hu, spacing = read_series(cases / "chest" / f"{name}.tar.xz")

    labels = segment_lungs(hu, spacing)

    left, right = ((labels == side).sum() * np.prod(spacing) / 1000 for side in (1, 2))
    assert left_ml[0] < left < left_ml[1]
    assert right_ml[0] < right < right_ml[1]


@pytest.mark.cases
@pytest.mark.parametrize("name", ["head-phantom-philips-5mm", "totalsegmentator-body-20slices-j2k"])
def test_nothing_is_found_where_no_lung_is(cases, name):
    hu, spacing = read_series(cases / "negative" / f"{name}.tar.xz")

    assert not segment_lungs(hu, spacing).any()


@pytest.mark.cases
def test_an_abdomen_shows_at_most_the_tips_of_the_lungs(cases):
    hu, spacing = read_series(cases / "negative" / "acrin-flt-breast-001-abdomen-pelvis.tar.xz")

    labels = segment_lungs(hu, spacing)

    assert not labels[:75].any()
    assert (labels > 0).sum() * np.prod(spacing) / 1000 < 600
