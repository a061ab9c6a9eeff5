"""Hazards of files that are DICOM and no scan, or a scan that must not be taken for anatomy."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medssl.archive.reasons import Reason
from medssl.sample.dicom import add_identity
from medssl.sample.hazards.clean import Clean, write_clean, write_file
from medssl.sample.hazards.hazard import Hazard, exact, refused
from medssl.sample.hazards.multiframe import item
from medssl.sample.hazards.place import Place

_STORAGE = "1.2.840.10008.5.1.4.1.1."


def localizer(place: Place) -> None:
    """A sagittal scout under the series UID of the axial slices."""
    write_clean(place)
    scout = Clean(place, part="scout", shape=(1, 24, 20))
    scout.lie(along_row=(0, 1, 0), along_column=(0, 0, -1), step=(-3, 0, 0))
    scout.set(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]).write(name="SCOUT")


def projection(place: Place) -> None:
    _marked(place, "MIP")


def reformat(place: Place) -> None:
    _marked(place, "MPR")


def screen_save(place: Place) -> None:
    _marked(place, "SCREEN SAVE")


def _marked(place: Place, marker: str) -> None:
    """A clean series, and under another UID three slices that a workstation made of it."""
    write_clean(place)
    made = Clean(place, part="made", shape=(3, 24, 20))
    made.set(ImageType=["DERIVED", "SECONDARY", marker], SeriesInstanceUID=place.uid("made"))
    made.write(name="W{:04d}")


def derived(place: Place) -> None:
    """DERIVED and SECONDARY alone, as registered series say of themselves."""
    Clean(place).set(ImageType=["DERIVED", "SECONDARY", "AXIAL"]).expect().write()


def burnt_in(place: Place) -> None:
    series = Clean(place, shape=(3, 24, 20)).set(BurnedInAnnotation="YES")
    for ds, stored in zip(series.slices, series.stored, strict=True):
        stored[2:6, 2:18] = 4000  # where the name would be
        ds.PixelData = stored.tobytes()
    series.write()


def burnt_in_no(place: Place) -> None:
    Clean(place).set(BurnedInAnnotation="NO").expect().write()


def secondary_capture(place: Place) -> None:
    """A dose sheet in grey and one in colour, as secondary captures."""
    write_clean(place)
    for name, samples in (("GREY", 1), ("COLOUR", 3)):
        ds = _object(place, _STORAGE + "7", "OT", name)
        ds.ConversionType, ds.ImageType = "WSD", ["DERIVED", "SECONDARY"]
        ds.SamplesPerPixel = samples
        ds.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
        if samples == 3:
            ds.PlanarConfiguration = 0
        ds.Rows, ds.Columns = 32, 48
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
        ink = place.random(name).integers(0, 2, (32, 48, samples)) * 200
        ds.PixelData = ink.astype(np.uint8).tobytes()
        ds["PixelData"].VR = "OB"
        write_file(place.folder / name, ds)


def reports(place: Place) -> None:
    """Objects that say something about images, beside the images."""
    write_clean(place)
    title = Sequence([item(CodeValue="113701", CodingSchemeDesignator="DCM",
                           CodeMeaning="X-Ray Radiation Dose Report")])  # fmt: skip
    dose = _object(place, _STORAGE + "88.67", "SR", "dose")
    dose.ValueType, dose.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dose.ConceptNameCodeSequence = title
    key = _object(place, _STORAGE + "88.59", "KO", "key")
    key.ValueType, key.ContinuityOfContent = "CONTAINER", "SEPARATE"
    shown = _object(place, _STORAGE + "11.1", "PR", "shown")
    shown.ContentLabel, shown.PresentationLUTShape = "SHOWN", "INVERSE"
    plan = _object(place, _STORAGE + "481.5", "RTPLAN", "plan")
    plan.RTPlanLabel = "PLAN"
    paper = _object(place, _STORAGE + "104.1", "DOC", "paper")
    paper.EncapsulatedDocument, paper.MIMETypeOfEncapsulatedDocument = b"%PDF-", "application/pdf"
    for name, ds in (("DOSE", dose), ("KEY", key), ("SHOWN", shown), ("PLAN", plan),
                     ("PAPER", paper)):  # fmt: skip
        write_file(place.folder / name, ds)


def _object(place: Place, sop_class: str, modality: str, what: str) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, place.uid("instance", what)
    add_identity(ds, place.patient, modality)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = place.uid("study"), place.uid("series", what)
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, 900, 1
    return ds


HAZARDS = (
    Hazard("localizer-inside", "a scout under the series UID of the slices", localizer,
           (exact(), refused(Reason.LOCALIZER))),
    Hazard("projection", "three maximum intensity projections", projection,
           (exact(), refused(Reason.PROJECTION, 3))),
    Hazard("reformat", "three multiplanar reformats", reformat,
           (exact(), refused(Reason.REFORMAT, 3))),
    Hazard("screen-save", "three screen saves of the class of a CT", screen_save,
           (exact(), refused(Reason.SCREEN_SAVE, 3))),
    Hazard("derived", "DERIVED as the only mark, as registered series have it", derived,
           (exact(),)),
    Hazard("burnt-in-yes", "BurnedInAnnotation YES", burnt_in,
           (refused(Reason.BURNED_IN_ANNOTATION, 3),)),
    Hazard("burnt-in-no", "BurnedInAnnotation NO", burnt_in_no, (exact(),)),
    Hazard("secondary-capture", "secondary captures in grey and in colour", secondary_capture,
           (exact(), refused(Reason.SECONDARY_CAPTURE, 2))),
    Hazard("reports-beside-images", "dose report, key object, presentation state, plan, PDF",
           reports,
           (exact(), refused(Reason.STRUCTURED_REPORT), refused(Reason.KEY_OBJECT),
            refused(Reason.PRESENTATION_STATE), refused(Reason.RT_OBJECT),
            refused(Reason.OTHER_DICOM_OBJECT))),
)  # fmt: skip
