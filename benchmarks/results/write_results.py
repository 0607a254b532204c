"""Time and memory of writing SEG and SR, beside dcmqi's itkimage2segimage on the same mask.

    python benchmarks/results/write_results.py --slices 300 [--dcmqi] [--json FILE]

The mask holds two lung-shaped segments and a small one.  Each measurement runs in a process of its
own, so that the peak memory is its own; what the process held before the first call is told apart.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import SimpleITK
from pydicom.sr.coding import Code

from dicomnode.demo.series import write_ct_series
from dicomnode.model.findings import Findings, LabelMap, Measurement, ModelIdentity, Segment
from dicomnode.model.volume import SourceFrame, VolumeGeometry
from dicomnode.results.evidence import ResultContext, read_evidence
from dicomnode.results.part10 import encode_part10
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.sr import encode_report
from dicomnode.standard import codes

MATRIX = 512
SPACING_KJI_MM = (1.0, 0.75, 0.75)
MODEL = ModelIdentity(
    name="benchmark",
    version="1",
    manufacturer="dicomnode",
    family=Code("123110", "DCM", "Artificial Intelligence"),
    manifest_digest="0" * 64,
    triton_model="benchmark",
    server="none",
)
NAMES = (("Right lung", codes.RIGHT), ("Left lung", codes.LEFT), ("Trachea", None))


def make_mask(slices: int) -> np.ndarray:
    """Two ellipsoids over 87 % of the slices and a column of air above them."""
    j, i = np.mgrid[:MATRIX, :MATRIX]
    labels = np.zeros((slices, MATRIX, MATRIX), np.uint8)
    for k in range(slices):
        height = (k - 0.48 * slices) / (0.44 * slices)
        size = max(0.0, 1 - height * height) ** 0.5
        for number, middle in ((1, 0.3), (2, 0.7)):
            x, y = (i / MATRIX - middle) / 0.15, (j / MATRIX - 0.5) / 0.22
            labels[k][x * x + y * y < size * size] = number
        if k > 0.6 * slices:
            labels[k, 200:220, 248:264] = 3
    return labels


def make_case(folder: Path, slices: int) -> None:
    """Write CT and mask once for all measurements."""
    rng = np.random.default_rng(5)
    voxels = rng.integers(-1000, 200, (slices, MATRIX, MATRIX), dtype=np.int16)
    write_ct_series(
        folder / "ct",
        voxels,
        spacing_kji_mm=SPACING_KJI_MM,
        origin_lps=(-192.0, -192.0, -300.0),
        seed=5,
    )
    np.save(folder / "mask.npy", make_mask(slices))


def _reset_peak() -> None:
    """Forget the peak so far: a child begins with that of the process it was forked from."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(folder: Path) -> dict[str, float]:
    """Read headers, build and write SEG and SR; seconds of each and the peak above the start."""
    paths = sorted((folder / "ct").iterdir())
    labels = np.load(folder / "mask.npy", mmap_mode="r")
    affine = np.eye(4)
    times = {}

    def timed(name: str, call):
        begin = time.perf_counter()
        made = call()
        times[name] = round(time.perf_counter() - begin, 3)
        return made

    evidence = timed("read headers", lambda: read_evidence(paths))
    evidence = sorted(evidence, key=lambda each: float(each.ImagePositionPatient[2]))
    affine[:3, :3] = np.diag(SPACING_KJI_MM[::-1])
    affine[:3, 3] = [float(each) for each in evidence[0].ImagePositionPatient]
    geometry = VolumeGeometry(shape_kji=labels.shape, affine_ijk_to_lps=affine)
    findings = Findings(
        segments=tuple(
            Segment(
                number=number,
                label=name,
                category=codes.ANATOMICAL_STRUCTURE,
                property_type=codes.LUNG,
                laterality=side,
                color_rgb=(80, 160, 255),
                model=MODEL,
                volume_ml=1.0,
                measurements=(Measurement(name=codes.VOLUME, value=1.0, unit=codes.unit("mL")),),
            )
            for number, (name, side) in enumerate(NAMES, start=1)
        ),
        label_map=LabelMap(labels=labels, geometry=geometry),
        classifications=(),
        guards=(),
        models=(MODEL,),
    )
    sources = tuple(
        SourceFrame(
            sop_class_uid=str(each.SOPClassUID),
            sop_instance_uid=str(each.SOPInstanceUID),
            frame_number=None,
        )
        for each in evidence
    )
    context = ResultContext(
        series_instance_uid=str(evidence[0].SeriesInstanceUID),
        revision=1,
        pipeline="benchmark",
        pipeline_version="1",
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )

    def build_seg():
        return encode_segmentation(
            findings, volume_sources=sources, evidence=evidence, context=context
        )

    # The first in a process also loads highdicom's tables of the standard, once and for all.
    timed("build SEG, first in the process", build_seg)
    _reset_peak()
    before_mb = _peak_mb()
    segmentation = timed("build SEG", build_seg)
    content = timed("write SEG", lambda: encode_part10(segmentation))
    timed("file of SEG", lambda: (folder / "seg.dcm").write_bytes(content))
    report = timed(
        "build SR",
        lambda: encode_report(
            findings, evidence=evidence, segmentation=segmentation, context=context
        ),
    )
    timed("write SR", lambda: encode_part10(report))
    steps = ("write SEG", "file of SEG", "build SR", "write SR")
    rest = sum(times[each] for each in steps)
    times["SEG and SR"] = round(times["build SEG"] + rest, 3)
    times["SEG and SR, first in the process"] = round(
        times["build SEG, first in the process"] + rest, 3
    )
    peak_mb = _peak_mb()
    return times | {
        "MB of the SEG": round(len(content) / 1e6, 1),
        "MB before": round(before_mb),
        "MB at the peak": round(peak_mb),
    }


def measure_dcmqi(folder: Path) -> dict[str, float]:
    """The same mask by itkimage2segimage: NRRD in, SEG out."""
    image = SimpleITK.GetImageFromArray(np.load(folder / "mask.npy"))
    image.SetSpacing(SPACING_KJI_MM[::-1])
    probe = read_evidence(sorted((folder / "ct").iterdir()))
    lowest = min(probe, key=lambda each: float(each.ImagePositionPatient[2]))
    image.SetOrigin([float(each) for each in lowest.ImagePositionPatient])
    SimpleITK.WriteImage(image, str(folder / "mask.nrrd"))

    def code(value: Code) -> dict[str, str]:
        return {
            "CodeValue": value.value,
            "CodingSchemeDesignator": value.scheme_designator,
            "CodeMeaning": value.meaning,
        }

    attributes = [
        {
            "labelID": number,
            "SegmentDescription": name,
            "SegmentLabel": name,
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": "benchmark",
            "SegmentedPropertyCategoryCodeSequence": code(codes.ANATOMICAL_STRUCTURE),
            "SegmentedPropertyTypeCodeSequence": code(codes.LUNG),
            "recommendedDisplayRGBValue": [80, 160, 255],
        }
        for number, (name, _side) in enumerate(NAMES, start=1)
    ]
    facts = {
        "ContentCreatorName": "Benchmark",
        "SeriesDescription": "Segmentation",
        "SeriesNumber": "300",
        "InstanceNumber": "1",
        "segmentAttributes": [attributes],
    }
    (folder / "dcmqi.json").write_text(json.dumps(facts))
    program = shutil.which("itkimage2segimage", path=str(Path(sys.executable).parent))
    begin = time.perf_counter()
    subprocess.run(
        [
            program,
            *("--inputImageList", str(folder / "mask.nrrd")),
            *("--inputDICOMDirectory", str(folder / "ct")),
            *("--outputDICOM", str(folder / "dcmqi.dcm")),
            *("--inputMetadata", str(folder / "dcmqi.json"), "--skip"),
        ],
        check=True,
        capture_output=True,
    )
    took = time.perf_counter() - begin
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "dcmqi": round(took, 3),
        "MB of the SEG": round((folder / "dcmqi.dcm").stat().st_size / 1e6, 1),
        "MB at the peak": round(peak_mb),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--dcmqi", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=("ours", "dcmqi"), help=argparse.SUPPRESS)
    parser.add_argument("--case", type=Path, help="a folder to make the case in, or with it")
    given = parser.parse_args()
    if given.only:
        print(json.dumps((measure if given.only == "ours" else measure_dcmqi)(given.case)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.case or Path(scratch)
        if not (folder / "mask.npy").exists():
            folder.mkdir(parents=True, exist_ok=True)
            make_case(folder, given.slices)
        found = {"slices": given.slices, "machine": platform.processor() or platform.machine()}
        for who in ("ours", "dcmqi") if given.dcmqi else ("ours",):
            runs = [
                json.loads(
                    subprocess.run(
                        [sys.executable, __file__, "--only", who, "--case", str(folder)],
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout
                )
                for _ in range(given.repeat)
            ]
            # The best of some runs: what else the machine does only ever adds.
            found[who] = {key: min(run[key] for run in runs) for key in runs[0]}
    print(json.dumps(found, indent=2))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
