"""Pretraining in several real processes, without the seconds that importing torch takes each.

    python rank_server.py

reads lines "CONFIG OUT RANKS PORT" and for each of them forks RANKS processes that train, prints
their process ids, reads a line that says they were noted, waits for all, and prints how they ended
(an exit code, or minus a signal).
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import mlflow  # noqa: F401  # else every process would import it
import yaml

from medssl.engine.config import PretrainConfig
from medssl.engine.pretrain import pretrain
from medssl.errors import MedsslError


def rank(config: str, out: str, number: int, ranks: int, port: str) -> int:
    if ranks > 1:
        os.environ |= {
            "RANK": str(number),
            "LOCAL_RANK": str(number),
            "WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
    try:
        pretrain(PretrainConfig(**yaml.safe_load(Path(config).read_text())), Path(out))
    except MedsslError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    for line in sys.stdin:
        config, out, ranks, port = line.split()
        pids = []
        for number in range(int(ranks)):
            pid = os.fork()
            if pid == 0:
                os._exit(rank(config, out, number, int(ranks), port))
            pids.append(pid)
        print(*pids, flush=True)
        sys.stdin.readline()  # until then, ids of processes that have ended already stay theirs
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(*codes, flush=True)


if __name__ == "__main__":
    main()
