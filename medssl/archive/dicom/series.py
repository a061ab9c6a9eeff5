"""One series, judged: every file of it ends in a volume or in a rejection that says why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medssl.archive.dicom.decode import check_format, decode
from medssl.archive.dicom.frames import Frame
from medssl.archive.dicom.geometry import Misplaced, check_orientation
from medssl.archive.dicom.grouping import (
    Part,
    Slice,
    collides,
    slice_places,
    split,
    split_by_headers,
    split_by_time,
)
from medssl.archive.dicom.header import Header, Unreadable
from medssl.archive.dicom.intensity import rescale_of
from medssl.archive.dicom.kinds import modality_of, reason_not_an_image
from medssl.archive.dicom.notes import notes_of, private_slope_of_volume
from medssl.archive.dicom.padding import padding_of_volume
from medssl.archive.dicom.policy import Policy
from medssl.archive.dicom.respace import interpolate, stack_or_respace
from medssl.archive.dicom.strays import check_strays, num_without_place
from medssl.archive.reasons import Reason
from medssl.archive.scan import Judged, Rejection, Scan, Source
from medssl.archive.whole import Lost, may_lack
from medssl.store.voxels import Rescale
from medssl.volume import Array


def read_series(
    headers: list[Header], policy: Policy | None = None, lost: Lost | None = None
) -> list[Judged]:
    """Split, order, judge and decode the files of one series.

    `lost` are damaged files that lie outside of `headers` but may belong to them.

    One Scan for each volume that it holds; a Rejection for each part that makes no volume and for
    each file that is none. A file that belongs to the series but cannot be read makes its volume a
    rejection too (MISSING_SLICE): it is never closed over.

    Raises:
        CodecError: a decoder is not installed; the message names the package.
    """
    return _Series(headers, policy or Policy(), lost or Lost()).judge()


@dataclass
class _Series:
    """The state of one reading: what was decoded, what was lost, what was judged."""

    headers: list[Header]
    policy: Policy
    damaged: Lost
    judged: list[Judged] = field(default_factory=list)
    lost: dict[Path, Unreadable] = field(default_factory=dict)
    decoded: dict[Path, Array] = field(default_factory=dict)
    hashes: dict[Path, str] = field(default_factory=dict)
    dropped: dict[Path, list[Header]] = field(default_factory=dict)  # by the file that was kept
    strays: list[Frame] = field(default_factory=list)
    unplaced: list[Header] = field(default_factory=list)

    def judge(self) -> list[Judged]:
        images = self._images()
        unplaced = [h for h in images if h.path in self.lost and not _is_placed(h)]
        images, duplicates, conflicts = self._instances_once(
            [h for h in images if h not in unplaced]
        )
        whole = {h.instance for h in images if h.path not in self.lost}
        num_unplaced = len({h.instance for h in unplaced} - whole) + self.damaged.certain
        pieces = [
            piece
            for part in (split(self._slices(images)) if images else [])
            for piece in self._without_collisions(part, duplicates)
        ]
        self.strays += [part.slices[0].frame for part, _ in pieces if len(part.slices) == 1]
        for piece, corrections in pieces:
            self._build(piece, corrections, conflicts, num_unplaced)
        for path, problem in self.lost.items():
            header = next(h for h in self.headers if h.path == path)
            self._reject([header], "file", problem.reason, problem.detail)
        return self.judged

    def _images(self) -> list[Header]:
        """The files that are CT, MR or PET images; the others are rejected by their kind."""
        images = []
        for header in self.headers:
            if modality_of(header.sop_class) is None:
                self._reject([header], "file", reason_not_an_image(header.sop_class))
            elif header.burned_in:
                self._reject([header], "file", Reason.BURNED_IN_ANNOTATION)
            else:
                try:
                    check_format(header, self.policy.max_voxels)
                except Unreadable as problem:
                    if problem.reason is Reason.COLOUR_IMAGE:
                        self._reject([header], "file", problem.reason)
                        continue
                    self.lost[header.path] = problem
                images.append(header)
        return self._completed(images)

    def _completed(self, images: list[Header]) -> list[Header]:
        """Damaged files whose plane is that of no other, with the plane of the others.

        So they are missed in their place and never make a part of their own, which would leave the
        rest to pass for whole. Where the others are of several kinds, it is not known which volume
        misses them: they lose their place.
        """
        sound = {_plane(h): h for h in images if h.path not in self.lost}
        if not sound:
            return images
        model = next(iter(sound.values()))
        return [
            _like(header, model if len(sound) == 1 else None)
            if header.path in self.lost and len(header.frames) == 1 and _plane(header) not in sound
            else header
            for header in images
        ]

    def _instances_once(self, headers: list[Header]) -> tuple[list[Header], set[str], set[str]]:
        """Each SOP instance once; which of them came again, and which came again but different."""
        by_instance: dict[str, list[Header]] = defaultdict(list)
        for header in headers:
            by_instance[header.instance].append(header)
        once: list[Header] = []
        duplicates: set[str] = set()
        conflicts: set[str] = set()
        for instance, copies in by_instance.items():
            sound = (
                copies if len(copies) == 1 else [h for h in copies if self._pixels(h) is not None]
            )
            once.append((sound or copies)[0])
            self.dropped[once[-1].path] = [h for h in copies if h is not once[-1]]
            if len(sound) > 1:
                alike = all(self._alike(sound[0], other) for other in sound[1:])
                (duplicates if alike else conflicts).add(instance)
        return once, duplicates, conflicts

    def _alike(self, one: Header, other: Header) -> bool:
        first, second = self._pixels(one), self._pixels(other)
        return one.frames == other.frames and first is not None and np.array_equal(first, second)  # type: ignore[arg-type]

    def _slices(self, headers: Iterable[Header]) -> list[Slice]:
        """The frames that have a place; the others are rejected, file by file."""
        slices: list[Slice] = []
        for header in headers:
            unfit: dict[Reason, int] = defaultdict(int)
            for frame in header.frames:
                reason = _unfit(frame)
                if reason is None:
                    slices.append(Slice(header, frame))
                else:
                    unfit[reason] += 1
                    if frame.marker is None:
                        self.strays.append(frame)
            if header.path not in self.lost:
                self.unplaced += [header] if unfit else []
                for reason, count in unfit.items():
                    frames = f"{count} of {len(header.frames)} frames"
                    self._reject([header], "file", reason, frames if len(header.frames) > 1 else "")
        return slices

    def _without_collisions(
        self, part: Part, duplicates: set[str]
    ) -> list[tuple[Part, tuple[Reason, ...]]]:
        """Pieces in which every place is held once, and what had to be corrected for it."""
        pieces: list[tuple[Part, tuple[Reason, ...]]] = []
        for piece in split_by_headers(part):
            again = any(s.header.instance in duplicates for s in piece.slices)
            corrections = (Reason.DUPLICATE_DROPPED,) if again else ()
            if not collides(piece):
                pieces.append((piece, corrections))
                continue
            single = self._equal_pixels_once(piece)
            if not collides(single):
                pieces.append((single, (Reason.DUPLICATE_DROPPED,)))
                continue
            points = split_by_time(piece)
            if points is None and len(single.slices) < len(piece.slices):
                points, corrections = split_by_time(single), (Reason.DUPLICATE_DROPPED,)
            if points is None:
                self._reject_part(piece, Reason.SAME_POSITION_DIFFERS, _shared_places(single))
            pieces += [(point, corrections) for point in points or []]
        return pieces

    def _equal_pixels_once(self, part: Part) -> Part:
        """Without the frames that repeat the pixels and rescale of another at their place."""
        kept: list[Slice] = []
        by_place: dict[int, list[Slice]] = defaultdict(list)
        for one, place in zip(part.slices, slice_places(part), strict=True):
            by_place[int(place)].append(one)
        for frames in by_place.values():
            sound = frames
            if len(frames) > 1:
                sound = [f for f in frames if self._pixels(f.header) is not None] or frames[:1]
            first_kept = len(kept)
            for one in sound:
                same = [other for other in kept[first_kept:] if self._same_values(one, other)]
                if same:
                    self.dropped.setdefault(same[0].header.path, []).append(one.header)
                else:
                    kept.append(one)
        return replace(part, slices=tuple(kept))

    def _same_values(self, one: Slice, other: Slice) -> bool:
        first, second = self._frame(one), self._frame(other)
        return (
            (one.frame.slope, one.frame.intercept) == (other.frame.slope, other.frame.intercept)
            and first is not None
            and second is not None
            and np.array_equal(first, second)
        )

    def _build(
        self, part: Part, corrections: tuple[Reason, ...], conflicts: set[str], unplaced: int
    ) -> None:
        """The volume of a part, or the rejection that says why it is none."""
        slices = part.slices
        frame = slices[0].frame
        try:
            if any(s.header.instance in conflicts for s in slices):
                raise Misplaced(Reason.SAME_INSTANCE_DIFFERS, "")
            self._check_size(slices)
            positions = np.array([s.frame.position for s in slices])
            placed, respacing = stack_or_respace(
                positions, frame.orientation, frame.spacing, self.policy
            )
            ordered = [slices[i] for i in placed.order]
            _check_count(ordered, unplaced + num_without_place(self.unplaced, ordered[0].header))
            check_strays(ordered, self.strays)
            self._check_neighbours(ordered)
            rescale, units = rescale_of(ordered)
            stored = self._stored(ordered)
        except Misplaced as problem:
            self._reject_part(part, problem.reason, problem.detail)
            return
        source = _source([s.header for s in ordered], part.name)
        padding: tuple[float, float] | None
        padding = padding_of_volume([s.header.padding for s in ordered], stored)
        notes = notes_of(ordered, units, padding is not None)
        if respacing is not None:
            stored, padding = interpolate(stored, rescale, respacing, padding)
            rescale, corrections = Rescale(), (*corrections, Reason.SPACING_RESAMPLED)
        header = ordered[0].header
        modality = modality_of(header.sop_class)
        assert modality is not None
        self.judged.append(
            Scan(
                source=replace(source, sha256=tuple(self.hashes[path] for path in source.files)),
                stored=stored,
                rescale=rescale,
                affine=placed.affine,
                modality=modality,
                units=units,
                source_format="DICOM",
                corrections=corrections,
                notes=notes,
                facts=header.facts,
                detail=respacing.detail if respacing else "",
                padding=padding,
                private_slope=private_slope_of_volume(ordered),
                study_date=header.study_date,
            )
        )

    def _check_size(self, slices: Sequence[Slice]) -> None:
        """Raise Misplaced where the headers ask for more voxels than the policy allows."""
        mosaic, pixels = slices[0].header.mosaic, slices[0].header.pixels
        plane = mosaic if mosaic else pixels
        if len(slices) * plane.rows * plane.columns > self.policy.max_voxels:
            shape = f"{len(slices)}x{plane.rows}x{plane.columns}"
            raise Misplaced(Reason.TOO_LARGE, f"{shape} voxels")

    def _check_neighbours(self, ordered: Sequence[Slice]) -> None:
        """Raise Misplaced where a damaged file beside the stack may be a slice of its ends."""
        instances = {h.path: h.instance for h in self.headers if h.path not in self.lost}
        number = may_lack(self.damaged.beside, [one.header for one in ordered], instances)
        if number == 1:
            raise Misplaced(Reason.MISSING_SLICE, "1 damaged file beside it may be its slice")
        if number:
            raise Misplaced(
                Reason.MISSING_SLICE, f"{number} damaged files beside it may be its slices"
            )

    def _stored(self, slices: Sequence[Slice]) -> Array:
        """(slices, rows, columns), as the type that holds them all."""
        absent = [i for i, one in enumerate(slices, 1) if one.header.path in self.lost]
        stored: Array | None = None
        for i, one in enumerate(slices if not absent else ()):
            frame = self._frame(one)
            if frame is None:
                absent.append(i + 1)
                continue
            if stored is None:
                kind = np.result_type(*{one.header.pixels.dtype for one in slices})
                stored = np.empty((len(slices), *frame.shape), kind)
            stored[i] = frame
            if len(one.header.frames) == 1:
                self.decoded.pop(one.header.path, None)
        if absent or stored is None:
            raise Misplaced(
                Reason.MISSING_SLICE,
                f"{len(absent)} of {len(slices)} slices cannot be read, the first is {absent[0]}",
            )
        return stored

    def _frame(self, one: Slice) -> Array | None:
        pixels = self._pixels(one.header)
        return None if pixels is None else np.asarray(pixels[one.frame.index])

    def _pixels(self, header: Header) -> Array | None:
        """The decoded frames of a file, once; None, and noted, where it cannot be read."""
        if header.path in self.lost:
            return None
        if header.path not in self.decoded:
            try:
                decoded = decode(header, self.policy.max_voxels)
            except Unreadable as problem:
                self.lost[header.path] = problem
                return None
            self.decoded[header.path] = decoded.frames
            self.hashes[header.path] = decoded.sha256
        return self.decoded[header.path]

    def _reject_part(self, part: Part, reason: Reason, detail: str) -> None:
        """With the copies that its slices stood for."""
        headers = [s.header for s in part.slices]
        headers += [copy for header in headers for copy in self.dropped.get(header.path, ())]
        self._reject(headers, "series", reason, detail, part.name)

    def _reject(
        self, headers: list[Header], kind: str, reason: Reason, detail: str = "", part: str = ""
    ) -> None:
        self.judged.append(Rejection(_source(headers, part), kind, reason, detail))


def _source(headers: Sequence[Header], part: str) -> Source:
    first = headers[0]
    return Source(
        files=tuple(dict.fromkeys(h.path for h in headers)),
        patient=first.patient,
        study=first.study,
        series=first.series,
        part=part,
        instances=tuple(dict.fromkeys(h.instance for h in headers)),
    )


def _plane(header: Header) -> tuple[object, ...]:
    """What a header says but for its place; a damaged one may say it wrongly, or no more of it."""
    pixels, frame = header.pixels, header.frames[0] if header.frames else None
    seen = (frame.spacing, frame.rescale_type, frame.diffusion.b_value) if frame else ()
    return pixels.rows, pixels.columns, pixels.photometric, *seen


def _like(header: Header, model: Header | None) -> Header:
    """A damaged header with the plane of a sound one; without a place where there is none."""
    if model is None or not model.frames:
        return replace(header, frames=())
    sound = model.frames[0]
    frame = replace(
        header.frames[0],
        spacing=sound.spacing,
        slope=sound.slope,
        intercept=sound.intercept,
        rescale_type=sound.rescale_type,
        lookup=sound.lookup,
        diffusion=sound.diffusion,
    )
    return replace(header, pixels=model.pixels, frames=(frame,))


def _is_placed(header: Header) -> bool:
    """Whether a damaged file can be missed in its place, or is marked as no scan at all."""
    return any(frame.marker or _unfit(frame) is None for frame in header.frames)


def _unfit(frame: Frame) -> Reason | None:
    """Why a frame can lie in no volume, by its own header."""
    if frame.marker:
        return frame.marker
    if not frame.position or not frame.orientation:
        return Reason.POSITION_MISSING
    try:
        check_orientation(frame.orientation)
    except Misplaced as problem:
        return problem.reason
    if len(frame.spacing) != 2 or min(frame.spacing) <= 0:
        return Reason.PIXEL_SPACING_MISSING
    return None


def _shared_places(part: Part) -> str:
    counts = np.bincount(slice_places(part))
    shared, most = int((counts > 1).sum()), int(counts.max())
    return f"{shared} of {len(counts)} positions hold up to {most} slices"


def _check_count(ordered: Sequence[Slice], unplaced: int) -> None:
    """Raise Misplaced where slices are known to be missing though no gap shows it."""
    if unplaced:
        raise Misplaced(
            Reason.MISSING_SLICE,
            f"{unplaced} damaged files of this series do not tell their position",
        )
    declared = ordered[0].header.declared_slices
    if declared is not None and declared > len(ordered):
        raise Misplaced(
            Reason.MISSING_SLICE, f"{len(ordered)} slices of {declared} that the header declares"
        )
