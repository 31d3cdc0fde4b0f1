"""A whole simulated cohort as files: what a user would bring, and the truth behind it."""

import logging

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from cpgtaxa.files import atomic
from cpgtaxa.progress import Progress
from cpgtaxa.simulation.simulate import cohort_setting, draw_cpg, plan_cohort

BLOCK = 500


def write_cohort(settings: dict, seed: int, beta, samples, truth) -> None:
    """Simulate a cohort and write its three files.

    settings: `samples`, `cpgs`, `boundary` (share of boundary CpGs, which have two right taxa), `age_min`, `age_max`
    (years). beta: CSV (.gz), CpGs in rows, empty where missing. samples: CSV sample_id, age, sex, batch. truth: CSV
    cpg, taxon, between and kind (of boundary CpGs: both taxa, and the criterion in whose zone they lie), the profile's
    parameters, and admissible: all taxa that are right ("A|B"), of which `taxon` is the first.
    """
    n, cpgs = settings["samples"], settings["cpgs"]
    setting = cohort_setting(seed, n, (settings["age_min"], settings["age_max"]))
    plan = plan_cohort(seed, cpgs, settings["boundary"])
    sample_ids = [f"S{number:05d}" for number in range(1, n + 1)]
    names = [f"cg{10_000_000 + number:08d}" for number in range(cpgs)]
    rows, progress = [], Progress(cpgs, "CpGs simulated")
    with atomic(beta) as temporary, pa.CompressedOutputStream(str(temporary), "gzip") as stream:
        schema = pa.schema([("cpg", pa.string())] + [(sample, pa.float32()) for sample in sample_ids])
        with pyarrow.csv.CSVWriter(stream, schema) as writer:
            for start in range(0, cpgs, BLOCK):
                stop = min(start + BLOCK, cpgs)
                drawn = [draw_cpg(seed, index, plan[index], setting) for index in range(start, stop)]
                values = np.round(np.stack([values for _, values in drawn]).astype(np.float64), 5).astype(np.float32)
                columns = [pa.array(values[:, column], from_pandas=True) for column in range(n)]
                writer.write_batch(pa.record_batch([pa.array(names[start:stop]), *columns], schema=schema))
                rows += [profile.row() | {"admissible": profile.admissible(setting)} for profile, _ in drawn]
                progress.step(stop - start)
    logging.info(f"{cpgs:,} CpGs of {n:,} samples simulated")
    sheet = pd.DataFrame(
        {
            "sample_id": sample_ids,
            "age": setting.ages,
            "sex": np.where(setting.sex == 1, "F", "M"),
            "batch": [f"batch{number + 1}" for number in setting.batch],
        }
    )
    profiles = pd.DataFrame(rows)
    profiles.insert(0, "cpg", names)
    taxa = profiles["admissible"]
    profiles.insert(2, "between", np.where(profiles["kind"] != "", taxa.str.join(" / "), ""))
    profiles["taxon"], profiles["admissible"] = taxa.str[0], taxa.str.join("|")
    for path, frame in ((samples, sheet), (truth, profiles.drop(columns="other"))):
        with atomic(path) as temporary:
            frame.to_csv(temporary, index=False)
