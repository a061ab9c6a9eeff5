"""The journey of a researcher who fine-tunes a diagnostic model on few labels.

    python pipelines/finetune_diagnosis.py STORE PRETRAINED_RUN LABEL OUT [CONFIG]

Two trainings on the same patients, one from the pretrained encoder and one from scratch, for a
fine-tuned model says little without what it is compared with. Both are also compared with a model
that knows nothing but the size of what is in the picture.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from medssl.bundled import bundled
from medssl.cli.terminal import TerminalProgress
from medssl.config import load_config
from medssl.models.weights import read_metadata
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.finetune import finetune


def main(store: Path, pretrained: Path, label: str, out: Path, config: Path) -> None:
    """Fine-tune for the class label `label`, and train the same network from scratch."""
    progress = TerminalProgress()
    chosen = [f"store={store}", f"task.label={label}"]

    # From the pretrained encoder.
    settings = load_config(FinetuneConfig, config, [*chosen, f"init={pretrained}"])
    tuned = finetune(settings, out / "pretrained", progress)

    # The same network, cases, steps and seed, without pretraining.
    encoder = pretrained / "checkpoints" / "encoder.safetensors"
    model = json.dumps(json.loads(read_metadata(encoder)["model"]))
    settings = load_config(FinetuneConfig, config, [*chosen, "init=null", f"model={model}"])
    scratch = finetune(settings, out / "scratch", progress)

    for name, result in (("pretrained", tuned), ("from scratch", scratch)):
        print(f"{name}:")
        for line in result.lines:
            print(f"  {line}")
        print(f"  report: {result.run / 'report.html'}")
    print("One training each proves nothing: pipelines/audit_label_efficiency.py asks for proof.")


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    given = sys.argv[5] if len(sys.argv) == 6 else bundled("configs/finetune/classification.yaml")
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), Path(given))
