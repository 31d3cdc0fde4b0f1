"""The ten taxa as statistical rules: which CpGs show a pattern so clearly that they may teach a network.

Each criterion ("one band", "trend", "constant spread" …) is answered yes, no or *in between* from the columns of
`statistics`. A CpG gets a taxon only if all its criteria are answered; the rest is Unclassified, with the reason.
Labels are meant to be clean rather than complete.
"""

import difflib
import logging

import numpy as np
import pandas as pd

from cpgtaxa.errors import InputError, some
from cpgtaxa.files import parquet_blocks, write_parquet
from cpgtaxa.names import INDEX, TAXA, UNCLASSIFIED
from cpgtaxa.texts import read_taxa
from cpgtaxa.wording import counted

EXAMPLES = 10


class Criteria:
    """Yes and no answers, each a boolean array with one value per CpG; neither means in between.

    statistics: data frame of `statistics.compute`. thresholds: the config's `taxa.thresholds`. n_cpgs: number of
    tests the significance level is shared by (the whole cohort's CpGs, also when only some are judged).
    """

    def __init__(self, statistics: pd.DataFrame, thresholds: dict, n_cpgs: int | None = None):
        s, t = statistics, thresholds
        self.n = s["n"].to_numpy()
        level = t["alpha"] / (n_cpgs or len(s))
        absent = t["absent_p"]

        # Trend of a single band, judged without outliers.
        effect = s["core_effect"].abs().to_numpy()
        spread = s["core_sd"].clip(lower=1e-6).to_numpy()
        clear = (effect >= t["min_effect"]) & (effect >= t["min_effect_to_spread"] * spread)
        self.trend = clear & (s["core_slope_p"] < level).to_numpy()
        # In a very narrow band a tiny trend is many times the spread, and still nothing anyone could see.
        self.narrow = spread <= t["stable_sd"]
        tiny = (effect <= t["tiny_effect"]) & ((effect <= t["tiny_effect_to_spread"] * spread) | self.narrow)
        weak = (s["core_slope_p"] > absent).to_numpy() & (effect < t["min_effect_to_spread"] * spread)
        self.no_trend = tiny | weak
        curved = (s["core_curve_p"] < t["curve_p"]) & (s["core_curve_effect"].abs() > t["curve_share"] * effect)
        bent = (s["core_curve_p"] < t["curve_p"]) & (s["core_curve_effect"].abs() > t["tiny_effect_to_spread"] * spread)
        self.straight = ~curved.to_numpy()
        self.bent = bent.to_numpy()
        self.no_trend &= ~self.bent

        # Significant, but not clear enough to call: speaks against "no trend" without being a "yes".
        hint = t.get("contradicted_p", 0.0)  # labels do without: only the rounds' veto looks at hints
        self.hint_of_trend = (s["core_slope_p"] < hint).to_numpy() & ~tiny

        # Spread changing with age.
        log_ratio = np.abs(np.log(s["core_sd_ratio"].clip(1e-3, 1e3).to_numpy()))
        het_p = s["core_het_p"].to_numpy()
        self.changing = (het_p < level) & (log_ratio >= np.log(t["min_sd_ratio"]))
        self.constant = (het_p > absent) & (log_ratio < np.log(t["min_sd_ratio"]))
        self.constant |= log_ratio <= np.log(t["tiny_sd_ratio"])

        self.hint_of_change = (het_p < hint) & (log_ratio > 0.4 * np.log(t["min_sd_ratio"]))

        # Width of the band.
        self.wide = spread >= t["unstable_sd"]

        # Outliers. Large cohorts have a stray sample now and then.
        count = self.outlier_count = s["outlier_n"].to_numpy()
        self.no_outliers = count <= np.floor(t["stray_share"] * self.n)
        self.no_outliers_but_strays = count <= np.maximum(t["max_strays"], np.floor(t["stray_share"] * self.n))
        enough = count >= np.maximum(t["min_outliers"], t["min_outlier_share"] * self.n)
        few = count <= np.maximum(t["max_outlier_share"] * self.n, t["min_outliers"] + 2)
        far = s["outlier_distance"].to_numpy() >= np.maximum(t["min_outlier_distance"], 5 * spread)
        self.outliers = enough & few & far & (spread <= t["max_outlier_core_sd"])
        # Where spread changes, the wide end crosses fences made for the whole.
        self.few_outliers = count <= np.maximum(t["max_outlier_share"] * self.n, t["min_outliers"])

        # Bands.
        ran = s["mixture_ran"].to_numpy(dtype=bool)
        bic1 = np.where(ran, s["bic1"], 0.0)
        gain2 = np.where(ran, bic1 - s["bic2"], -np.inf)
        gain3 = np.where(ran, bic1 - s["bic3"], -np.inf)

        def present(prefix, min_weight):
            return (
                (s[f"{prefix}_d"] >= t["min_ashman_d"])
                & (s[f"{prefix}_gap"] >= t["min_band_gap"])
                & (s[f"{prefix}_weight"] >= min_weight)
                & (s[f"{prefix}_weight"] * self.n >= t["min_band_samples"])
                & (s[f"{prefix}_min_gap_ends"] > 0)
            ).to_numpy()

        def hinted(prefix):
            return ((s[f"{prefix}_d"] > t["max_ashman_d_one"]) & (s[f"{prefix}_weight"] > 0.01)).to_numpy()

        # The dip cannot see a rare band; one that stands far apart needs no dip.
        apart = (s["dip_p"] < t["dip_p"]).to_numpy()
        # A third component much nearer than the first two is a tail of one of them, not a band.
        tail = (s["three_d"] < 0.45 * s["two_d"]).to_numpy()
        middle = s["three_middle"].to_numpy()
        between = (middle > 0.15) & (middle < 0.85)
        self.three = present("three", t["min_weight_three"]) & between & (gain3 > gain2 + t["bic_gain"])
        self.three &= (gain3 > t["bic_gain"]) & (apart | (s["three_d"] > t["sure_ashman_d"]).to_numpy())
        self.three &= (s["three_d"] > 0.6 * s["two_d"]).to_numpy()
        # Two equal bands taken for one have a standard deviation of a third of the gap to the next, which is narrower.
        wide = s["three_sd"] > t["max_band_sd_to_gap"] * s["three_gap"]
        wide &= s["three_sd"] * s["three_d"] > 0.95 * np.sqrt(2) * s["three_gap"]
        self.three &= ~wide.to_numpy()
        third = hinted("three") & ~tail & (gain3 > gain2 - t["bic_gain"])
        third &= (s["three_gap"] > 0.5 * t["min_band_gap"]).to_numpy()
        self.two = present("two", t["min_weight_two"]) & (gain2 > t["bic_gain"]) & ~third & (count <= t["max_strays"])
        self.two &= apart | (s["two_d"] > t["sure_ashman_d"]).to_numpy()
        mixed = ran & (np.maximum(gain2, gain3) > 0) & (hinted("two") | hinted("three"))
        # Two lines that cross or fan out: no gap at the mean age, but not one band either.
        fan = (s["two_effect_low"] - s["two_effect_high"]).abs() > 1.5 * s["two_sd"]
        flat = (s["kurtosis"] < t["min_kurtosis"]).to_numpy()
        unimodal = (s["dip_p"] > absent).to_numpy()
        # As flat as noise over a whole range (-1.2), and no bands: no taxon looks so.
        self.shapeless = unimodal & (s["kurtosis"] < 2 * t["min_kurtosis"]).to_numpy()
        # A cone of growing spread fits a fan of lines too, so that this counts only where spread is constant.
        self.one_or_cone = (unimodal & ~mixed & ~flat) | ~ran
        self.one = self.one_or_cone & ~(ran & (gain2 > t["bic_gain"]) & fan.to_numpy())
        # With outliers the mixture spends its components on them: judge the core by the dip alone.
        self.one_core = unimodal

        # Bands that only the old have, or that samples change at some age, are flat each, and yet not without age.
        drifts = (s["slope_p"] < t["bands_by_age_p"]) & (s["effect"].abs() > t["tiny_effect"])
        ratio = np.abs(np.log(s["sd_ratio"].clip(1e-3, 1e3)))
        widens = (s["het_p"] < t["bands_by_age_p"]) & (ratio > np.log(t["tiny_sd_ratio"]))
        self.bands_by_age = (drifts | widens).to_numpy()

        # Trends within bands: in any one of them, or common to all.
        def band_trend(prefix):
            effect = s[f"{prefix}_effect"].abs().to_numpy()
            sd = s[f"{prefix}_sd"].clip(lower=1e-6).to_numpy()
            any_p, common_p = s[f"{prefix}_p"].to_numpy(), s[f"{prefix}_common_p"].to_numpy()
            yes = (np.minimum(any_p, common_p) < level) & (effect >= t["min_effect"])
            yes &= effect >= 0.7 * t["min_effect_to_spread"] * sd
            tiny = (effect <= t["tiny_effect"]) & (effect <= t["tiny_effect_to_spread"] * sd)
            hinted = (np.minimum(any_p, common_p) < hint) & ~tiny
            no = (any_p > absent) & (common_p > absent)
            return yes, no | tiny, hinted

        self.two_trend, self.two_no_trend, self.two_hint_of_trend = band_trend("two")
        self.three_trend, self.three_no_trend, self.three_hint_of_trend = band_trend("three")


def rules(c: Criteria) -> dict[str, dict[str, np.ndarray]]:
    """For each taxon the criteria it asks for, as name → boolean array."""
    single = {"one band": c.one, "no outliers": c.no_outliers_but_strays}
    strict = {"one band": c.one, "no outliers": c.no_outliers}
    loose = {"one band": c.one_or_cone, "few outliers": c.few_outliers}
    return {
        "UniStable": strict | {"narrow": c.narrow, "no trend": c.no_trend, "constant spread": c.constant},
        "UniUnstable": single | {"wide": c.wide, "no trend": c.no_trend, "constant spread": c.constant},
        "LinAgeHomo": single | {"trend": c.trend, "straight": c.straight, "constant spread": c.constant},
        "LinAgeHet": loose | {"trend": c.trend, "straight": c.straight, "changing spread": c.changing},
        "NonAgeHet": loose | {"no trend": c.no_trend, "changing spread": c.changing, "not narrow": ~c.narrow},
        "Outlier": {
            "one band": c.one_core,
            "outliers": c.outliers,
            "no trend": c.no_trend,
            "constant spread": c.constant,
        },
        "TriAge": {"three bands": c.three, "trend in a band": c.three_trend},
        "TriNonAge": {
            "three bands": c.three,
            "no trend in any band": c.three_no_trend,
            "bands at any age": ~c.bands_by_age,
        },
        "BiAge": {"two bands": c.two & ~c.three, "trend in a band": c.two_trend},
        "BiNonAge": {
            "two bands": c.two & ~c.three,
            "no trend in any band": c.two_no_trend,
            "bands at any age": ~c.bands_by_age,
        },
    }


def _lacking(answers: dict, c: Criteria) -> np.ndarray:
    """How far each CpG is from a taxon: one for each criterion left open, two where the opposite is clear."""
    opposite = {
        "no trend": c.trend,
        "trend": c.no_trend,
        "constant spread": c.changing,
        "changing spread": c.constant,
        "narrow": c.wide,
        "wide": c.narrow,
        "two bands": True,
        "three bands": True,
    }
    return np.sum([np.where(yes, 0, 1 + (opposite.get(name, False) * ~yes)) for name, yes in answers.items()], axis=0)


def label_cohort(statistics, thresholds: dict, out) -> None:
    """Run `define_taxa` over a statistics file, a block of CpGs at a time, and write the labels."""
    n_cpgs = sum(len(block) for block in parquet_blocks(statistics, columns=["cpg"]))
    labels = [define_taxa(block, thresholds, n_cpgs) for block in parquet_blocks(statistics)]
    labels = pd.concat(labels, ignore_index=True)
    logging.info(f"statistical labels: {counted(labels['taxon'])}")
    write_parquet(out, labels)


def define_taxa(statistics: pd.DataFrame, thresholds: dict, n_cpgs: int | None = None) -> pd.DataFrame:
    """Label each CpG with a taxon or Unclassified.

    statistics: one row per CpG with `cpg` and the columns of `statistics.compute`. n_cpgs: as in `Criteria`.
    Returns cpg, taxon, reason: for a label the criteria met; for Unclassified the nearest taxon and what it lacks.
    """
    criteria = Criteria(statistics, thresholds, n_cpgs)
    table = rules(criteria)
    met = np.stack([np.logical_and.reduce(list(table[taxon].values())) for taxon in TAXA], axis=1)
    lacking = np.stack([_lacking(table[taxon], criteria) for taxon in TAXA], axis=1)
    n_met = met.sum(axis=1)
    best = np.where(n_met == 1, met.argmax(axis=1), lacking.argmin(axis=1))

    taxon = np.where(n_met == 1, np.array(TAXA, dtype=object)[best], UNCLASSIFIED)
    reason = np.empty(len(statistics), dtype=object)
    for index, name in enumerate(TAXA):
        rows = np.flatnonzero(best == index)
        whole = "; ".join(table[name])
        for row in rows:
            if n_met[row] == 1:
                reason[row] = whole
            else:
                unanswered = [criterion for criterion, answer in table[name].items() if not answer[row]]
                reason[row] = f"nearest {name}, but not clear: {', '.join(unanswered)}"
    for row in np.flatnonzero(n_met > 1):
        reason[row] = f"fits several: {', '.join(name for name, yes in zip(TAXA, met[row], strict=True) if yes)}"
    return pd.DataFrame({"cpg": statistics["cpg"].to_numpy(), "taxon": taxon, "reason": reason})


def ruled_out(statistics: pd.DataFrame, thresholds: dict, n_cpgs: int) -> np.ndarray:
    """Boolean (CpGs, 10): taxa that the tests contradict outright, so that no network may place the CpG there."""
    c = Criteria(statistics, thresholds, n_cpgs)
    out = np.zeros((len(c.n), len(TAXA)), dtype=bool)
    single = ("UniStable", "UniUnstable", "LinAgeHomo", "LinAgeHet", "NonAgeHet")

    def forbid(names, condition):
        for name in names:
            out[:, INDEX[name]] |= condition

    forbid(TAXA, c.shapeless)
    forbid((*single, "Outlier"), c.two | c.three)
    forbid(("TriAge", "TriNonAge", "BiAge", "BiNonAge"), ~c.two & ~c.three & c.one & c.narrow)
    forbid(("UniStable", "UniUnstable", "Outlier"), c.trend | c.hint_of_trend | c.bent)
    # Ordinary least squares is too sure of a trend where spread changes, so that a hint does not count there.
    forbid(("NonAgeHet",), c.trend)
    forbid(("LinAgeHomo", "LinAgeHet"), c.no_trend | ~c.straight)
    forbid(("UniStable", "UniUnstable", "LinAgeHomo", "Outlier"), c.changing | c.hint_of_change)
    forbid(("LinAgeHet", "NonAgeHet"), c.constant)
    forbid(("UniStable",), c.wide)
    forbid(("UniUnstable",), c.narrow)
    forbid(("Outlier",), c.outlier_count < 2)
    # The networks tell two bands from three; the tests, whether those bands have a trend.
    forbid(("BiNonAge",), c.two_trend | c.two_hint_of_trend)
    forbid(("TriNonAge",), c.three_trend | c.three_hint_of_trend)
    forbid(("BiNonAge", "TriNonAge"), c.bands_by_age)
    forbid(("BiAge",), c.two & c.two_no_trend)
    forbid(("TriAge",), c.three & c.three_no_trend)
    return out


def read_labels(path, cpgs) -> pd.DataFrame:
    """Read the user's own labels: CSV or TSV (may be gzipped) or Parquet with the columns cpg and taxon.

    cpgs: the cohort's CpGs. Returns cpg, taxon, reason for all of them in the cohort's order ("given", or Unclassified
    where the file is silent). Raises InputError listing unknown taxa, CpGs the cohort lacks, and duplicates.
    """
    labels, lines = read_taxa(path, "taxa.labels")
    problems = []
    empty = np.flatnonzero(labels["cpg"] == "")
    if len(empty):
        problems.append(
            f"taxa.labels: {path}: {len(empty)} rows without a CpG id, line {lines[empty[0]]} first; fill in or remove"
        )
        labels = labels[labels["cpg"] != ""]
    known = (*TAXA, UNCLASSIFIED)
    unknown = labels["taxon"][~labels["taxon"].isin(known)].drop_duplicates()
    for row, wrong in list(unknown.items())[:EXAMPLES]:
        close = difflib.get_close_matches(wrong, known, 1, 0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"
        problems.append(f"taxa.labels: {path}, line {lines[row]}: unknown taxon {wrong[:40]!r}; {hint}")
    if len(unknown) > EXAMPLES:
        problems.append(f"taxa.labels: {path}: {len(unknown) - EXAMPLES} more unknown taxa")
    doubles = labels["cpg"][labels["cpg"].duplicated()].unique()
    if len(doubles):
        problems.append(f"taxa.labels: {path}: {len(doubles)} CpGs have more than one row: {some(doubles)}; keep one")
    strangers = labels["cpg"][~labels["cpg"].isin(cpgs)].unique()
    if len(strangers):
        problems.append(
            f"taxa.labels: {path}: {len(strangers)} CpGs are not in the cohort: {some(strangers)}; remove them or "
            "check that labels and matrix use the same probe names"
        )
    if problems:
        raise InputError(problems)
    taxon = labels.set_index("cpg")["taxon"].reindex(cpgs)
    given = taxon.notna().to_numpy()
    return pd.DataFrame(
        {
            "cpg": np.asarray(cpgs, dtype=object),
            "taxon": taxon.fillna(UNCLASSIFIED).to_numpy(dtype=object),
            "reason": np.where(given, "given", "not in the given labels"),
        }
    )
