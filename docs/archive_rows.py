"""What a hospital archive does to a loader, row by row, and what holds each row.

`make_reference.py` makes explanation/archive-rows.md of it. A test proves each row: it takes away
the code that answers a hazard and sees the hazard's folder, or the named test, fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

PAGE = "../explanation/archive-rows.md"


@dataclass(frozen=True)
class Row:
    """One row of the specification, in our own words.

    Attributes:
        name: by which `tests/archive/test_guards.py` calls it.
        what: the archive does.
        end: it comes to.
        folders: of `medssl sample --hazards`, that bring it about.
        tests: files and names, of what no folder can bring about.
    """

    table: str
    name: str
    what: str
    end: str
    folders: str = ""
    tests: tuple[str, ...] = ()


_PACKED = "zip tar-gz gzip zip-that-leads-out tar-with-link zip-bomb zip-damaged"
_POOL, _INGEST, _DECODE = (
    f"tests/archive/{name}.py::" for name in ("test_pool", "test_ingest", "dicom/test_decode")
)
_DICOM_INGEST = "tests/archive/test_dicom_ingest.py::"
_IDENTITY = "tests/archive/test_identity.py::"

ROWS = (
    # --- finding files
    Row("Finding files", "names",
        "Names that say nothing or lie; directories, thumbnails and papers among the slices",
        "The first bytes decide. What was never a scan is counted as ignored; a DICOMDIR is not "
        "asked what there is. A format that nobody knows is told, file by file",
        "names-of-all-kinds dicomdir-that-lies junk-between-slices unknown-file other-formats"),
    Row("Finding files", "bare", "No preamble, or no meta header either",
        "Read as long as the data set says what it is; its encoding is found out, implicit little "
        "endian first", "no-preamble bare-implicit bare-explicit"),
    Row("Finding files", "damage", "Empty files, files cut off or overwritten, elements of a "
        "wrong type",
        "The file is refused for itself, and the series that it belonged to for the slice that it "
        "lacks, also at its ends, where no gap would show it",
        "zero-bytes-inside zero-bytes-at-end truncated-pixels truncated-header "
        "truncated-header-at-end overwritten-header wrong-vr wrong-vr-at-end "
        "cut-before-size-at-end uid-missing pixels-too-long damaged-codestream"),
    Row("Finding files", "trees", "Folders forty deep, links, circles, one file under two names",
        "Links are counted and not followed; a file with two names is one file",
        "deep-tree links-and-loops hard-links"),
    Row("Finding files", "packed", "Series inside zip, tar or gzip files",
        "Left closed and told, unless unpacking is asked for; then within limits of number, size "
        "and ratio, and never outside the folder that was given", _PACKED),
    Row("Finding files", "bombs", "Files that ask for more memory than any scan has",
        "Refused by what the header asks for, before a voxel is decoded. What gets further costs "
        "its own process, which has a limit of memory and of time, and one series, by name",
        "enormous-header deflate-bomb deflate-bomb-hidden codestream-bomb",
        (_POOL + "test_one_that_crashes_costs_itself_alone",
         _POOL + "test_one_that_hangs_is_ended",
         _POOL + "test_one_that_takes_too_much_memory_is_stopped",
         _DECODE + "test_a_deflated_header_without_end_is_refused",
         _DECODE + "test_codestream_of_another_size_is_refused_before_it_is_decoded")),
    Row("Finding files", "millions", "Millions of files, and runs that are stopped half-way",
        "Names, plans and rows wait on disk, not in memory; what is known and unchanged is not "
        "read again; after a kill the same command goes on",
        tests=("tests/archive/test_pairing.py::test_200_000_names_take_no_memory_of_their_own",
               _INGEST + "test_a_second_run_reads_only_what_is_new_or_changed",
               _INGEST + "test_killed_again_and_again_nothing_is_lost_or_doubled")),
    # --- decoding
    Row("Decoding", "encodings", "Every transfer syntax that hospitals send, also frames cut into "
        "pieces", "Decoded to the stored integers. A syntax that nobody knows is a refusal",
        "implicit-little-endian big-endian deflated rle jpeg-baseline jpeg-extended jpeg-lossless "
        "jpeg-lossless-sv1 jpeg-ls jpeg-2000 htj2k frames-in-fragments private-transfer-syntax"),
    Row("Decoding", "bits", "Overlays in the upper bits, 8, 12, 16 and 32 bits, with sign and "
        "without", "The bits that count are kept, with their sign; the others are cleared",
        "bits-above-high-bit signed signed-12-bits unsigned-16-bits eight-bits thirty-two-bits"),
    Row("Decoding", "colour", "Colour, palettes, single bits under the class of a CT",
        "No scan: refused", "rgb ybr palette one-bit"),
    Row("Decoding", "codec", "A decoder that is not installed",
        "The run stops and names the package; no series is blamed for it",
        tests=(_DECODE + "test_missing_decoder_is_an_error_that_names_the_package",)),
    # --- intensity
    Row("Intensity", "rescale", "Slopes that differ by slice or by frame, that all frames share, "
        "that are zero, no number, missing, or replaced by a table",
        "Each slice by its own; where one cannot be known the series is refused",
        "one-slice-other-rescale one-slice-without-rescale rescale-slope-zero rescale-slope-nan "
        "modality-lookup-table enhanced-ct-shared-rescale enhanced-pet-rescale-by-frame pet-suv"),
    Row("Intensity", "monochrome1", "Low numbers that are shown bright",
        "The numbers stay what they are, and a note says so", "monochrome1"),
    Row("Intensity", "shown", "Tables for viewers, mappings to other units",
        "Not applied; a note says that there was one", "presentation-lut real-world-map"),
    Row("Intensity", "philips", "Philips' second, private scale",
        "Display values; the private slope stands in the manifest", "philips-private-scale"),
    Row("Intensity", "pet", "PET in Bq/ml, in counts or in g/ml, with fields missing",
        "SUV by body weight where every field is there and believable, else Bq/ml with a note",
        "pet-suv pet-without-weight pet-without-dose pet-without-attenuation "
        "pet-decayed-to-injection pet-in-grams pet-in-counts"),
    Row("Intensity", "padding", "Numbers that stand for \"not measured\"",
        "Known as padding, one number or a range, and kept out of everything that is computed",
        "padding-value padding-range"),
    Row("Intensity", "values", "Hounsfield units that cannot be, nothing but one value",
        "Judged by the values, and refused with a code", "ct-out-of-range constant-volume"),
    # --- series
    Row("Series into volumes", "parts", "Several volumes under one series UID, or one slice that "
        "does not belong",
        "Taken apart by what can never lie in one volume, and each part judged for itself",
        "two-echoes b-values b-directions time-points heart-phases magnitude-and-phase "
        "mixed-orientations mixed-sizes one-slice-rotated one-slice-other-size series-uid-reused"),
    Row("Series into volumes", "order", "InstanceNumber in disorder, equal or absent",
        "The place in space orders the slices. In time the number counts where nothing else does "
        "and no place lacks a slice",
        "instance-number-shuffled instance-number-constant instance-number-absent reversed-order "
        "epi-by-instance-number epi-incomplete position-absent"),
    Row("Series into volumes", "twice", "The same file, or the same slice, once more",
        "Dropped once, and said so", "same-file-twice same-pixels-again"),
    Row("Series into volumes", "differs", "Two slices at one place, or of one UID, that differ",
        "Refused: nobody knows which is right",
        "same-position-other-pixels same-instance-other-pixels"),
    Row("Series into volumes", "gap", "A slice that is not there",
        "Refused, saying where; never closed over",
        "missing-slice missing-slices enhanced-mr-missing-frame pet-last-slice-missing"),
    Row("Series into volumes", "late", "The missing slice arrives after the run",
        "The next run takes the series", "late-slice",
        (_DICOM_INGEST + "test_a_late_slice_completes_a_refused_series",)),
    Row("Series into volumes", "uneven", "Steps that change within a stack",
        "Refused; or interpolated between the true places, if the configuration says so",
        "irregular-spacing"),
    Row("Series into volumes", "tilt", "Slices that lean or slide",
        "As they are, under an affine with that shear; patches are cut straight out of it",
        "gantry-tilt sheared-stack",
        ("tests/augment/test_spatial.py::test_a_sheared_scan_comes_out_straight",)),
    Row("Series into volumes", "spacing", "Thickness that is not the step, spacing left empty, "
        "one slice alone",
        "The step is that of the places; a plane without spacing is refused, never 1 mm",
        "wrong-slice-thickness pixel-spacing-empty pixel-spacing-absent single-slice"),
    Row("Series into volumes", "objects", "Scouts, projections, reformats, reports, plans beside "
        "or inside the scans",
        "Known by their class or their own marking, and named. To be derived is no such marking",
        "localizer-inside projection reformat screen-save derived secondary-capture "
        "reports-beside-images"),
    Row("Series into volumes", "enhanced", "Many frames in one file, in any order",
        "Placed, scaled and taken apart by each frame's own groups",
        "enhanced-mr-two-stacks enhanced-mr-time-points "
        "enhanced-ct-shared-rescale enhanced-pet-rescale-by-frame"),
    Row("Series into volumes", "mosaic", "Siemens' many slices in one picture",
        "Unfolded where the protocol places every slice beyond doubt, else refused",
        "siemens-mosaic siemens-mosaic-bare"),
    Row("Series into volumes", "world", "Patients on any side, any way round, and who got up in "
        "between",
        "Right in the world to 0.1 mm; another frame of reference is another volume",
        "clean-series two-frames-of-reference feet-first-prone decubitus oblique "
        "cosines-not-perpendicular"),
    # --- NIfTI
    Row("NIfTI", "forms", "Two affines that disagree, one alone, none; sizes in metres",
        "The sform, else the qform, else the sizes, each told; two of one rank that are a voxel "
        "apart are refused",
        "nifti-clean qform-and-sform-disagree qform-and-sform-conflict qform-alone no-affine "
        "affine-in-metres affine-not-in-metres"),
    Row("NIfTI", "affine", "An affine that is none", "Refused",
        "affine-singular affine-not-finite sform-zero"),
    Row("NIfTI", "file", "Files cut off, damaged, too long, huge by their header, bombs",
        "Every byte is there and checked, or the file is refused; nothing is filled in",
        "nii-truncated nii-gz-truncated nii-gz-wrong-crc nii-trailing-bytes vox-offset-huge "
        "dims-huge gzip-bomb hdr-without-img nifti-two-files nifti-big-endian",
        ("tests/archive/test_nifti.py::test_a_gzip_bomb_costs_no_memory",)),
    Row("NIfTI", "numbers", "Slopes that are none, values that are none, colours, vectors, time",
        "Values that are no numbers are masked and counted; colours, complex numbers and vectors "
        "are refused; time points become volumes",
        "scl-slope-zero scl-slope-nan scaled-beyond-16-bits nan-and-inf all-nan rgb-nifti "
        "complex-nifti five-dimensions four-dimensions"),
    Row("NIfTI", "sets", "The ways in which data sets lay out scans and masks",
        "Paired by their names without being told how; what stays alone is said so",
        "bids decathlon nnunet masks-beside-images partners-missing two-masks mask-among-images"),
    # --- labels
    Row("Labels", "segments", "DICOM segmentations, of one bit or of fractions",
        "Each frame at its own place on the grid of its series",
        "segmentation segmentation-fractional segmentation-alone"),
    Row("Labels", "contours", "Contours with holes, open ones, ones in another place",
        "Drawn by the even-odd rule on the nearest slice; refused where they do not lie on the "
        "image beyond doubt",
        "structure-set structure-set-open structure-set-other-frame structure-set-off-slice "
        "structure-set-two-series"),
    Row("Labels", "names of structures", "Names that mean classes, and may name a patient",
        "Mapped by the configuration, kept out of the store; what no pattern maps is told",
        "segmentation segmentation-fractional structure-set structure-set-overlap "
        "structure-set-open structure-set-other-frame structure-set-off-slice",
        ("tests/archive/dicom/test_label_ingest.py::"
         "test_names_are_nowhere_but_in_the_linkage_file",)),
    Row("Labels", "masks", "Masks on another grid, in another place, of fractions",
        "Taken by the nearest voxel, said so; refused where they do not cover the image",
        "mask-on-other-grid mask-elsewhere mask-of-fractions"),
    # --- identity
    Row("Identity", "no text", "Free text, UIDs, paths and private elements",
        "Nothing of it is in the store: numbers and words of fixed lists alone",
        tests=("tests/archive/dicom/test_facts.py::test_no_free_text_passes",
               _DICOM_INGEST + "test_no_byte_of_the_store_identifies_anybody")),
    Row("Identity", "patients", "One patient under several sites, issuers and keys",
        "A keyed hash over fields with their lengths, in which the site counts, and the issuer if "
        "it can be relied on. The key is long, private and outside of the store; another one "
        "gives other patients, and comparing says so",
        tests=(_IDENTITY + "test_other_fields_give_another_key",
               _IDENTITY + "test_a_missing_short_or_open_key_is_refused",
               _DICOM_INGEST + "test_the_issuer_counts_only_where_the_policy_says_so",
               _INGEST + "test_sites_and_keys_keep_patients_apart",
               "tests/efficiency/test_plan.py::test_an_encoder_or_a_store_of_another_key_is_told",
               "tests/archive/test_rotate.py::"
               "test_the_store_is_that_of_an_ingest_under_the_new_key")),
    Row("Identity", "dates", "Dates, and the ages of the very old",
        "Days from a hidden day of the patient's own; one band from 90 up",
        tests=("tests/archive/test_dates.py::test_each_patient_and_each_key_has_a_day_of_its_own",
               "tests/archive/test_dates.py::test_what_is_no_date_is_nan",
               _DICOM_INGEST + "test_a_series_is_one_volume_with_its_patients_key")),
    Row("Identity", "burnt in", "Names that are painted into the pixels",
        "Refused where the header or the kind of the picture says so; silence is no promise",
        "burnt-in-yes burnt-in-no screen-save secondary-capture rgb"),
    Row("Identity", "messages", "Libraries that quote paths and values in their errors",
        "The kind of an error leaves its process, its text never",
        tests=(_POOL + "test_the_text_of_an_error_stays_in_its_process",)),
    Row("Identity", "needles", "Names, numbers, dates and free text in every place an archive has, "
        "and the place of the archive itself",
        "No byte and no file name that is written holds one",
        tests=("tests/test_needles.py::test_no_byte_and_no_name_holds_a_needle",)),
)  # fmt: skip


def page() -> str:
    """The table in Markdown."""
    lines = [
        "# The archive, row by row",
        "",
        "Made by `docs/make_reference.py` from `docs/archive_rows.py`; do not edit.",
        "",
        "What hospital archives do to a loader, how it ends here, and what holds it. A folder is "
        "written by `medssl sample OUT --hazards`, with the end that it must come to; see "
        "[how to check them](../how-to/check-the-hazards.md). `tests/archive/test_guards.py` "
        "takes away, one after the other, the pieces of code that answer a row, and sees its "
        "folders fail; `tests/archive/test_guards_of_tests.py` does the same with the tests named "
        "here. That faces are not removed no test can hold: [privacy](privacy.md) says so.",
    ]
    for table in dict.fromkeys(row.table for row in ROWS):
        lines += ["", f"## {table}", "", "| what an archive does | how it ends | held by |"]
        lines += ["|---|---|---|"]
        for row in ROWS:
            if row.table == table:
                held = "<br>".join(_held_by(row))
                lines.append(f"| {row.what} | {row.end}. | {held} |")
    return "\n".join(lines) + "\n"


def _held_by(row: Row) -> Iterator[str]:
    if row.folders:
        yield ", ".join(f"`{folder}`" for folder in row.folders.split())
    for test in row.tests:
        file, _, name = test.partition("::")
        yield f"[{name}](../../{file})"
