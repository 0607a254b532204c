"""What the shipped models find in real CT: volumes, Dice where there is a reference, seconds.

Prints a Markdown table for docs/models.md.  Run as
``python benchmarks/model_quality.py FOLDER [PICTURES]``, FOLDER holding archives (.tar.xz) of one
series each and, for Dice, ``*_ct.nrrd`` with ``*_lungmask.nrrd`` beside it.  PICTURES gets an
overlay of each.
"""

from __future__ import annotations

import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from dicomnode.errors import SeriesError
from dicomnode.imaging.files import find_series
from dicomnode.imaging.grid import ModelGrids
from dicomnode.imaging.volume import read_series
from dicomnode.inference.client import TritonClient
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.guards import check_lungs
from dicomnode.inference.manifest import SHIPPED_MODELS, find_manifests
from dicomnode.inference.measure import describe_segments
from dicomnode.inference.ratios import Segmented
from dicomnode.model.volume import SourceFrame, Volume, VolumeGeometry
from dicomnode.pipeline.asking import label_volume
from dicomnode.pipeline.layers import lay_over
from dicomnode.results.picture import Pictures, encode_png

_MANIFESTS = find_manifests([SHIPPED_MODELS])


def main(folder: Path, pictures: Path | None = None) -> None:
    """Print the table, and draw what was found."""
    print("| series | slices | left mL | right mL | ground glass mL | consolidation mL |", end="")
    print(" Dice | lungs s | opacities s | guards |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with (
        TemporaryDirectory() as scratch,
        EmbeddedTriton(
            repositories=[SHIPPED_MODELS], run_dir=Path(scratch), startup_seconds=120
        ) as server,
        TritonClient(server.address, timeout_seconds=300) as client,
    ):
        for name, volume, reference in _volumes(folder):
            if isinstance(volume, Volume):
                print(_row(client, name, volume, reference, pictures), flush=True)
            else:
                print(f"| {name} | | | | | | | | | not a volume: {volume} |", flush=True)


def _row(
    client: TritonClient,
    name: str,
    volume: Volume,
    reference: NDArray[np.uint8] | None,
    pictures: Path | None,
) -> str:
    grids = ModelGrids(volume)
    found: list[Segmented] = []
    seconds = []
    for manifest in (_MANIFESTS["lung"], _MANIFESTS["opacities"]):
        begin = time.perf_counter()
        labels = label_volume(client, manifest, grids, found)
        seconds.append(time.perf_counter() - begin)
        segments = describe_segments(
            manifest,
            manifest.identity("triton"),
            labels=labels,
            voxels_hu=volume.voxels_hu,
            voxel_volume_ml=volume.geometry.voxel_volume_ml,
        )
        found.append(Segmented(manifest=manifest, labels=labels, segments=segments))
    volumes = " | ".join(f"{s.volume_ml:.0f}" for each in found for s in each.segments)
    dice = ""
    if reference is not None:
        lungs = found[0].labels > 0
        both = np.count_nonzero(lungs & (reference > 0))
        dice = f"{2 * both / (np.count_nonzero(lungs) + np.count_nonzero(reference)):.3f}"
    view = grids.to("LPS")
    guards = check_lungs(view.apply(found[0].labels), found[0].segments)
    if pictures is not None:
        label_map, segments = lay_over(found, volume.geometry)
        page = Pictures(
            view.voxels_hu,
            view.apply(label_map.flat()),
            spacing_kji_mm=view.spacing_kji_mm,
            segments=segments,
            classifications=(),
            lines=tuple(each.sentence for each in guards),
        ).summary_page()
        pictures.mkdir(parents=True, exist_ok=True)
        (pictures / f"{name}.png").write_bytes(encode_png(page))
    names = ", ".join(each.name for each in guards)
    times = " | ".join(f"{each:.1f}" for each in seconds)
    return f"| {name} | {len(volume.voxels_hu)} | {volumes} | {dice} | {times} | {names} |"


def _volumes(
    folder: Path,
) -> Iterator[tuple[str, Volume | str, NDArray[np.uint8] | None]]:
    for path in sorted(folder.rglob("*.tar.xz")):
        with TemporaryDirectory() as scratch:
            with tarfile.open(path) as archive:
                archive.extractall(scratch, filter="data")
            for series in find_series([Path(scratch)]).series.values():
                try:
                    yield path.name.removesuffix(".tar.xz"), read_series(series.paths).volume, None
                except SeriesError as error:
                    yield path.name.removesuffix(".tar.xz"), error.reason, None
    for path in sorted(folder.rglob("*_ct.nrrd")):
        mask = SimpleITK.ReadImage(path.with_name(path.name.replace("_ct.", "_lungmask.")))
        yield path.stem, _as_volume(SimpleITK.ReadImage(path)), SimpleITK.GetArrayFromImage(mask)


def _as_volume(image: SimpleITK.Image) -> Volume:
    voxels = SimpleITK.GetArrayFromImage(image).astype(np.int16)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    source = SourceFrame(sop_class_uid="2.25.1", sop_instance_uid="2.25.2", frame_number=None)
    return Volume(
        voxels_hu=voxels,
        geometry=VolumeGeometry(
            shape_kji=(voxels.shape[0], voxels.shape[1], voxels.shape[2]), affine_ijk_to_lps=affine
        ),
        sources=(source,) * len(voxels),
        frame_of_reference_uid=None,
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
