"""A cohort as a summary that may be shared where its betas may not."""

import logging
import pathlib

import numpy as np
import pandas as pd

from cpgtaxa.cohort import Cohort, read_samples
from cpgtaxa.errors import InputError
from cpgtaxa.files import atomic, read_json
from cpgtaxa.input import probes
from cpgtaxa.progress import Progress
from cpgtaxa.targets.pool import strata
from cpgtaxa.targets.pool.summary import GROUP, Header, SummaryWriter

ROOM, PEOPLE = (6, 12), 25
"""Cells that a stratum has room for at least, where cells are protected: one for so many people of a sex, within these.
Rare genotypes have cells of their own where strata are large; in small cohorts these would hold too many ages."""


def summarise(given: dict, out: dict, *, settings: dict) -> None:
    """Write a cohort's summary, and what it holds.

    given: `beta` (a cohort file), `samples`, `adjusted` (JSON of the rule `adjust`, or None). out: `summary`
    (`summary.SummaryWriter`), `about` (CSV what, value). settings: the config's section `summarise`. Raises InputError
    for sexes that cannot be read, and too few people.
    """
    cohort, samples = Cohort(given["beta"]), read_samples(given["samples"])
    sexes = strata.sexes_of(samples, settings["sexes"])
    least = max(settings["min_stratum"], _room(sexes, settings["min_cell"]) if settings["min_cell"] > 1 else 1)
    ages = samples["age"].to_numpy(dtype=np.float64)
    cut = strata.cut(ages, sexes, years=settings["years"], least=least, together=settings["min_cell"])
    ids = probes.describe(cohort.cpgs)
    adjusted = read_json(given["adjusted"])["covariates"] if given["adjusted"] else []
    header = Header.of(
        cut,
        min_stratum=least,
        min_cell=settings["min_cell"],
        array=ids["array"],
        suffixes=ids["with_suffix"] > 0,
        genome=settings["genome"],
        adjusted=[covariate["name"] for covariate in adjusted],
    )
    order = np.argsort(cohort.cpgs.astype(str), kind="stable")
    progress, nothing = Progress(len(order), "CpGs summarised"), 0
    with SummaryWriter(out["summary"], header) as writer:
        for start in range(0, len(order), GROUP):
            rows = order[start : start + GROUP]
            values = cohort.take(rows)[:, cut.order]
            nothing += writer.append(cohort.cpgs[rows].tolist(), values)
            cohort.release()
            progress.step(len(rows))
        if not writer.n_cpgs:
            raise InputError("no CpG has enough values in any stratum: nothing can be summarised")
    rows = [
        ("people", header.people),
        ("people left out", header.left_out),
        ("strata of age and sex", len(header.ages)),
        ("people of the smallest stratum", min(map(len, header.ages))),
        ("people of the smallest cell, at least", header.min_cell),
        ("CpGs", writer.n_cpgs),
        ("CpGs left out, with too few values", nothing),
        ("bytes per CpG", round(pathlib.Path(out["summary"]).stat().st_size / writer.n_cpgs)),
    ]
    with atomic(out["about"]) as temporary:
        pd.DataFrame(rows, columns=["what", "value"]).to_csv(temporary, index=False)
    logging.info(", ".join(f"{what}: {value:,}" for what, value in rows))


def _room(sexes: np.ndarray, least: int) -> int:
    """People that a stratum of protected cells, of `least` people each, holds at least.

    A sex that fills a stratum of ROOM[0] cells is not left out. sexes: (n,) of `strata.sexes_of`.
    """
    enough = [n for n in np.unique(sexes.astype(str), return_counts=True)[1] if n >= ROOM[0] * least]
    return least * int(np.clip(min(enough, default=0) // PEOPLE, *ROOM))
