"""Simulated CpGs whose truth is known, of the cohort's ages and sample size: they say how often a network is wrong."""

import logging

import numpy as np
import pandas as pd

from cpgtaxa.cohort import CohortWriter
from cpgtaxa.files import write_parquet
from cpgtaxa.names import UNCLASSIFIED
from cpgtaxa.progress import Progress
from cpgtaxa.simulation import simulate
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.labels import define_taxa

BLOCK = 500
BOUNDARY = 0.4
"""Share of boundary CpGs among those drawn: many, since they are what the tests leave open."""
FOREIGN = 0.05
"""Share of patterns that no taxon has."""
STREAM = 1 << 32
"""Added to the seed, so that no CpG here is one of the training images or of a simulated cohort."""


def simulate_calibration(
    sample_ids,
    ages,
    *,
    seed: int,
    cpgs: int,
    thresholds: dict,
    errors: dict,
    by_rules: bool,
    out_beta,
    out_truth,
    scales=None,
) -> None:
    """Simulate CpGs, keep those that the tests leave open, and write them as a cohort and a table.

    sample_ids, ages: of the cohort. cpgs: CpGs drawn, or 0. thresholds, errors: as the tests use them for the cohort.
    by_rules: whether the cohort's labels are the tests' (with labels of the user's own, all CpGs are kept). out_beta:
    a cohort file. out_truth: the statistics, and the taxa that are right, `admissible` ("A|B"; empty for a pattern that
    no taxon has). scales: of `statistics.compute`, where the cohort's betas are adjusted.
    """
    seed = seed + STREAM
    setting = simulate.make_setting(np.asarray(ages, dtype=float), np.random.default_rng([seed, 1]))
    plan = simulate.plan_cohort(seed, cpgs, BOUNDARY)
    tables, progress = [], Progress(cpgs, "CpGs simulated")
    with CohortWriter(out_beta, sample_ids) as writer:
        for start in range(0, cpgs, BLOCK):
            indices = range(start, min(start + BLOCK, cpgs))
            drawn = [_draw(seed, index, plan[index], setting) for index in indices]
            values = np.round(np.stack([values for _, values in drawn]).astype(float), 5).astype(np.float32)
            table = compute(values, setting.ages, **(scales or {}))
            table.insert(0, "cpg", [f"calibration_{index:06d}" for index in indices])
            kept = np.ones(len(table), dtype=bool)
            if by_rules:
                kept = (define_taxa(table, thresholds, errors)["taxon"] == UNCLASSIFIED).to_numpy()
            table["admissible"] = [taxa for taxa, _ in drawn]
            writer.append(table["cpg"][kept].tolist(), values[kept])
            tables.append(table[kept])
            progress.step(len(table))
    if not tables:
        tables.append(compute(np.empty((0, len(setting.ages))), setting.ages).assign(cpg="", admissible=""))
    table = pd.concat(tables, ignore_index=True)
    write_parquet(out_truth, table)
    logging.info(f"{len(table):,} of {cpgs:,} simulated CpGs are left open by the tests")


def _draw(seed: int, index: int, taxon: str | None, setting) -> tuple[str, np.ndarray]:
    """The admissible taxa of CpG number `index`, as "A|B", and its values (n,)."""
    rng = np.random.default_rng([seed, index, 17])
    if rng.random() < FOREIGN:
        return "", simulate.draw_foreign(rng, setting)[1]
    profile, values = simulate.draw_cpg(seed, index, taxon, setting)
    return "|".join(profile.admissible(setting)), values
