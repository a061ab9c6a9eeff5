"""Hazards of intensity: rescale, what viewers show, padding, PET units, impossible values."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medssl.archive.reasons import Reason
from medssl.sample.hazards.clean import Clean, set_pixels
from medssl.sample.hazards.hazard import Hazard, exact, refused
from medssl.sample.hazards.multiframe import item, rescale_group, write_enhanced
from medssl.sample.hazards.place import Place
from medssl.volume import Array

_MIDDLE = 5
_HALF_LIFE_S = 6586.2  # fluorine 18
_DOSE_BQ, _WEIGHT_KG, _WAIT_S = 3.5e8, 70.0, 3600.0

# --- rescale --------------------------------------------------------------------------------------


def other_rescale(place: Place) -> None:
    """The sixth slice is stored in halves and says so."""
    series = Clean(place).expect()
    ds = series.slices[_MIDDLE]
    set_pixels(ds, ((series.values[_MIDDLE] + 1024) * 2).astype("<u2"))
    ds.BitsStored, ds.HighBit, ds.RescaleSlope = 16, 15, "0.5"
    series.write()


def rescale_of_one_missing(place: Place) -> None:
    series = Clean(place)
    del series.slices[_MIDDLE].RescaleSlope, series.slices[_MIDDLE].RescaleIntercept
    series.write()


def slope_zero(place: Place) -> None:
    Clean(place).set(RescaleSlope="0").write()


def slope_no_number(place: Place) -> None:
    for path in Clean(place).set(RescaleSlope="1111").write():
        path.write_bytes(path.read_bytes().replace(b"DS\x04\x001111", b"DS\x04\x00NaN "))


def lookup_table(place: Place) -> None:
    """A modality lookup table in place of slope and intercept."""
    table = item(LUTDescriptor=[16, 0, 16], ModalityLUTType="HU",
                 LUTData=np.arange(16, dtype="<u2").tobytes())  # fmt: skip
    table["LUTDescriptor"].VR = "US"
    table["LUTData"].VR = "OW"
    series = Clean(place).set(RescaleSlope=None, RescaleIntercept=None, RescaleType=None)
    series.each(lambda _, ds: setattr(ds, "ModalityLUTSequence", Sequence([table]))).write()


def enhanced_shared(place: Place) -> None:
    """Rescale in the shared functional groups alone: forgotten, all is 1,024 HU too high."""
    series = Clean(place).expect()
    shared = item(PixelValueTransformationSequence=rescale_group(1, -1024))
    frames = [Dataset() for _ in series.slices]
    write_enhanced([series], frames, shared, place.random("order").permutation(len(frames)))


def enhanced_by_frame(place: Place) -> None:
    """An enhanced PET whose slope changes from frame to frame."""
    series = Clean(place, "PT")
    slopes = 0.5 + 0.25 * np.arange(len(series.slices))
    frames = [item(PixelValueTransformationSequence=rescale_group(s, 0, "US")) for s in slopes]
    series.expect(series.values * slopes[:, None, None])
    write_enhanced([series], frames, Dataset(), place.random("order").permutation(len(frames)))


# --- what viewers show ----------------------------------------------------------------------------


def monochrome1(place: Place) -> None:
    Clean(place).set(PhotometricInterpretation="MONOCHROME1").expect().write()


def presentation_lut(place: Place) -> None:
    """A lookup table for viewers, and the word that they show it inverted."""
    table = item(LUTDescriptor=[16, 0, 16], LUTData=np.arange(16, dtype="<u2")[::-1].tobytes())
    table["LUTDescriptor"].VR = "US"
    table["LUTData"].VR = "OW"
    series = Clean(place).set(PresentationLUTShape="INVERSE").expect()
    series.each(lambda _, ds: setattr(ds, "VOILUTSequence", Sequence([table]))).write()


def real_world_map(place: Place) -> None:
    """A mapping of the stored numbers to a physical unit of its own."""
    unit = item(CodeValue="mm2/s", CodingSchemeDesignator="UCUM", CodeMeaning="mm2/s")
    mapping = item(
        LUTExplanation="ADC", LUTLabel="ADC", RealWorldValueFirstValueMapped=0,
        RealWorldValueLastValueMapped=4095, RealWorldValueIntercept=0.0,
        RealWorldValueSlope=1e-6, MeasurementUnitsCodeSequence=Sequence([unit]),
    )  # fmt: skip
    for name in ("RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped"):
        mapping[name].VR = "US"
    series = Clean(place, "MR").expect()
    series.each(lambda _, ds: setattr(ds, "RealWorldValueMappingSequence", Sequence([mapping])))
    series.write()


def philips_scale(place: Place) -> None:
    """Philips MR: display values by RescaleSlope, floating point values by a private slope."""
    series = Clean(place, "MR").set(Manufacturer="Philips Medical Systems")
    series.set(RescaleSlope="2.5", RescaleIntercept="0", RescaleType="normalized")
    for ds in series.slices:
        block = ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0D, "FL", 0.0)
        block.add_new(0x0E, "FL", 0.0125)
    series.expect(series.values * 2.5).write()


def padding(place: Place) -> None:
    """-2000 outside the field of view, named as padding."""
    _padded(place, -2000, -2000).write()


def padding_range(place: Place) -> None:
    """-2000 to -1990 outside the field of view, named as padding by both ends."""
    series = _padded(place, -2000, -1990)
    series.each(lambda _, ds: _short(ds, "PixelPaddingRangeLimit", -1990)).write()


def _padded(place: Place, low: int, high: int) -> Clean:
    series = Clean(place)
    rows, columns = np.indices(series.values.shape[1:])
    outside = np.hypot((rows - 11.5) / 12, (columns - 9.5) / 10) > 1
    number = place.random("padding").integers(low, high + 1, series.values.shape)
    values = np.where(outside, number, series.values)
    series.store(values.astype("<i2"), PixelRepresentation=1, BitsStored=16, HighBit=15,
                 RescaleIntercept="0")  # fmt: skip
    series.each(lambda _, ds: _short(ds, "PixelPaddingValue", low))
    return series.expect(values)


def _short(ds: Dataset, keyword: str, value: int) -> None:
    setattr(ds, keyword, value)
    ds[keyword].VR = "SS"


# --- PET ------------------------------------------------------------------------------------------


def _pet(place: Place, **changes: Any) -> tuple[Clean, Array]:
    """A PET in Bq/ml whose slope changes by slice, all fields filled in; and its Bq/ml."""
    series = Clean(place, "PT")
    slopes = 1.5 + 0.5 * np.arange(len(series.slices))
    series.each(lambda k, ds: setattr(ds, "RescaleSlope", str(slopes[k])))
    tracer = item(
        RadiopharmaceuticalStartTime="091500",  # an hour before the scan at 10:15
        RadiopharmaceuticalStartDateTime=f"{place.patient.scanned:%Y%m%d}091500",
        RadionuclideTotalDose=str(int(_DOSE_BQ)), RadionuclideHalfLife=str(_HALF_LIFE_S),
    )  # fmt: skip
    series.set(
        Units="BQML", CorrectedImage=["NORM", "DTIM", "ATTN", "SCAT", "DECY"],
        DecayCorrection="START", PatientWeight=str(_WEIGHT_KG),
        NumberOfSlices=len(series.slices),
    )  # fmt: skip
    for ds in series.slices:
        ds.RadiopharmaceuticalInformationSequence = Sequence([copy.deepcopy(tracer)])
    series.set(**changes)
    return series, series.values * slopes[:, None, None]


def suv_factor() -> float:
    """g over the Bq that are left at the start of the scan: SUVbw for one Bq/ml."""
    return float(_WEIGHT_KG * 1000.0 / (_DOSE_BQ * 2.0 ** (-_WAIT_S / _HALF_LIFE_S)))


def pet_suv(place: Place) -> None:
    series, becquerel = _pet(place)
    series.expect(becquerel * suv_factor()).write()


def pet_without_weight(place: Place) -> None:
    series, becquerel = _pet(place, PatientWeight=None)
    series.expect(becquerel).write()


def pet_without_dose(place: Place) -> None:
    series, becquerel = _pet(place)
    series.each(
        lambda _, ds: delattr(ds.RadiopharmaceuticalInformationSequence[0], "RadionuclideTotalDose")
    )
    series.expect(becquerel).write()


def pet_not_attenuated(place: Place) -> None:
    series, becquerel = _pet(place, CorrectedImage=["NORM", "DECY"])
    series.expect(becquerel).write()


def pet_decayed_to_injection(place: Place) -> None:
    series, becquerel = _pet(place, DecayCorrection="ADMIN")
    series.expect(becquerel).write()


def pet_in_grams(place: Place) -> None:
    """SUV already: Units GML."""
    series, values = _pet(place, Units="GML", SUVType="BW")
    series.expect(values).write()


def pet_in_counts(place: Place) -> None:
    """Philips: counts, and a private factor that leads to SUV."""
    series, counts = _pet(place, Units="CNTS", Manufacturer="Philips")
    for ds in series.slices:
        block = ds.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0.0025")
    series.expect(counts * 0.0025).write()


def pet_lacks_last(place: Place) -> None:
    """NumberOfSlices says ten, nine are there: no gap shows it."""
    series, _ = _pet(place)
    series.slices.pop()
    series.write()


# --- values that cannot be ------------------------------------------------------------------------


def out_of_range(place: Place) -> None:
    """A slope of 40 under the name of Hounsfield units."""
    Clean(place).set(RescaleSlope="40").write()


def constant(place: Place) -> None:
    series = Clean(place)
    series.store(np.full_like(series.stored, 1024)).write()


_NO_SUV = (exact(notes=[Reason.NO_SUV]),)
_BAD_RESCALE = (refused(Reason.RESCALE_INVALID),)

HAZARDS = (
    Hazard("one-slice-other-rescale", "another slope in the sixth slice", other_rescale,
           (exact(),)),
    Hazard("one-slice-without-rescale", "no rescale in the sixth slice", rescale_of_one_missing,
           _BAD_RESCALE),
    Hazard("rescale-slope-zero", "RescaleSlope 0", slope_zero, _BAD_RESCALE),
    Hazard("rescale-slope-nan", "RescaleSlope NaN", slope_no_number, _BAD_RESCALE),
    Hazard("modality-lookup-table", "a lookup table in place of the rescale", lookup_table,
           _BAD_RESCALE),
    Hazard("enhanced-ct-shared-rescale", "enhanced CT, rescale in the shared groups alone",
           enhanced_shared, (exact(),)),
    Hazard("enhanced-pet-rescale-by-frame", "enhanced PET, a slope for each frame",
           enhanced_by_frame, _NO_SUV),
    Hazard("monochrome1", "MONOCHROME1: low numbers are shown bright", monochrome1,
           (exact(notes=[Reason.MONOCHROME1_KEPT]),)),
    Hazard("presentation-lut", "a VOI lookup table and an inverse presentation",
           presentation_lut, (exact(notes=[Reason.PRESENTATION_LUT_IGNORED]),)),
    Hazard("real-world-map", "a real world value mapping", real_world_map,
           (exact(notes=[Reason.REAL_WORLD_VALUES_IGNORED]),)),
    Hazard("philips-private-scale", "Philips MR with a private scale slope", philips_scale,
           (exact(notes=[Reason.PRIVATE_SCALE_RECORDED]),)),
    Hazard("padding-value", "PixelPaddingValue outside the field of view", padding,
           (exact(notes=[Reason.PADDING_MASKED]),)),
    Hazard("padding-range", "PixelPaddingValue and PixelPaddingRangeLimit", padding_range,
           (exact(notes=[Reason.PADDING_MASKED]),)),
    Hazard("pet-suv", "PET in Bq/ml with all that SUV needs, a slope for each slice", pet_suv,
           (exact(),)),
    Hazard("pet-without-weight", "PET without PatientWeight", pet_without_weight, _NO_SUV),
    Hazard("pet-without-dose", "PET without the injected dose", pet_without_dose, _NO_SUV),
    Hazard("pet-without-attenuation", "PET not corrected for attenuation", pet_not_attenuated,
           _NO_SUV),
    Hazard("pet-decayed-to-injection", "PET, DecayCorrection ADMIN", pet_decayed_to_injection,
           _NO_SUV),
    Hazard("pet-in-grams", "PET in g/ml: SUV already", pet_in_grams, (exact(),)),
    Hazard("pet-in-counts", "Philips PET in counts, with the private SUV factor", pet_in_counts,
           (exact(),)),
    Hazard("pet-last-slice-missing", "the last slice of a PET, known by NumberOfSlices alone",
           pet_lacks_last, (refused(Reason.MISSING_SLICE),)),
    Hazard("ct-out-of-range", "a CT with values up to 120,000 HU", out_of_range,
           (refused(Reason.CT_OUT_OF_RANGE),)),
    Hazard("constant-volume", "every voxel the same", constant,
           (refused(Reason.CONSTANT_VOLUME),)),
)  # fmt: skip
