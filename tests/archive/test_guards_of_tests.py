"""The tests that hold what no hazard folder can bring about are themselves seen to fail.

Each entry breaks one line in a copy of the package, and runs the test that answers for it: it must
fail. Unbroken, in the same copy, it must pass. Minutes long, since each test has a process.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = runpy.run_path(str(ROOT / "docs" / "archive_rows.py"))["ROWS"]
_LIMIT_S = 45  # for a test that waits for ever once it is broken


@dataclass(frozen=True)
class Broken:
    """What to write in place of `text` in a file of the package, and the test that must see it."""

    row: str
    test: str
    file: str
    text: str
    instead: str


BROKEN = (
    Broken("bombs", "test_one_that_crashes_costs_itself_alone", "archive/pool.py",
           "yield from self._give_up(worker, Reason.WORKER_DIED, waiting)",
           "raise MedsslError('a process died')"),
    Broken("bombs", "test_one_that_hangs_is_ended", "archive/pool.py",
           "return self._time_limit_s if worker.ready else _START_LIMIT_S",
           "return _START_LIMIT_S"),
    Broken("bombs", "test_one_that_takes_too_much_memory_is_stopped", "archive/pool.py",
           "    _limit_memory(max_memory_bytes)\n", ""),
    Broken("bombs", "test_a_deflated_header_without_end_is_refused", "archive/dicom/deflated.py",
           "if self.capped and len(self._data) > _MOST_HEADER_BYTES:", "if False:"),
    Broken("bombs", "test_codestream_of_another_size_is_refused_before_it_is_decoded",
           "archive/dicom/decode.py", "if size != (pixels.rows, pixels.columns, 1):", "if False:"),
    Broken("millions", "test_200_000_names_take_no_memory_of_their_own", "archive/pairing.py",
           'sqlite3.connect("", isolation_level=None)',
           'sqlite3.connect(":memory:", isolation_level=None)'),
    Broken("millions", "test_a_second_run_reads_only_what_is_new_or_changed", "archive/plan.py",
           "if before == signature and linked:", "if False:"),
    Broken("millions", "test_killed_again_and_again_nothing_is_lost_or_doubled",
           "archive/ingest.py", "if late or len(self.waiting) >= _COMMIT_UNITS:", "if False:"),
    Broken("codec", "test_missing_decoder_is_an_error_that_names_the_package",
           "archive/dicom/decode.py", "if not installed:", "if False:"),
    Broken("late", "test_a_late_slice_completes_a_refused_series", "archive/plan.py",
           "if before == signature and linked:", "if before is not None:"),
    Broken("tilt", "test_a_sheared_scan_comes_out_straight", "augment/placement.py",
           "= scan.frame @ pose.rotation",
           "= scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0) @ pose.rotation"),
    Broken("file", "test_a_gzip_bomb_costs_no_memory", "archive/nifti.py",
           'parts.append(member.decompress(data, room) if room else b"")',
           "parts.append(member.decompress(data)[:room])"),
    Broken("names of structures", "test_names_are_nowhere_but_in_the_linkage_file",
           "archive/label_objects.py", 'detail = f"{len(found)} structures"',
           'detail = " ".join(names)'),
    Broken("no text", "test_no_free_text_passes", "archive/dicom/facts.py",
           "return next(found, OTHER)", "return stated"),
    Broken("no text", "test_no_byte_of_the_store_identifies_anybody", "archive/dicom/facts.py",
           "return next(found, OTHER)", "return next(found, stated)"),
    Broken("patients", "test_other_fields_give_another_key", "archive/identity.py",
           'digest.update(len(data).to_bytes(8, "big") + data)', "digest.update(data)"),
    Broken("patients", "test_a_missing_short_or_open_key_is_refused", "archive/identity.py",
           "MIN_KEY_BYTES = 32", "MIN_KEY_BYTES = 16"),
    Broken("patients", "test_the_issuer_counts_only_where_the_policy_says_so",
           "archive/identities.py", 'issuer if config.use_issuer else ""', "issuer"),
    Broken("patients", "test_sites_and_keys_keep_patients_apart", "archive/identities.py",
           'key.hmac("patient", site, "", unit.case.patient)',
           'key.hmac("patient", "", unit.case.patient)'),
    Broken("patients", "test_an_encoder_or_a_store_of_another_key_is_told",
           "efficiency/plan.py", "if store.key_id != planned:", "if False:"),
    Broken("patients", "test_the_store_is_that_of_an_ingest_under_the_new_key",
           "archive/rekeyed.py", "day = moved_day(day, (keys.old, patient), (keys.new, renewed))",
           "pass"),
    Broken("dates", "test_each_patient_and_each_key_has_a_day_of_its_own", "archive/dates.py",
           "day.toordinal() - epoch_day(key, patient_key)", "day.toordinal()"),
    Broken("dates", "test_what_is_no_date_is_nan", "archive/dates.py",
           "        return math.nan", "        return 0.0"),
    Broken("dates", "test_a_series_is_one_volume_with_its_patients_key", "archive/rows.py",
           "if years >= 90:", "if False:"),
    Broken("messages", "test_the_text_of_an_error_stays_in_its_process", "archive/pool.py",
           "return Failure(Reason.INTERNAL_ERROR, type(error).__name__)",
           "return Failure(Reason.INTERNAL_ERROR, str(error))"),
    Broken("needles", "test_no_byte_and_no_name_holds_a_needle", "archive/dicom/facts.py",
           "return next(found, OTHER)", "return next(found, stated)"),
)  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout to break; nothing in it is compiled beforehand."""
    out = tmp_path_factory.mktemp("broken")
    for name in ("medssl", "tests", "docs", "pipelines", "configs", "benchmarks"):
        shutil.copytree(ROOT / name, out / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, out / name)
    return out


def outcome(copy: Path, test: str) -> tuple[bool, str]:
    """Whether the test passed, and what was printed."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "",
               f"--timeout={_LIMIT_S}", test]  # fmt: skip
    ran = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    return ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: f"{broken.row}-{broken.test}")
def test_the_test_fails_without_the_code_it_answers_for(broken: Broken, copy: Path) -> None:
    tests = next(row.tests for row in ROWS if row.name == broken.row)
    test = next(name for name in tests if name.endswith(f"::{broken.test}"))
    passed, told = outcome(copy, test)
    assert passed, told[-2000:]
    path = copy / "medssl" / broken.file
    sound = path.read_text(encoding="utf-8")
    assert sound.count(broken.text) >= 1, "what is to be broken is not there any more"
    path.write_text(sound.replace(broken.text, broken.instead), encoding="utf-8")
    try:
        passed, told = outcome(copy, test)
    finally:
        path.write_text(sound, encoding="utf-8")
    assert not passed
    assert re.search(rf"FAILED .*{broken.test}|ERROR .*{broken.test}|Timeout", told), told[-2000:]


def test_every_named_test_is_there_and_is_broken_here() -> None:
    named = [(row.name, test) for row in ROWS for test in row.tests]
    for _, test in named:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), test
    assert {(row, test.rpartition("::")[2]) for row, test in named} == {
        (broken.row, broken.test) for broken in BROKEN
    }
