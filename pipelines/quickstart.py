"""The whole way on a synthetic archive: archive, store, pretraining, fine-tuning, study, audit.

    medssl quickstart --out quickstart        (or: python pipelines/quickstart.py quickstart)

Every stage resumes, so the same command again goes on where it stopped, or says that all is done.
The networks are tiny and see little: this shows how the parts fit, not what pretraining can do.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from medssl.archive.config import IngestConfig
from medssl.archive.identity import make_key_file
from medssl.bundled import bundled
from medssl.cli.terminal import TerminalProgress
from medssl.config import load_config
from medssl.sample.sample import write_sample

PATIENTS = 24


def main(out: Path) -> None:
    """Run all stages into `out` and print where everything is."""
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    # MLflow's database belongs to the folder that holds everything else.
    database = f"sqlite:///{out.resolve() / 'mlflow.db'}"
    tracking_uri = os.environ.setdefault("MLFLOW_TRACKING_URI", database)
    progress = TerminalProgress()

    # 1. A hospital's archive: DICOM and NIfTI, unsorted, some of it damaged. Ours is made up.
    sample = out / "sample"
    if not (sample / "needles.txt").is_file():  # what is written last
        shutil.rmtree(sample, ignore_errors=True)
        write_sample(sample, patients=PATIENTS, progress=progress)

    # 2. The store: every series exact, corrected, or set aside with a reason.
    # The key that makes pseudonyms lies outside the store; keep a real one in a safe place.
    key_file = out / "pseudonyms.key"
    if not key_file.exists():
        make_key_file(key_file)
    from medssl.archive.ingest import ingest

    ingested = ingest(
        IngestConfig(
            archive=sample / "archive",
            cases=sample / "cases.csv",
            store=out / "store",
            key_file=key_file,
        ),
        progress,
    )

    # 3. Pretraining without labels. The study's test patients are held out.
    from medssl.efficiency.config import StudyConfig
    from medssl.engine.config import PretrainConfig
    from medssl.engine.pretrain import pretrain
    from medssl.transfer.config import FinetuneConfig

    store = [f"store={out / 'store'}"]
    pretrained = pretrain(
        load_config(PretrainConfig, bundled("configs/pretrain/quickstart.yaml"), store),
        out / "pretrain",
        progress,
    )

    # 4. Fine-tuning on the few masks there are, to find the liver.
    from medssl.transfer.finetune import finetune

    finetuned = finetune(
        load_config(
            FinetuneConfig,
            bundled("configs/finetune/quickstart.yaml"),
            [*store, f"init={pretrained.run}"],
        ),
        out / "finetune",
        progress,
    )

    # 5. How many labels does pretraining save? Lesion or none, from a few labelled patients.
    from medssl.efficiency.publish import analyse_study
    from medssl.efficiency.study import run_study

    study = load_config(
        StudyConfig,
        bundled("configs/efficiency/quickstart.yaml"),
        [*store, f"encoder={pretrained.run}"],
    )
    studied = run_study(study, out / "study", progress)
    analysed = analyse_study(study, out / "study")

    # 6. The audit: can the claim be believed?
    from medssl.audit.audit import audit

    audited = audit(out / "study")

    print()
    print("What came in")
    for line in ingested.lines()[1:]:
        print(f"  {line}")
    print("What was learned")
    print(f"  pretraining loss: {pretrained.run / 'loss.png'}")
    print(f"  pretraining page: {pretrained.run / 'report.html'}")
    for line in finetuned.lines:
        print(f"  {line}")
    print(f"  fine-tuning page: {finetuned.run / 'report.html'}")
    print("How many labels it saved")
    print(f"  {analysed.headline}")
    print(f"  label-efficiency curve: {analysed.curve}")
    print(f"  study page: {analysed.report}")
    print(f"  audit: {audited.verdict}, evidence in {out / 'study' / 'audit.json'}")
    print(f"  audit page: {out / 'study' / 'audit.html'}")
    mlflow = os.path.relpath(Path(sys.executable).with_name("mlflow"))
    print("MLflow's page:")
    print(f"  MLFLOW_DISABLE_TELEMETRY=true {mlflow} ui --backend-store-uri {tracking_uri}")
    there = pretrained.was_done and finetuned.was_done and studied.was_done
    state = "was done already; looked through" if there else "done"
    print(f"{state} in {time.monotonic() - began:.0f} s; everything is in {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart"))
