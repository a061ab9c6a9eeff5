"""Hazards of series that become volumes: what is in them, where it lies, what is missing."""

from __future__ import annotations

import copy
import shutil

import numpy as np
from pydicom.dataset import Dataset

from medssl.archive.reasons import Reason
from medssl.sample.hazards.clean import ORIGIN, STEP_MM, Clean, set_pixels, write_clean
from medssl.sample.hazards.hazard import Hazard, corrected, exact, refused
from medssl.sample.hazards.multiframe import group, item, write_enhanced, write_mosaic
from medssl.sample.hazards.place import Place

RESAMPLE = "irregular_spacing: resample"
_MIDDLE = 5

# --- several volumes under one series UID ---------------------------------------------------------


def clean(place: Place) -> None:
    write_clean(place)


def _volumes(place: Place, modality: str, elements: list[dict[str, object]]) -> None:
    """A volume at the same place for each set of elements, all under one series UID."""
    for n, values in enumerate(elements):
        series = Clean(place, modality, part=f"volume {n}").set(**values).expect()
        series.set(SeriesTime="101500").each(lambda k, ds: setattr(ds, "InstanceNumber", k + 1))
        series.write(name=f"V{n}_{{:04d}}")


def two_echoes(place: Place) -> None:
    _volumes(place, "MR", [{"EchoTime": "4.9"}, {"EchoTime": "7.4"}])


def b_values(place: Place) -> None:
    _volumes(place, "MR", [{"DiffusionBValue": float(b)} for b in (0, 500, 1000)])


def b_directions(place: Place) -> None:
    directions = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0])
    _volumes(place, "MR", [{"DiffusionBValue": 800.0, "DiffusionGradientOrientation": d}
                           for d in directions])  # fmt: skip


def time_points(place: Place) -> None:
    _volumes(place, "MR", [{"TemporalPositionIdentifier": str(t)} for t in (1, 2, 3)])


def heart_phases(place: Place) -> None:
    _volumes(place, "MR", [{"TriggerTime": str(t)} for t in (0, 120, 240)])


def image_types(place: Place) -> None:
    _volumes(place, "MR", [{"ImageType": ["ORIGINAL", "PRIMARY", kind]} for kind in ("M", "P")])


def epi_by_number(place: Place) -> None:
    """Nothing but InstanceNumber tells one time point from the next."""
    for t in range(3):
        series = Clean(place, "MR", part=f"volume {t}").expect()
        number = 10 * t + 1
        series.each(lambda k, ds, n=number: setattr(ds, "InstanceNumber", n + k))  # type: ignore[misc]
        series.write(name=f"T{t}_{{:04d}}")


def epi_incomplete(place: Place) -> None:
    """The same, and one slice of the second time point is gone."""
    epi_by_number(place)
    (place.folder / "T1_0004").unlink()
    shutil.rmtree(place.out / "truth" / place.name)


def orientations(place: Place) -> None:
    Clean(place, part="axial").expect().write(name="A{:04d}")
    sagittal = Clean(place, part="sagittal")
    sagittal.lie(along_row=(0, 1, 0), along_column=(0, 0, -1), step=(-STEP_MM, 0, 0))
    sagittal.expect().write(name="S{:04d}")


def sizes(place: Place) -> None:
    Clean(place, part="large").expect().write(name="L{:04d}")
    Clean(place, part="small", shape=(10, 16, 14)).expect().write(name="S{:04d}")


def frames_of_reference(place: Place) -> None:
    """The patient got up in between: the same numbers are two places."""
    write_clean(place, part="before")
    after = Clean(place, part="after").set(FrameOfReferenceUID=place.uid("other frame"))
    after.expect().write(name="B{:04d}")


def series_uid_reused(place: Place) -> None:
    """Two patients under one series UID."""
    write_clean(place, part="one")
    other = Clean(place, part="other").set(PatientID="SAMPLE-OTHER", PatientName="Sample^Other")
    other.expect().write(name="B{:04d}")


# --- order and repetition -------------------------------------------------------------------------


def numbers_shuffled(place: Place) -> None:
    order = place.random("numbers").permutation(10)
    series = Clean(place).expect()
    series.each(lambda k, ds: setattr(ds, "InstanceNumber", int(order[k]) + 1)).write()


def numbers_constant(place: Place) -> None:
    Clean(place).set(InstanceNumber=1).expect().write()


def numbers_absent(place: Place) -> None:
    Clean(place).set(InstanceNumber=None).expect().write()


def reversed_order(place: Place) -> None:
    """Names and numbers run from head to feet."""
    series = Clean(place).expect()
    series.each(lambda k, ds: setattr(ds, "InstanceNumber", 10 - k))
    series.slices.reverse()
    series.write()


def same_file_twice(place: Place) -> None:
    path = write_clean(place)[_MIDDLE]
    place.put("copy/IM0006", path.read_bytes())


def same_pixels_again(place: Place) -> None:
    """The sixth slice again under a new instance UID."""
    series = Clean(place).expect()
    again = copy.deepcopy(series.slices[_MIDDLE])
    again.SOPInstanceUID = place.uid("instance", "again")
    series.slices.append(again)
    series.write()


def other_pixels_there(place: Place) -> None:
    """A second slice at the place of the sixth, with other pixels."""
    series = Clean(place)
    again = copy.deepcopy(series.slices[_MIDDLE])
    again.SOPInstanceUID = place.uid("instance", "again")
    set_pixels(again, series.stored[0])
    series.slices.append(again)
    series.write()


def same_instance_differs(place: Place) -> None:
    """Two files of one instance UID with different pixels."""
    series = Clean(place)
    again = copy.deepcopy(series.slices[_MIDDLE])
    set_pixels(again, series.stored[0])
    series.slices.append(again)
    series.write()


# --- gaps and spacing -----------------------------------------------------------------------------


def missing_slice(place: Place) -> None:
    write_clean(place)[_MIDDLE].unlink()


def missing_slices(place: Place) -> None:
    paths = write_clean(place)
    for k in (3, 4, 7):
        paths[k].unlink()


def irregular(place: Place) -> None:
    """Steps of 3 mm, then of 4.4 mm; the values rise evenly with height, so any place is known."""
    heights = np.concatenate([np.arange(5) * 3.0, 12.0 + np.arange(1, 6) * 4.4])
    series = Clean(place)
    rows, columns = np.indices(series.values.shape[1:])
    flat = 4 * rows + 9 * columns
    values = np.rint(20 * heights[:, None, None]) + flat
    series.store((values + 1024).astype("<u2"))
    series.each(
        lambda k, ds: setattr(
            ds, "ImagePositionPatient", [*map(str, ORIGIN[:2]), f"{ORIGIN[2] + heights[k]:.3f}"]
        )
    ).write()
    fine = np.arange(0, heights[-1] + 0.5, 1.0)
    series.lie(step=(0, 0, 1.0))
    series.expect(20 * fine[:, None, None] + flat)


def wrong_thickness(place: Place) -> None:
    Clean(place).set(SliceThickness="9", SpacingBetweenSlices="7.5").expect().write()


def spacing_empty(place: Place) -> None:
    Clean(place).set(PixelSpacing="").write()


def spacing_absent(place: Place) -> None:
    Clean(place).set(PixelSpacing=None).write()


def position_absent(place: Place) -> None:
    Clean(place).set(ImagePositionPatient=None).write()


def one_slice(place: Place) -> None:
    Clean(place, shape=(1, 24, 20)).write()


# --- place and direction --------------------------------------------------------------------------


def gantry_tilt(place: Place) -> None:
    """Slices lean by 15 degrees, the table moves level."""
    series = Clean(place).set(GantryDetectorTilt="15")
    tilt = np.deg2rad(15)
    series.lie(along_column=(0, float(np.cos(tilt)), float(-np.sin(tilt))))
    series.expect().write()


def sheared(place: Place) -> None:
    """Each slice lies half a millimetre further to the left."""
    series = Clean(place)
    series.lie(step=(0.5, 0, STEP_MM))
    series.expect().write()


def feet_first(place: Place) -> None:
    """Feet first, prone; the slices run to the feet."""
    series = Clean(place).set(PatientPosition="FFP")
    series.lie(along_row=(-1, 0, 0), along_column=(0, -1, 0), step=(0, 0, -STEP_MM))
    series.expect().write()


def decubitus(place: Place) -> None:
    """On the left side: rows run to the back."""
    series = Clean(place).set(PatientPosition="HFDL")
    series.lie(along_row=(0, 1, 0), along_column=(-1, 0, 0))
    series.expect().write()


def oblique(place: Place) -> None:
    """Turned about two axes."""
    a, b = np.deg2rad([20, 35])
    row = np.array([np.cos(a), np.sin(a), 0])
    column = np.array([-np.sin(a) * np.cos(b), np.cos(a) * np.cos(b), np.sin(b)])
    series = Clean(place)
    series.lie(along_row=row.tolist(), along_column=column.tolist(),
               step=(STEP_MM * np.cross(row, column)).tolist())  # fmt: skip
    series.expect().write()


def one_rotated(place: Place) -> None:
    """The sixth slice is turned by five degrees."""
    series = Clean(place)
    c, s = np.cos(np.deg2rad(5)), np.sin(np.deg2rad(5))
    cosines = [f"{x:.6f}" for x in (c, s, 0, -s, c, 0)]
    series.slices[_MIDDLE].ImageOrientationPatient = cosines
    series.write()


def one_other_size(place: Place) -> None:
    series = Clean(place)
    set_pixels(series.slices[_MIDDLE], series.stored[_MIDDLE, :16, :16])
    series.write()


def cosines_askew(place: Place) -> None:
    """Rows and columns that are not perpendicular."""
    Clean(place).set(ImageOrientationPatient=["1", "0", "0", "0.3", "0.9", "0"]).write()


# --- multi-frame ----------------------------------------------------------------------------------


def enhanced_stacks(place: Place) -> None:
    """Two stacks of an enhanced MR, 100 mm apart, frames in disorder."""
    low = Clean(place, "MR", "low").expect()
    high = Clean(place, "MR", "high", origin=(-20.0, -30.0, 200.0)).expect()
    frames = [item(FrameContentSequence=group(StackID=n)) for n in "12" for _ in range(10)]
    write_enhanced([low, high], frames, Dataset(), place.random("order").permutation(20))


def enhanced_times(place: Place) -> None:
    """Three time points of an enhanced MR."""
    series = [Clean(place, "MR", f"time {t}").expect() for t in range(3)]
    frames = [
        item(FrameContentSequence=group(StackID="1", TemporalPositionIndex=t))
        for t in (1, 2, 3)
        for _ in range(10)
    ]
    write_enhanced(series, frames, Dataset(), place.random("order").permutation(30))


def enhanced_gap(place: Place) -> None:
    """An enhanced MR that lacks its sixth frame."""
    series = Clean(place, "MR")
    frames = [item(FrameContentSequence=group(StackID="1")) for _ in range(10)]
    write_enhanced([series], frames, Dataset(), np.delete(np.arange(10), _MIDDLE))


def mosaic(place: Place) -> None:
    series = Clean(place, "MR", shape=(7, 24, 20)).expect()
    write_mosaic(series, with_protocol=True)


def mosaic_alone(place: Place) -> None:
    write_mosaic(Clean(place, "MR", shape=(7, 24, 20)), with_protocol=False)


_GAP = refused(Reason.MISSING_SLICE)
_ODD_ONE = (_GAP, refused(Reason.SINGLE_SLICE))
_TWICE = (corrected(Reason.DUPLICATE_DROPPED),)

HAZARDS = (
    Hazard("clean-series", "nothing: the series of ten slices that is damaged elsewhere", clean,
           (exact(),)),
    Hazard("two-echoes", "two echoes under one series UID", two_echoes, (exact(2),)),
    Hazard("b-values", "three b-values under one series UID", b_values, (exact(3),)),
    Hazard("b-directions", "three directions of diffusion under one series UID", b_directions,
           (exact(3),)),
    Hazard("time-points", "three temporal positions under one series UID", time_points,
           (exact(3),)),
    Hazard("heart-phases", "three trigger times under one series UID", heart_phases, (exact(3),)),
    Hazard("magnitude-and-phase", "magnitude and phase under one series UID", image_types,
           (exact(2),)),
    Hazard("epi-by-instance-number", "three time points that InstanceNumber alone tells apart",
           epi_by_number, (exact(3),)),
    Hazard("epi-incomplete", "the same, less one slice of the second time point", epi_incomplete,
           (refused(Reason.SAME_POSITION_DIFFERS),)),
    Hazard("mixed-orientations", "axial and sagittal slices under one series UID", orientations,
           (exact(2),)),
    Hazard("mixed-sizes", "two sizes of matrix under one series UID", sizes, (exact(2),)),
    Hazard("two-frames-of-reference", "two frames of reference under one series UID",
           frames_of_reference, (exact(2),)),
    Hazard("series-uid-reused", "two patients under one series UID", series_uid_reused,
           (exact(2),)),
    Hazard("instance-number-shuffled", "InstanceNumber in no order", numbers_shuffled,
           (exact(),)),
    Hazard("instance-number-constant", "InstanceNumber 1 in every slice", numbers_constant,
           (exact(),)),
    Hazard("instance-number-absent", "no InstanceNumber", numbers_absent, (exact(),)),
    Hazard("reversed-order", "file names and numbers from head to feet", reversed_order,
           (exact(),)),
    Hazard("same-file-twice", "a copy of the sixth file", same_file_twice, _TWICE),
    Hazard("same-pixels-again", "the sixth slice again under a new UID", same_pixels_again,
           _TWICE),
    Hazard("same-position-other-pixels", "a second slice at one position, other pixels",
           other_pixels_there, (refused(Reason.SAME_POSITION_DIFFERS),)),
    Hazard("same-instance-other-pixels", "two files of one instance UID, other pixels",
           same_instance_differs, (refused(Reason.SAME_INSTANCE_DIFFERS),)),
    Hazard("missing-slice", "the sixth of ten slices is gone", missing_slice, (_GAP,)),
    Hazard("missing-slices", "three of ten slices are gone", missing_slices, (_GAP,)),
    Hazard("irregular-spacing", "steps of 3 mm and of 4.4 mm in one stack", irregular,
           (refused(Reason.SPACING_IRREGULAR),),
           under=((RESAMPLE, (corrected(Reason.SPACING_RESAMPLED),)),)),
    Hazard("wrong-slice-thickness", "SliceThickness 9 and SpacingBetweenSlices 7.5, true step 3",
           wrong_thickness, (exact(),)),
    Hazard("pixel-spacing-empty", "PixelSpacing without a value", spacing_empty,
           (refused(Reason.PIXEL_SPACING_MISSING, 10),)),
    Hazard("pixel-spacing-absent", "no PixelSpacing", spacing_absent,
           (refused(Reason.PIXEL_SPACING_MISSING, 10),)),
    Hazard("position-absent", "no ImagePositionPatient", position_absent,
           (refused(Reason.POSITION_MISSING, 10),)),
    Hazard("single-slice", "one slice alone", one_slice, (refused(Reason.SINGLE_SLICE),)),
    Hazard("gantry-tilt", "a gantry tilt of 15 degrees", gantry_tilt, (exact(),)),
    Hazard("sheared-stack", "each slice half a millimetre further to the side", sheared,
           (exact(),)),
    Hazard("feet-first-prone", "feet first, prone, slices to the feet", feet_first, (exact(),)),
    Hazard("decubitus", "on the left side", decubitus, (exact(),)),
    Hazard("oblique", "turned about two axes", oblique, (exact(),)),
    Hazard("one-slice-rotated", "the sixth slice turned by five degrees", one_rotated, _ODD_ONE),
    Hazard("one-slice-other-size", "the sixth slice of another size", one_other_size, _ODD_ONE),
    Hazard("cosines-not-perpendicular", "direction cosines askew", cosines_askew,
           (refused(Reason.ORIENTATION_INVALID, 10),)),
    Hazard("enhanced-mr-two-stacks", "two stacks in one enhanced MR, frames in disorder",
           enhanced_stacks, (exact(2),)),
    Hazard("enhanced-mr-time-points", "three temporal positions in one enhanced MR",
           enhanced_times, (exact(3),)),
    Hazard("enhanced-mr-missing-frame", "an enhanced MR without its sixth frame", enhanced_gap,
           (_GAP,)),
    Hazard("siemens-mosaic", "a mosaic with the scan protocol that places its slices", mosaic,
           (exact(),)),
    Hazard("siemens-mosaic-bare", "a mosaic without its private headers", mosaic_alone,
           (refused(Reason.SIEMENS_MOSAIC),)),
)  # fmt: skip
