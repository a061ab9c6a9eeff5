"""The journey of an engineer who pretrains on a hospital archive.

    python pipelines/pretrain_archive.py ARCHIVE WORKSPACE KEY_FILE [CONFIG]

From folders of DICOM and NIfTI that nobody has sorted to an encoder whose weights load elsewhere.
The same command again takes what is new in the archive and resumes the training. On several GPUs,
ingest once and then start the second half as `torchrun --nproc-per-node=N -m medssl pretrain ...`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from medssl.archive.config import IngestConfig
from medssl.archive.ingest import ingest
from medssl.bundled import bundled
from medssl.cli.terminal import TerminalProgress
from medssl.config import load_config
from medssl.engine.config import PretrainConfig
from medssl.engine.pretrain import pretrain


def main(archive: Path, workspace: Path, key_file: Path, config: Path) -> None:
    """Ingest `archive`, then pretrain as `config` says."""
    progress = TerminalProgress()
    store = workspace / "store"

    # Every series ends exact, corrected, or set aside with a reason; patients become keys.
    ingested = ingest(IngestConfig(archive=archive, store=store, key_file=key_file), progress)
    print("\n".join(ingested.lines()))

    # Learn from whatever came in. Nobody's label is needed.
    settings = load_config(PretrainConfig, config, [f"store={store}"])
    result = pretrain(settings, workspace / "pretrain", progress)

    print(f"{result.volumes} volumes, final loss {result.final_loss:.4g}")
    print(f"report:  {result.run / 'report.html'}")
    print(f"encoder: {result.encoder}")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    chosen = sys.argv[4] if len(sys.argv) == 5 else bundled("configs/pretrain/hybrid.yaml")
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Path(chosen))
