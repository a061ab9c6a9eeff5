"""Every way in which a file, a series or a label can end, but for EXACT, and what is noted of it.

A code is written into the store (`corrections` and `notes` of a manifest row, `reason` of a row in
`rejected/`), so a code once given keeps its meaning. `docs/reference/reason-codes.md` is made from
this file by `python -m medssl.archive.reason_codes`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Group = Literal["noted", "corrected", "quarantined", "not an image", "unpaired", "failed"]


class Reason(StrEnum):
    """An outcome code; `text` says what it means and what to do, `group` how it ends.

    noted: taken as it is, with a fact to know. corrected: taken, with the correction named.
    quarantined: not taken, since it could not be read beyond doubt. not an image: a readable file
    that is no scan. unpaired: a label or an image whose partner is missing. failed: the reading
    itself broke down.
    """

    text: str
    group: Group

    def __new__(cls, code: str, group: Group, text: str) -> Reason:
        member = str.__new__(cls, code)
        member._value_ = code
        member.group = group
        member.text = text
        return member

    # --- taken as it is: what is to be known of it ------------------------------------------------
    MONOCHROME1_KEPT = (
        "MONOCHROME1_KEPT",
        "noted",
        "MONOCHROME1: the numbers are as stored, low values shown bright by viewers; they were not "
        "inverted.",
    )
    PRESENTATION_LUT_IGNORED = (
        "PRESENTATION_LUT_IGNORED",
        "noted",
        "A presentation or VOI lookup table says how viewers show the image; it was not applied.",
    )
    REAL_WORLD_VALUES_IGNORED = (
        "REAL_WORLD_VALUES_IGNORED",
        "noted",
        "A real world value mapping offers another physical unit; it was not applied.",
    )
    PRIVATE_SCALE_RECORDED = (
        "PRIVATE_SCALE_RECORDED",
        "noted",
        "Philips: the display values were kept; the private scale slope that leads to the floating "
        "point values is in the column private_slope.",
    )
    NO_SUV = (
        "NO_SUV",
        "noted",
        "PET whose header does not allow SUV by body weight: a field is missing, or a correction "
        "was not made. The values are in the unit that the header states, never a guess.",
    )
    PADDING_MASKED = (
        "PADDING_MASKED",
        "noted",
        "Voxels that hold the header's padding value are no measurement; the columns padding_low "
        "and padding_high name the stored numbers, and Store.valid leaves them out.",
    )

    # --- any format: values ---------------------------------------------------------------------
    NAN_MASKED = (
        "NAN_MASKED",
        "corrected",
        "Voxels that were NaN or infinite have the smallest finite value of the volume. "
        "Nothing to do, unless the number of such voxels is large.",
    )
    CONSTANT_VOLUME = (
        "CONSTANT_VOLUME",
        "quarantined",
        "Every voxel has the same value. Export the scan again.",
    )
    NO_FINITE_VOXEL = (
        "NO_FINITE_VOXEL",
        "quarantined",
        "Every voxel is NaN or infinite. Export the scan again.",
    )
    CT_OUT_OF_RANGE = (
        "CT_OUT_OF_RANGE",
        "quarantined",
        "A CT in Hounsfield units has values far outside -1024 to 3071. Check the rescale slope "
        "and intercept, or state other units in the cases file.",
    )

    # --- any format: reading --------------------------------------------------------------------
    EMPTY_FILE = (
        "EMPTY_FILE",
        "failed",
        "The file has no bytes. Copy it again.",
    )
    UNREADABLE_FILE = (
        "UNREADABLE_FILE",
        "failed",
        "The operating system could not read the file. Check its permissions and the disk.",
    )
    CHANGED_WHILE_READ = (
        "CHANGED_WHILE_READ",
        "failed",
        "The file changed or vanished during the run. Run again when the archive is at rest.",
    )
    UNKNOWN_FORMAT = (
        "UNKNOWN_FORMAT",
        "not an image",
        "Neither DICOM nor NIfTI by its content. Convert it, or ignore it.",
    )
    FORMAT_NOT_READ = (
        "FORMAT_NOT_READ",
        "not an image",
        "A scan in a format that is not read: Analyze, NRRD, MetaImage, MINC, MGH. Convert it to "
        "NIfTI from its original.",
    )
    ARCHIVE_FILE = (
        "ARCHIVE_FILE",
        "not an image",
        "A zip, tar or other packed file. `medssl ingest --unpack FOLDER` opens zip, tar and gzip; "
        "elsewhere, unpack it first.",
    )
    PACKED_TOO_LARGE = (
        "PACKED_TOO_LARGE",
        "quarantined",
        "A packed file with more members, more bytes or a higher ratio than is unpacked. If it is "
        "sound, unpack it by hand.",
    )
    PACKED_NAME_REFUSED = (
        "PACKED_NAME_REFUSED",
        "quarantined",
        "A member of a packed file has an absolute name, leads out of its folder, is a link, or "
        "has the name of another. None of its members is taken. If it is sound, unpack it by hand.",
    )
    PACKED_DAMAGED = (
        "PACKED_DAMAGED",
        "failed",
        "A packed file that breaks off, has a wrong checksum, or is encrypted. None of its members "
        "is taken. Copy it again.",
    )
    PATIENT_WITHDRAWN = (
        "PATIENT_WITHDRAWN",
        "quarantined",
        "The patient was withdrawn from this store, and is not taken again.",
    )
    TOO_LARGE = (
        "TOO_LARGE",
        "quarantined",
        "The header asks for more voxels than max_voxels allows. Raise it if the scan is real.",
    )
    WORKER_DIED = (
        "WORKER_DIED",
        "failed",
        "The process that read this series crashed. The data are probably corrupt; export again.",
    )
    WORKER_OUT_OF_MEMORY = (
        "WORKER_OUT_OF_MEMORY",
        "failed",
        "Reading this series took more memory than max_memory_gb. Raise it if the scan is real.",
    )
    WORKER_TIMED_OUT = (
        "WORKER_TIMED_OUT",
        "failed",
        "Reading this series took longer than time_limit_s. Raise it if the scan is real.",
    )
    INTERNAL_ERROR = (
        "INTERNAL_ERROR",
        "failed",
        "medssl met something it does not know; the detail names the error. Please report it.",
    )

    # --- NIfTI ----------------------------------------------------------------------------------
    NIFTI_HEADER_INVALID = (
        "NIFTI_HEADER_INVALID",
        "quarantined",
        "The NIfTI header contradicts itself: dimensions, data type or offset. Convert again.",
    )
    NIFTI_TRUNCATED = (
        "NIFTI_TRUNCATED",
        "quarantined",
        "The file ends before the last voxel. Copy or convert it again.",
    )
    NIFTI_TRAILING_BYTES = (
        "NIFTI_TRAILING_BYTES",
        "corrected",
        "Bytes after the last voxel were ignored. Nothing to do.",
    )
    NIFTI_OVERLONG = (
        "NIFTI_OVERLONG",
        "quarantined",
        "The compressed data go on far beyond the last voxel of the header, so one of the two is "
        "wrong. Convert again.",
    )
    NIFTI_CRC_WRONG = (
        "NIFTI_CRC_WRONG",
        "quarantined",
        "The compressed data are damaged: their checksum is wrong. Copy the file again.",
    )
    NIFTI_PAIR_INCOMPLETE = (
        "NIFTI_PAIR_INCOMPLETE",
        "quarantined",
        "A .hdr without its .img, or the other way round. Put both in one folder.",
    )
    AFFINE_INVALID = (
        "AFFINE_INVALID",
        "quarantined",
        "The affine is singular, not finite, or all zero though its code is set. Convert again.",
    )
    AFFINE_UNSTATED = (
        "AFFINE_UNSTATED",
        "corrected",
        "Neither sform nor qform is set, so left and right are not known for certain; the voxel "
        "sizes were used, with the axes as NIfTI readers take them.",
    )
    AFFINE_FORMS_DISAGREE = (
        "AFFINE_FORMS_DISAGREE",
        "corrected",
        "sform and qform differ by more than 1 mm at a corner; the sform was used.",
    )
    AFFINE_FORMS_CONFLICT = (
        "AFFINE_FORMS_CONFLICT",
        "quarantined",
        "sform and qform carry the same code and differ by more than a voxel. Convert again from "
        "the original, or set the code of the wrong one to 0.",
    )
    SPATIAL_UNIT_CONVERTED = (
        "SPATIAL_UNIT_CONVERTED",
        "corrected",
        "The header states metres or micrometres; the affine was taken to millimetres.",
    )
    SPATIAL_UNIT_DOUBTFUL = (
        "SPATIAL_UNIT_DOUBTFUL",
        "corrected",
        "The header states metres or micrometres, but its voxel sizes make sense as millimetres "
        "alone and were taken so. Check the size of the scan.",
    )
    SCALE_IGNORED = (
        "SCALE_IGNORED",
        "corrected",
        "scl_slope is not finite; the stored numbers were taken unscaled, as NIfTI readers do.",
    )
    NOT_SCALAR = (
        "NOT_SCALAR",
        "not an image",
        "RGB, complex or vector voxels. A scan has one number a voxel.",
    )
    NOT_THREE_D = (
        "NOT_THREE_D",
        "not an image",
        "Fewer than three dimensions, or more than four. Volumes of three are taken, and four are "
        "split over time.",
    )

    # --- labels ---------------------------------------------------------------------------------
    IMAGE_WITHOUT_LABEL = (
        "IMAGE_WITHOUT_LABEL",
        "unpaired",
        "The image was taken, but has no label although its folder has labels for others.",
    )
    IMAGE_LOOKS_LIKE_LABEL = (
        "IMAGE_LOOKS_LIKE_LABEL",
        "unpaired",
        "The volume was taken as an image, but its voxels look like a label map. If it is one, put "
        "it into a folder named labels; if not, give it a row in the cases file.",
    )
    LABEL_WITHOUT_IMAGE = (
        "LABEL_WITHOUT_IMAGE",
        "unpaired",
        "A label whose image is not there or was rejected. Add the image, or rename the label.",
    )
    LABEL_AMBIGUOUS = (
        "LABEL_AMBIGUOUS",
        "unpaired",
        "Two images, or two labels, lay claim to the same name, so none was paired; or two DICOM "
        "labels draw a structure of one name over each other, but not alike. Rename one, or take "
        "away the older version.",
    )
    LABEL_RESAMPLED = (
        "LABEL_RESAMPLED",
        "corrected",
        "The mask lay on another grid in the same space and was taken to the image's grid by the "
        "nearest voxel.",
    )
    LABEL_GRID_MISMATCH = (
        "LABEL_GRID_MISMATCH",
        "quarantined",
        "The mask does not cover the image, or not the same place. Export it from the image again.",
    )
    LABEL_NOT_INTEGER = (
        "LABEL_NOT_INTEGER",
        "quarantined",
        "A mask holds whole numbers from 0 to 255; this one has others.",
    )

    LABEL_NOT_MAPPED = (
        "LABEL_NOT_MAPPED",
        "unpaired",
        "A DICOM segmentation or structure set none of whose names is mapped to a class. Map them "
        "under structures in the ingest configuration; the linkage file, where one is written, "
        "lists the names.",
    )
    LABEL_OVERLAP = (
        "LABEL_OVERLAP",
        "corrected",
        "Two classes of the label claim the same voxels; the one that comes later under structures "
        "has them.",
    )
    LABEL_THRESHOLDED = (
        "LABEL_THRESHOLDED",
        "corrected",
        "A fractional segmentation was cut at one half. Check that this is what it means.",
    )
    LABEL_FRAME_DIFFERS = (
        "LABEL_FRAME_DIFFERS",
        "quarantined",
        "The label lies in another frame of reference than its image. Export it from the image.",
    )
    LABEL_OFF_SLICE = (
        "LABEL_OFF_SLICE",
        "quarantined",
        "A contour lies more than half a slice away from every slice of its image, or contours of "
        "two planes fall on one slice: it was drawn on another series. Export it from the image "
        "again.",
    )
    LABEL_CONTOUR_INVALID = (
        "LABEL_CONTOUR_INVALID",
        "quarantined",
        "A contour is not closed and planar, has too few points or numbers that are not finite.",
    )
    LABEL_SEVERAL_SERIES = (
        "LABEL_SEVERAL_SERIES",
        "quarantined",
        "The label refers to several series, so it does not say on which grid it was drawn. Export "
        "one label for each series.",
    )

    # --- DICOM: files that are no scan ------------------------------------------------------------
    DICOMDIR = (
        "DICOMDIR",
        "not an image",
        "An index of a medium. The files themselves are found by their content; nothing to do.",
    )
    SECONDARY_CAPTURE = (
        "SECONDARY_CAPTURE",
        "not an image",
        "A secondary capture: a picture of a screen or a scanned sheet, which may show a name. "
        "Nothing to do.",
    )
    SCREEN_SAVE = (
        "SCREEN_SAVE",
        "not an image",
        "The image type says that this is a screen save. Nothing to do.",
    )
    BURNED_IN_ANNOTATION = (
        "BURNED_IN_ANNOTATION",
        "not an image",
        "BurnedInAnnotation is YES: text in the pixels may name the patient. Nothing to do.",
    )
    COLOUR_IMAGE = (
        "COLOUR_IMAGE",
        "not an image",
        "RGB, YBR or palette pixels. A scan has one number a voxel. Nothing to do.",
    )
    LOCALIZER = (
        "LOCALIZER",
        "not an image",
        "A localizer, scout or topogram. Nothing to do.",
    )
    PROJECTION = (
        "PROJECTION",
        "not an image",
        "A maximum or minimum intensity projection or a rendering. Ingest the series it was made "
        "from.",
    )
    REFORMAT = (
        "REFORMAT",
        "not an image",
        "A reformat (MPR, curved or resampled) of another series. Ingest that series.",
    )
    SEGMENTATION_OBJECT = (
        "SEGMENTATION_OBJECT",
        "not an image",
        "A surface segmentation: a label in a form that is not read. Export it as voxels.",
    )
    RT_STRUCTURE_SET = (
        "RT_STRUCTURE_SET",
        "not an image",
        "Contours for radiotherapy: a label, not a scan. It is read with the series that it was "
        "drawn on.",
    )
    RT_OBJECT = (
        "RT_OBJECT",
        "not an image",
        "A radiotherapy dose, plan, image or record. Nothing to do.",
    )
    STRUCTURED_REPORT = (
        "STRUCTURED_REPORT",
        "not an image",
        "A structured report or dose sheet. Nothing to do.",
    )
    PRESENTATION_STATE = (
        "PRESENTATION_STATE",
        "not an image",
        "A presentation state: how a viewer shows an image. Nothing to do.",
    )
    KEY_OBJECT = (
        "KEY_OBJECT",
        "not an image",
        "A key object selection: a list of images. Nothing to do.",
    )
    OTHER_DICOM_OBJECT = (
        "OTHER_DICOM_OBJECT",
        "not an image",
        "A DICOM object other than CT, MR or PET image storage. Nothing to do.",
    )

    # --- DICOM: files that cannot be read ---------------------------------------------------------
    DICOM_HEADER_DAMAGED = (
        "DICOM_HEADER_DAMAGED",
        "failed",
        "The header breaks off or contradicts its own encoding. Copy the file again.",
    )
    DICOM_UID_MISSING = (
        "DICOM_UID_MISSING",
        "quarantined",
        "SOPClassUID, SOPInstanceUID, StudyInstanceUID or SeriesInstanceUID is missing, so the "
        "file cannot be placed in a series. Export it again.",
    )
    PIXEL_DATA_MISSING = (
        "PIXEL_DATA_MISSING",
        "failed",
        "The header describes an image, but the file ends before its pixels. Copy the file again.",
    )
    PIXEL_DATA_LENGTH = (
        "PIXEL_DATA_LENGTH",
        "failed",
        "The pixel data are shorter or longer than the header says. Copy the file again.",
    )
    PIXEL_DATA_DAMAGED = (
        "PIXEL_DATA_DAMAGED",
        "failed",
        "The compressed pixels cannot be decoded, or decode to another size. Copy the file again.",
    )
    PIXEL_FORMAT_INVALID = (
        "PIXEL_FORMAT_INVALID",
        "quarantined",
        "Rows, columns, bits or frames make no image: absent, zero, or contradicting each other.",
    )
    DICOM_TOO_LARGE = (
        "DICOM_TOO_LARGE",
        "quarantined",
        "The header asks for more voxels in one file than max_voxels allows, or the inflated "
        "header does not end; nothing was decoded. Raise max_voxels if the scan is real.",
    )
    TRANSFER_SYNTAX_UNKNOWN = (
        "TRANSFER_SYNTAX_UNKNOWN",
        "quarantined",
        "The transfer syntax is private, retired or a video. Convert it to explicit little endian.",
    )

    # --- DICOM: series into volumes ---------------------------------------------------------------
    DUPLICATE_DROPPED = (
        "DUPLICATE_DROPPED",
        "corrected",
        "The same instance, or the same pixels at the same position, came more than once and was "
        "taken once. Nothing to do.",
    )
    SAME_INSTANCE_DIFFERS = (
        "SAME_INSTANCE_DIFFERS",
        "quarantined",
        "Two files carry one SOPInstanceUID but different pixels or positions. Export the series "
        "again.",
    )
    SAME_POSITION_DIFFERS = (
        "SAME_POSITION_DIFFERS",
        "quarantined",
        "Several slices lie at one position with different pixels, and nothing in their headers "
        "tells the volumes apart. Separate them by hand.",
    )
    MISSING_SLICE = (
        "MISSING_SLICE",
        "quarantined",
        "A slice is missing; the detail says where. Send it to the archive and run again: the "
        "series is then taken. Where a damaged file beside the series is all that is missing, copy "
        "it again, or take it out of the folder if it is none of its slices.",
    )
    SPACING_IRREGULAR = (
        "SPACING_IRREGULAR",
        "quarantined",
        "The slices do not lie at equal steps along one line. Leave it, or let irregular_spacing "
        "resample it where its slices lie on a line.",
    )
    SPACING_RESAMPLED = (
        "SPACING_RESAMPLED",
        "corrected",
        "Slices at unequal steps were resampled, from their true positions, to equal ones, as "
        "irregular_spacing allows; the values are float32 in their unit.",
    )
    SINGLE_SLICE = (
        "SINGLE_SLICE",
        "quarantined",
        "One slice alone: its extent across the plane was not measured, and SliceThickness does "
        "not tell it.",
    )
    POSITION_MISSING = (
        "POSITION_MISSING",
        "quarantined",
        "ImagePositionPatient or ImageOrientationPatient is missing or not a number. Export the "
        "series again.",
    )
    ORIENTATION_INVALID = (
        "ORIENTATION_INVALID",
        "quarantined",
        "The direction cosines are not perpendicular unit vectors. Export the series again.",
    )
    PIXEL_SPACING_MISSING = (
        "PIXEL_SPACING_MISSING",
        "quarantined",
        "PixelSpacing is missing, zero or not a number; 1 mm is never assumed. Export again.",
    )
    RESCALE_INVALID = (
        "RESCALE_INVALID",
        "quarantined",
        "The rescale slope is zero, not a number, or there for some slices only; or a lookup table "
        "stands in its place.",
    )
    SIEMENS_MOSAIC = (
        "SIEMENS_MOSAIC",
        "quarantined",
        "A Siemens mosaic whose private header does not tell its slices' positions. Convert it "
        "with dcm2niix (pip install dcm2niix) and ingest the NIfTI.",
    )
