"""The folder of predictions: a table that grows row by row, so that nothing is done twice.

predictions.csv     one row for each volume
predictions.json    which weights, task and classes predicted, and which INPUT (hash of its path)
not_predicted.csv   what was refused, failed or has its mask but no DICOM SEG, with the reason
masks/, seg/        segmentation: NIfTI of every volume; DICOM SEG of those that were DICOM
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import medssl
from medssl.engine.run_folder import locked_folder
from medssl.errors import ConfigError
from medssl.predict.inputs import Item, Refused
from medssl.predict.model import TrainedModel
from medssl.store.writer import write_atomically

Row = dict[str, str]
_NAME = re.compile("[0-9a-f]{16}")
_KNOWN = ("input", "part", "volume", "scan_sha256", "corrections")


class Results:
    """An open folder of predictions; one process at a time works in it."""

    def __init__(self, out: Path, model: TrainedModel, given: Path, columns: Sequence[str]) -> None:
        """Make the folder, or take up what is in it.

        Args:
            given: INPUT; volumes are known by where they lie in it, so another one's would be
                taken for the same.
            columns: of predictions.csv after those that say which volume it is.

        Raises:
            ConfigError: it holds something else, or predictions of other weights or another INPUT.
        """
        self.out = out
        self.table = out / "predictions.csv"
        self._columns = [*_KNOWN, *columns]
        self._lock = locked_folder(out)
        try:
            self._check_origin(model, given)
            self._rows = {row["volume"]: row for row in self._read()}
        except BaseException:
            self.close()
            raise

    def is_done(self, item: Item, files: Sequence[str]) -> bool:
        """Whether this very scan has its row, and the files that the columns `files` name."""
        row = self._rows.get(item.name)
        now = (item.scan_sha256, item.corrections)
        if row is None or (row["scan_sha256"], row["corrections"]) != now:
            return False
        return all(row[name] and (self.out / row[name]).is_file() for name in files)

    def keep(self, names: Set[str]) -> None:
        """Forget the rows, masks and SEGs of items of other names: their scans were changed, are
        refused or have left INPUT, or a kill came before the row."""
        self._rows = {name: row for name, row in self._rows.items() if name in names}
        if self.table.is_file():
            self._write_table()
        for folder, ending in (("masks", ".nii.gz"), ("seg", ".dcm")):
            for path in self.out.glob(f"{folder}/*{ending}"):
                name = path.name.removesuffix(ending)
                if _NAME.fullmatch(name) and name not in names and path.is_file():
                    path.unlink()

    def add(self, item: Item, values: Mapping[str, str]) -> None:
        """Keep a row; killed at any moment, the table holds all rows but perhaps the last."""
        known = (item.input, item.part, item.name, item.scan_sha256, item.corrections)
        row = {**dict(zip(_KNOWN, known, strict=True)), **values}
        fresh = not self.table.is_file()
        with self.table.open("a", encoding="utf-8", newline="") as file:
            file.write(self._text([row], header=fresh))
        self._rows[item.name] = row

    def change(self, item: Item, values: Mapping[str, str]) -> None:
        """Keep a row anew, with other `values`."""
        self.add(item, {**self._rows[item.name], **values})

    def corrections(self) -> Counter[str]:
        """How many of the volumes that have a row were corrected, by reason code."""
        codes = (row["corrections"].split("+") for row in self._rows.values())
        return Counter(code for of_one in codes for code in of_one if code)

    def finish(self, not_predicted: Sequence[Refused]) -> None:
        """Write both tables in order."""
        self._write_table()
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["input", "part", "reason", "detail"])
        writer.writerows([x.input, x.part, x.reason, x.detail] for x in not_predicted)
        write_atomically(self.out / "not_predicted.csv", lines.getvalue())

    def close(self) -> None:
        """Let another process work in the folder."""
        self._lock.close()

    def _check_origin(self, model: TrainedModel, given: Path) -> None:
        path = self.out / "predictions.json"
        about = {
            "medssl": medssl.__version__,
            **model.described(),
            "input_sha256": hashlib.sha256(os.fsencode(given.resolve())).hexdigest(),
        }
        begun = any((self.out / name).exists() for name in ("predictions.csv", "masks", "seg"))
        if path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))
            if known.get("weights_sha256") != about["weights_sha256"]:
                raise ConfigError(
                    f"{self.out} holds predictions of other weights; choose another --out"
                )
            if begun and known.get("input_sha256") != about["input_sha256"]:
                raise ConfigError(
                    f"{self.out} holds predictions of another INPUT; choose another --out"
                )
            if begun:
                return
        elif any(p.name not in (".lock", ".work") for p in self.out.iterdir()):
            raise ConfigError(f"{self.out} is not empty and no predictions; choose another --out")
        write_atomically(path, json.dumps(about, indent=2, sort_keys=True) + "\n")

    def _read(self) -> list[Row]:
        """Whole rows; a last one that a crash tore is taken out of the file."""
        if not self.table.is_file():
            return []
        with self.table.open(encoding="utf-8", newline="") as file:
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        rows = [
            row
            for row in csv.DictReader(io.StringIO(whole))
            if list(row) == self._columns and None not in row.values()
        ]
        if whole != text:
            write_atomically(self.table, self._text(rows, header=True))
        return rows

    def _write_table(self) -> None:
        rows = sorted(self._rows.values(), key=lambda row: (row["input"], row["part"]))
        write_atomically(self.table, self._text(rows, header=True))

    def _text(self, rows: Sequence[Mapping[str, str]], *, header: bool) -> str:
        lines = io.StringIO()
        writer = csv.DictWriter(lines, self._columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return lines.getvalue()
