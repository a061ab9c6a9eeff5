"""One frame of an image: its plane, its rescale, and what tells it from frames at its place.

A classic file holds one frame, read from the data set itself. An enhanced file holds many, read
from its functional groups, per frame first and shared where the frame has none (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from pydicom.dataset import Dataset

from medssl.archive.dicom import elements
from medssl.archive.dicom.diffusion import Diffusion, diffusion_of, diffusion_of_frame
from medssl.archive.dicom.ignored import private_slope_of
from medssl.archive.dicom.kinds import marker_of
from medssl.archive.dicom.mosaic import Mosaic
from medssl.archive.reasons import Reason

_TRANSFORMATION = "PixelValueTransformationSequence"
Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """The facts of a frame that place it in a volume.

    Attributes:
        index: of the frame in its file, from 0.
        position: centre of the first voxel, LPS mm; empty where absent.
        orientation: direction cosines of a row and of a column, LPS; empty where absent.
        spacing: between rows and between columns, mm; empty where absent.
        slope, intercept: None where absent, NaN where no number.
        rescale_type: RescaleType, HU or US for example; empty where absent.
        lookup: whether a Modality LUT stands in place of slope and intercept.
        image_type: ImageType or FrameType.
        marker: why this frame is no scan, by its own marking.
        trigger_ms: from the R wave, nominal or measured.
        acquired_s: acquisition time, seconds since 1900.
        dimensions: DimensionIndexValues.
        private_slope: Philips' private scale slope; None where absent.
    """

    index: int
    position: Numbers = ()
    orientation: Numbers = ()
    spacing: Numbers = ()
    slope: float | None = None
    intercept: float | None = None
    rescale_type: str = ""
    lookup: bool = False
    image_type: tuple[str, ...] = ()
    marker: Reason | None = None
    echo_ms: float | None = None
    diffusion: Diffusion = field(default_factory=Diffusion)
    stack: str = ""
    temporal: int | None = None
    trigger_ms: float | None = None
    inversion_ms: float | None = None
    flip_deg: float | None = None
    acquisition: int | None = None
    kernel: tuple[str, ...] = ()
    acquired_s: float | None = None
    dimensions: tuple[int, ...] = ()
    private_slope: float | None = None


def classic_frame(ds: Dataset) -> Frame:
    """The one frame of a single-frame CT, MR or PET image."""
    image_type = elements.tokens(ds, "ImageType")
    return Frame(
        index=0,
        position=_exactly(3, elements.numbers(ds, "ImagePositionPatient")),
        orientation=_exactly(6, elements.numbers(ds, "ImageOrientationPatient")),
        spacing=_exactly(2, elements.numbers(ds, "PixelSpacing")),
        slope=elements.number_or_nan(ds, "RescaleSlope"),
        intercept=elements.number_or_nan(ds, "RescaleIntercept"),
        rescale_type=elements.text(ds, "RescaleType").upper(),
        lookup=elements.first_item(ds, "ModalityLUTSequence") is not None
        or elements.is_no_sequence(ds, "ModalityLUTSequence"),
        image_type=image_type,
        marker=marker_of(image_type, elements.text(ds, "VolumeBasedCalculationTechnique")),
        echo_ms=elements.number(ds, "EchoTime"),
        diffusion=diffusion_of(ds),
        temporal=elements.integer(ds, "TemporalPositionIdentifier"),
        trigger_ms=elements.number(ds, "TriggerTime"),
        inversion_ms=elements.number(ds, "InversionTime"),
        flip_deg=elements.number(ds, "FlipAngle"),
        acquisition=elements.integer(ds, "AcquisitionNumber"),
        kernel=elements.tokens(ds, "ConvolutionKernel"),
        acquired_s=elements.seconds(
            elements.text(ds, "AcquisitionDate"), elements.text(ds, "AcquisitionTime")
        ),
        private_slope=private_slope_of(ds),
    )


def mosaic_frames(whole: Frame, mosaic: Mosaic | None) -> tuple[Frame, ...]:
    """One frame a tile; the whole matrix, marked, where it cannot be unfolded."""
    if mosaic is None:
        return (replace(whole, marker=Reason.SIEMENS_MOSAIC),)
    return tuple(
        replace(whole, index=i, position=position) for i, position in enumerate(mosaic.positions)
    )


def enhanced_frames(ds: Dataset) -> tuple[Frame, ...]:
    """The frames of an enhanced CT, MR or PET image, in the order of its pixels."""
    shared = elements.first_item(ds, "SharedFunctionalGroupsSequence")
    items = elements.items(ds, "PerFrameFunctionalGroupsSequence")
    return tuple(_enhanced_frame(i, item, shared, ds) for i, item in enumerate(items))


def _enhanced_frame(index: int, item: Dataset, shared: Dataset | None, ds: Dataset) -> Frame:
    def group(*names: str) -> Dataset:
        for name in names:
            for source in (item, shared):
                found = elements.first_item(source, name)
                if found is not None:
                    return found
        return Dataset()

    content = group("FrameContentSequence")
    measures = group("PixelMeasuresSequence")
    rescale = group(_TRANSFORMATION)
    kind = group("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")
    cardiac = group("CardiacSynchronizationSequence", "CardiacTriggerSequence")
    timing = group("MRTimingAndRelatedParametersSequence")
    modifier = group("MRModifierSequence")
    unscaled = any(elements.is_no_sequence(source, _TRANSFORMATION) for source in (item, shared))
    image_type = elements.tokens(kind, "FrameType") or elements.tokens(ds, "ImageType")
    component = elements.text(kind, "ComplexImageComponent").upper()
    if component and component not in ("MIXED", "MAGNITUDE"):
        image_type = (*image_type, component)
    calculation = elements.text(kind, "VolumeBasedCalculationTechnique")
    temporal = elements.number(group("TemporalPositionSequence"), "TemporalPositionTimeOffset")
    return Frame(
        index=index,
        position=_exactly(
            3, elements.numbers(group("PlanePositionSequence"), "ImagePositionPatient")
        ),
        orientation=_exactly(
            6, elements.numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient")
        ),
        spacing=_exactly(2, elements.numbers(measures, "PixelSpacing")),
        slope=math.nan if unscaled else elements.number_or_nan(rescale, "RescaleSlope"),
        intercept=elements.number_or_nan(rescale, "RescaleIntercept"),
        rescale_type=elements.text(rescale, "RescaleType").upper(),
        image_type=image_type,
        marker=marker_of(image_type, calculation),
        echo_ms=elements.number(group("MREchoSequence"), "EffectiveEchoTime"),
        diffusion=diffusion_of_frame(group("MRDiffusionSequence")),
        stack=elements.text(content, "StackID"),
        temporal=elements.integer(content, "TemporalPositionIndex")
        or (None if temporal is None else round(temporal * 1000)),
        trigger_ms=elements.number(cardiac, "NominalCardiacTriggerDelayTime"),
        inversion_ms=elements.number(modifier, "InversionTimes"),
        flip_deg=elements.number(timing, "FlipAngle"),
        acquisition=elements.integer(content, "FrameAcquisitionNumber"),
        kernel=elements.tokens(group("CTReconstructionSequence"), "ConvolutionKernel"),
        acquired_s=elements.moment(content, "FrameAcquisitionDateTime")
        or elements.moment(content, "FrameReferenceDateTime"),
        dimensions=tuple(int(n) for n in elements.numbers(content, "DimensionIndexValues")),
        private_slope=private_slope_of(item, shared),
    )


def _exactly(count: int, values: Numbers) -> Numbers:
    return values if len(values) == count else ()
