"""Writing a volume as NIfTI or MetaImage, for people who work with such files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import SimpleITK

from dicomnode.errors import ResultError
from dicomnode.imaging.grid import needs_resampling, straighten
from dicomnode.model.volume import Volume

SUFFIXES: Final = (".nii.gz", ".nii", ".mha")
"""What can be written."""


def is_writable_as(path: Path) -> bool:
    """Whether the name of a file says a format that can be written."""
    return path.name.lower().endswith(SUFFIXES)


def write_volume(volume: Volume, path: Path) -> None:
    """Write Hounsfield units with their geometry.

    A volume whose slices are sheared or uneven is resampled as for a model: neither format is read
    rightly everywhere with axes that are not at right angles.

    Parameters
    ----------
    volume : Volume
    path : Path
        Its suffix, one of `SUFFIXES`, says the format.

    Raises
    ------
    ValueError
        If the suffix is another.
    ResultError
        If the file cannot be written.
    """
    if not is_writable_as(path):
        raise ValueError(f"wanted a name that ends with {', '.join(SUFFIXES)}")
    straight = straighten(volume) if needs_resampling(volume.geometry) else volume
    affine = straight.geometry.affine_ijk_to_lps
    spacing = straight.geometry.spacing_ijk_mm
    image = SimpleITK.GetImageFromArray(straight.voxels_hu)
    image.SetSpacing(spacing)
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(image, path, useCompression=True)
    except (OSError, RuntimeError) as error:
        raise ResultError(f"{path.name} cannot be written ({type(error).__name__})") from error
