"""What a shard of a whole array costs on one core, step by step, and the whole array by extrapolation.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 .venv/bin/python tests/benchmarks/array_shard.py [--cpgs 20000]
        [--samples 3500] [--predicted 4000] [--engines openvino torch] [--out F.csv]

Processor seconds, in this process and without Snakemake; the functions are those that the rules call. Simulated CpGs (a
thousand different ones, repeated) are written as a cohort, their statistics computed and labelled, their patterns
described, and the shipped network predicts `--predicted` of them by either engine; `start` sets the engine up. Reading
text is measured by ingest_pace.py and full_array.py.
"""

import argparse
import functools
import pathlib
import tempfile
import time

import numpy as np
import pandas as pd
from benchmarking import NETWORK, RULES

WHOLE, DISTINCT, SEED = 811_870, 1000, 20


def measured(rows, step, n, work, share=1.0):
    """Run work() and note its processor time over n CpGs. share: how much of a whole array the step is done for."""
    began = time.process_time()
    found = work()
    seconds = time.process_time() - began
    hours = seconds / n * WHOLE * share / 3600 if n else np.nan
    rows.append(
        {
            "step": step,
            "cpgs": n,
            "seconds": round(seconds, 2),
            "us_per_cpg": round(1e6 * seconds / n, 1) if n else None,
        }
    )
    rows[-1] |= {"share_of_array": share, "array_core_hours_extrapolated": round(hours, 3) if n else None}
    print(*rows[-1].values(), flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpgs", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=3500)
    parser.add_argument("--predicted", type=int, default=4000)
    parser.add_argument("--engines", nargs="+", default=["openvino", "torch"])
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    from cpgtaxa.cohort import Cohort, CohortWriter
    from cpgtaxa.files import write_parquet
    from cpgtaxa.images.render import planes, render
    from cpgtaxa.learning.classifier import BLOCK
    from cpgtaxa.learning.prediction import _classify, _predictor
    from cpgtaxa.patterns.table import Study, describe_shard
    from cpgtaxa.simulation.simulate import cohort_setting, draw_cpg, plan_cohort
    from cpgtaxa.statistics.kernel import compute
    from cpgtaxa.taxa.labels import define_taxa

    n, rows = arguments.cpgs, []
    setting, kinds = cohort_setting(SEED, arguments.samples), plan_cohort(SEED, DISTINCT, 0.3)
    distinct = np.stack([draw_cpg(SEED, index, kinds[index], setting)[1] for index in range(DISTINCT)]).astype(
        np.float32
    )
    ages = np.asarray(setting.ages, dtype=float)
    compute(distinct[:8], ages)
    planes(render(distinct[:8], ages), 64)
    with tempfile.TemporaryDirectory() as folder:
        at = pathlib.Path(folder)
        ids = [f"S{number}" for number in range(arguments.samples)]

        def store():
            with CohortWriter(at / "beta.arrow", ids) as writer:
                for start in range(0, n, DISTINCT):
                    number = min(DISTINCT, n - start)
                    writer.append([f"cg{start + index:08d}" for index in range(number)], distinct[:number])

        measured(rows, "cohort written", n, store)
        cohort = Cohort(at / "beta.arrow")
        blocks = range(0, n, DISTINCT)
        table = measured(
            rows,
            "statistics",
            n,
            lambda: pd.concat([compute(cohort.read(start, start + DISTINCT), ages) for start in blocks]),
        )
        table.insert(0, "cpg", cohort.cpgs)
        labels = measured(rows, "labels", n, lambda: define_taxa(table, **RULES))
        measured(rows, "statistics written", n, lambda: write_parquet(at / "statistics.parquet", table))
        sheet = pd.DataFrame({"sample_id": ids, "age": ages, "chip": np.arange(len(ids)) // 8})
        describe = functools.partial(
            describe_shard, cohort, Study.of(sheet), at / "statistics.parquet", 0, at / "patterns"
        )
        measured(rows, "patterns", n, functools.partial(describe, **RULES))
        share = float((labels["taxon"] == "Unclassified").mean())
        wanted = np.arange(min(arguments.predicted, n))

        def drawn():
            for start in range(0, len(wanted), BLOCK["cpu"]):
                planes(render(cohort.read(start, min(start + BLOCK["cpu"], len(wanted))), ages), 64)

        measured(rows, "drawing alone", len(wanted), drawn)
        for engine in arguments.engines:
            how = {"device": "cpu", "precision": "auto" if engine == "openvino" else "float32", "engine": engine}
            start = functools.partial(_predictor, NETWORK, "ResNet18", ages, SEED, cpgs=n, **how)
            predictor = measured(rows, f"start, {engine}", 0, start)
            classify = functools.partial(_classify, cohort, wanted, ages, predictor)
            found = measured(rows, f"drawn and classified, {engine}", len(wanted), classify)
            write = functools.partial(write_parquet, at / "p.parquet", found)
            measured(rows, f"predictions written, {engine}", len(wanted), write)
        print(f"{share:.3f} of the simulated CpGs are Unclassified")
    if arguments.out:
        pd.DataFrame(rows).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
