"""Cohorts that tests write, and the rules that the shipped configuration gives."""

import pathlib

import numpy as np
import pandas as pd
import yaml
from cpgtaxa.cohort import Cohort, CohortWriter
from cpgtaxa.statistics.kernel import compute

TAXA_CONFIG = yaml.safe_load((pathlib.Path(__file__).parents[1] / "config/config.yaml").read_text())["taxa"]
SHIPPED_RULES = {key: TAXA_CONFIG[key] for key in ("thresholds", "errors")}


def cohort_of(path, values, cpgs=None, samples=None) -> Cohort:
    """A cohort of these betas (CpGs, samples) in a file, or in `beta.arrow` of a folder."""
    path = pathlib.Path(path)
    path = path / "beta.arrow" if path.is_dir() else path
    with CohortWriter(path, [f"S{at}" for at in range(values.shape[1])] if samples is None else samples) as writer:
        writer.append([f"cg{at}" for at in range(len(values))] if cpgs is None else list(cpgs), values)
    return Cohort(path)


def statistics_of(values, ages, sexes=None, cpgs=None) -> pd.DataFrame:
    """The statistics of these betas (CpGs, samples) as a run writes them: each row begins with its CpG's name."""
    found = compute(np.asarray(values, dtype=np.float32), ages, sexes)
    found.insert(0, "cpg", [f"cg{at}" for at in range(len(found))] if cpgs is None else list(cpgs))
    return found
