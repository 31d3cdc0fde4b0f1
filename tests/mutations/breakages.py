"""Deliberate breakages of the library, each of which a fast test must notice.

`make test-slow PART=mutations` breaks a copy of the repository with one of them at a time and runs the tests named.
"""

import dataclasses

LIBRARY = "scripts/cpgtaxa/"


@dataclasses.dataclass(frozen=True)
class Breakage:
    """What breaks: in `file` of the library `old`, which stands there once, becomes `new`. tests: of tests/unit."""

    name: str
    file: str
    old: str
    new: str
    tests: str


CRITERIA = "taxa/criteria.py"
KERNEL = "statistics/kernel.py"
SELECTION = "placement/selection.py"
ROUNDS = "placement/rounds.py"
SIMULATE = "simulation/simulate.py"
TRAINING = "learning/training.py"

BREAKAGES = (
    # What decides a taxon
    Breakage(
        "estimates of small cohorts are not shrunk",
        CRITERIA,
        "share = 1.0 if criterion.prior is None else criterion.prior**2 / (",
        "share = 1.0 + 0 * (",
        "test_taxa",
    ),
    Breakage(
        "a yes needs no more than the zone asks",
        CRITERIA,
        'np.maximum(low + z * sd, scipy.stats.norm.isf(errors["chance"] / 2) * sd)',
        "low + z * sd",
        "test_taxa",
    ),
    Breakage(
        "the chance of error beyond the zone is ignored",
        CRITERIA,
        'z = scipy.stats.norm.isf(errors["beyond"])',
        "z = 0.0",
        "test_taxa",
    ),
    Breakage(
        "one stray sample is an outlier",
        CRITERIA,
        "LEAST_OUTLIERS = 3",
        "LEAST_OUTLIERS = 0",
        "test_taxa",
    ),
    Breakage(
        "two parts of which the smaller is no band are nothing",
        CRITERIA,
        'single = no["two_bands"] | (yes["two_bands"] & no["band_share"])',
        'single = no["two_bands"]',
        "test_taxa test_simulate",
    ),
    Breakage(
        "trends of bands are as sure as if it were known who is in which",
        CRITERIA,
        "BAND_ERROR = 3",
        "BAND_ERROR = 0",
        "test_taxa",
    ),
    Breakage(
        "each band's own trend counts, whatever it may be by chance",
        CRITERIA,
        "own = np.clip(1 - 9 * errors**2 / np.maximum(apart**2, 1e-12), 0, 1)",
        "own = np.ones_like(apart)",
        "test_taxa",
    ),
    Breakage(
        "women and men are no bands",
        CRITERIA,
        "self.by_sex = sexes & (by_sex >= SEX_D)",
        "self.by_sex = sexes & False",
        "test_taxa",
    ),
    Breakage(
        "a valley of the model need not be seen among the samples",
        CRITERIA,
        "found = np.where(sure, depth, np.minimum(depth, seen))",
        "found = depth",
        "test_taxa",
    ),
    Breakage(
        "patterns that no taxon has are given one",
        CRITERIA,
        "excluded = (self.foreign | self.few)[:, None]",
        "excluded = self.few[:, None]",
        "test_taxa",
    ),
    Breakage(
        "bands at some ages only are bands",
        CRITERIA,
        "        0.30,\n    ),\n    Pattern(",
        "        3.0,\n    ),\n    Pattern(",
        "test_taxa",
    ),
    Breakage(
        "few samples are enough",
        CRITERIA,
        "self.few = self.n < MIN_SAMPLES",
        "self.few = self.n < 0",
        "test_taxa",
    ),
    Breakage(
        "an answer in its zone allows one taxon alone",
        CRITERIA,
        'yes = {key: values[key] >= zones[key]["no"] for',
        'yes = {key: values[key] >= zones[key]["yes"] for',
        "test_taxa test_simulate",
    ),
    Breakage(
        "no CpG is near a border",
        CRITERIA,
        "near = known & (((mean > low) & (mean < high)) | (np.abs(mean - cut) < 1.0 * sd))",
        "near = known & False",
        "test_taxa",
    ),
    Breakage(
        "the tests rule nothing out",
        "taxa/labels.py",
        "return ~Answers(statistics, thresholds, errors).open",
        "return ~Answers(statistics, thresholds, errors).open & False",
        "test_taxa",
    ),
    # What is measured
    Breakage(
        "the error of a trend takes the spread for constant",
        KERNEL,
        "out[_EFFECT_SE] = math.sqrt(meat) / sxx * (q95 - q05)",
        "out[_EFFECT_SE] = math.sqrt(square / (n - 2) / sxx) * (q95 - q05)",
        "test_statistics",
    ),
    Breakage(
        "narrow bands change their spread as wide ones do",
        KERNEL,
        "floor = SPREAD_FLOOR**2",
        "floor = 0.0",
        "test_statistics",
    ),
    Breakage(
        "bands at some ages by chance",
        KERNEL,
        "chi / (there - 1) - (bins - 1)",
        "chi / (there - 1)",
        "test_statistics",
    ),
    Breakage(
        "noise is a bend",
        KERNEL,
        "level_bend - (wide - 2) * noise",
        "level_bend",
        "test_statistics",
    ),
    Breakage(
        "the sexes' trends lack the common one",
        KERNEL,
        "out[2 + 3 * s] = (trend + slope) * (high - low)",
        "out[2 + 3 * s] = slope * (high - low)",
        "test_statistics",
    ),
    Breakage(
        "further bands cost nothing",
        KERNEL,
        "out[_BIC] = -2.0 * likelihood + n * math.log(2.0 * math.pi) + (4 * k - 1)",
        "out[_BIC] = -2.0 * likelihood + n * math.log(2.0 * math.pi) + 3",
        "test_statistics",
    ),
    Breakage(
        "tests of adjusted betas are as sure as of raw ones",
        KERNEL,
        "    if t_scale != 1.0:\n",
        "    if t_scale == 0.0:\n",
        "test_adjust",
    ),
    # What may be placed
    Breakage(
        "the network places CpGs where the tests contradict",
        SELECTION,
        "excluded = self.ruled_out & ~self.contradicted[:, None]",
        "excluded = self.ruled_out & False",
        "test_rounds test_placement",
    ),
    Breakage(
        "the error rate seen is taken for the true one",
        SELECTION,
        "if rate.cdf(error_rate) >= certainty and scipy",
        "if expected <= error_rate and scipy",
        "test_placement",
    ),
    Breakage(
        "the number of wrong calls is not bounded",
        SELECTION,
        " and scipy.stats.betabinom(placed, *prior).cdf(most) >= certainty",
        "",
        "test_placement",
    ),
    Breakage(
        "the selection model is tested on what it learnt from",
        SELECTION,
        "mine = fold != number",
        "mine = fold >= 0",
        "test_placement",
    ),
    Breakage(
        "calibration CpGs are taken as they come",
        SELECTION,
        "weights = (shares / counts)[group]",
        "weights = np.ones(len(p))",
        "test_placement",
    ),
    Breakage(
        "what is unlike anything seen is placed",
        SELECTION,
        "placed = certain & ~calls.contradicted & ~unlike",
        "placed = certain & ~calls.contradicted",
        "test_rounds",
    ),
    Breakage(
        "a call is right if it is the first admissible taxon",
        SELECTION,
        'name in taxa.split("|")',
        'name == taxa.split("|")[-1]',
        "test_rounds",
    ),
    Breakage(
        "the taxonomy has the network's confidence of CpGs placed",
        ROUNDS,
        'table["confidence"] = certainty',
        'table["confidence"] = values[rows, first].astype(np.float32)',
        "test_rounds",
    ),
    Breakage(
        "test images teach",
        ROUNDS,
        '"training": rows[n_test + n_val :]}',
        '"training": rows[n_val:]}',
        "test_rounds",
    ),
    Breakage(
        "rounds go on where nothing is left",
        "plan/main.py",
        "if not goes_on and number + 1 >=",
        "if number + 1 >=",
        "test_rounds",
    ),
    # What is simulated, drawn and learnt
    Breakage(
        "the shallowest of two valleys says whether there are bands",
        SIMULATE,
        'found["two_bands"] = max(valleys)',
        'found["two_bands"] = min(valleys)',
        "test_simulate",
    ),
    Breakage(
        "hidden factors go with age",
        SIMULATE,
        "    shared -= age @ (age.T @ shared)\n",
        "",
        "test_simulate",
    ),
    Breakage(
        "beta grows downwards",
        "images/render.py",
        "row = np.int32(np.floor(FAR - (FAR - NEAR)",
        "row = np.int32(np.floor(NEAR + (FAR - NEAR)",
        "test_render",
    ),
    Breakage(
        "targets of boundary CpGs are halves",
        TRAINING,
        "share = 0.5 if shares is None else shares[row]",
        "share = 0.5",
        "test_simulate test_training",
    ),
    Breakage(
        "parts of a batch count the same, whatever their size",
        "learning/parts.py",
        "shares = [len(part[0]) / len(batch[0]) for part in parts]",
        "shares = [1 / len(parts)] * len(parts)",
        "test_parts",
    ),
    Breakage(
        "every checkpoint is continued",
        "learning/loop.py",
        "folder = pathlib.Path(work) / digest(key, bool(bfloat16), *versions)",
        'folder = pathlib.Path(work) / "all"',
        "test_training",
    ),
    Breakage(
        "probabilities are not calibrated",
        "learning/temperature.py",
        "return float(np.exp(found.x))",
        "return 1.0",
        "test_training",
    ),
    # What is read and kept
    Breakage(
        "the third value of a column is a sex",
        "cohort.py",
        "sorted(sex.value_counts().index[:2])",
        "sorted(sex.value_counts().index)[-2:]",
        "test_cohort",
    ),
    Breakage(
        "damaged rows are read",
        "cohort.py",
        "if len(wrong):",
        "if len(wrong) > len(values):",
        "test_cohort test_damage",
    ),
    Breakage(
        "percent are betas",
        "input/scales.py",
        "return values / np.float32(100)",
        "return values",
        "test_ingest test_ingest_arrays",
    ),
    Breakage(
        "M-values are to base e",
        "input/scales.py",
        "np.exp2(",
        "np.exp(",
        "test_ingest test_ingest_arrays",
    ),
    Breakage(
        "bare yes and no in a config are lost",
        "plan/config.py",
        'for key, word in ((False, "no"), (True, "yes")) if key in value',
        "for key, word in () if key in value",
        "test_config",
    ),
    Breakage(
        "a half-written file has its final name",
        "files.py",
        'temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")',
        "temporary = path",
        "test_cohort test_damage test_ingest",
    ),
    Breakage(
        "names in digits are numbers",
        "plan/config.py",
        "return written if isinstance(written, str) else value",
        "return value",
        "test_config",
    ),
    Breakage(
        "betas that were not detected are kept",
        "input/array_columns.py",
        "return p > self.limit",
        "return p > 2",
        "test_array_columns",
    ),
    Breakage(
        "known CpGs that fall with age are taken for rising ones",
        "input/plausible.py",
        "    scores *= np.array([sign for sign, _ in rows])[:, None]\n",
        "",
        "test_plausible",
    ),
    Breakage(
        "a unit stated above the header is not used",
        "input/sheets.py",
        'units += [(unit, doubt, f"line {number}, above the header")] if unit or doubt else []',
        "pass",
        "test_ages",
    ),
    Breakage(
        "strangers are called relatives",
        "input/relatives.py",
        "least = np.log(n * (n - 1) / 2 * len(SHARED) / CHANCE)",
        "least = 0.0",
        "test_plausible",
    ),
    Breakage(
        "of the shipped tables of blood the wrong array's is taken",
        "targets/cell_fractions/fractions.py",
        "best = counts.index(max(counts))",
        "best = counts.index(min(counts))",
        "test_cell_fractions",
    ),
    Breakage(
        "a trend of all cells is said to be one type's",
        "targets/cell_types/table.py",
        "changing & (differ < LEVEL)",
        "changing & (differ < 2)",
        "test_cell_types",
    ),
    Breakage(
        "a change of spread that another type explains as well is said to be this one's",
        "targets/cell_types/model.py",
        "np.abs(t) < np.abs(least[:, one])",
        "np.abs(t) > np.abs(least[:, one])",
        "test_cell_types",
    ),
    Breakage(
        "errors of slopes do not grow with leverage",
        "targets/cell_types/model.py",
        "packed = (left / free) ** 2",
        "packed = left**2",
        "test_cell_types",
    ),
    Breakage(
        "what CpGs share is counted twice in the noise of a clock",
        "targets/biology/anatomy.py",
        "spread - slope * with_age - own",
        "2 * (spread - slope * with_age - own)",
        "test_anatomy",
    ),
    # Beside the taxa
    Breakage(
        "p-values of the study of age are called q",
        "statistics/age_ewas.py",
        'stats.false_discovery_control(p[tested], method="bh")',
        "p[tested]",
        "test_age_ewas",
    ),
    Breakage(
        "all labelled CpGs of a whole array are predicted",
        ROUNDS,
        'which == "auto" and len(labelled) > ALL_PREDICTED',
        'which == "auto" and len(labelled) < 0',
        "test_rounds",
    ),
    Breakage(
        "digits that hang on the shards are kept",
        "patterns/table.py",
        "np.round(x / scale) * scale",
        "x",
        "test_patterns",
    ),
    Breakage(
        "a list alone makes bands those of imprinting",
        "patterns/causes.py",
        "return p if p < CHANCE else np.nan",
        "return p",
        "test_patterns",
    ),
    Breakage(
        "a spread on a line of age is a curve",
        "patterns/spread.py",
        "p = np.maximum(p, special.fdtrc(t, rest, np.maximum(over, 0) * rest / t))",
        "p = np.minimum(p, special.fdtrc(t, rest, np.maximum(over, 0) * rest / t))",
        "test_patterns",
    ),
    Breakage(
        "bands whose lines cross are a change of spread",
        "patterns/table.py",
        "apart[low + at] = straightened(*raw[at], study.position)",
        "pass",
        "test_patterns",
    ),
    Breakage(
        "only one answer of a taxon must come again",
        "patterns/replication.py",
        "        log += logs[1]\n",
        "        log = np.minimum(log, logs[1])\n",
        "test_replication",
    ),
    Breakage(
        "halves correct nothing",
        "patterns/replication.py",
        "return unchanged + LESS * (",
        "return unchanged + 0 * (",
        "test_replication",
    ),
    # Companions
    Breakage(
        "effects are planted per year",
        "targets/power/planted.py",
        "decades, bands = setting.span / 10, ",
        "decades, bands = setting.span, ",
        "test_power",
    ),
    Breakage(
        "a person is on both sides of a fold",
        "targets/expression/folds.py",
        "splitter = (KFold if alone else GroupKFold)",
        "splitter = (KFold)",
        "test_expression",
    ),
    Breakage(
        "scales are learnt from the test samples",
        "targets/expression/folds.py",
        "there = ~np.isnan(x[rows])",
        "rows = np.arange(len(x))\n        there = ~np.isnan(x[rows])",
        "test_expression",
    ),
    Breakage(
        "cohorts that disagree have one effect",
        "targets/compare/pooling.py",
        "tau2 = np.where(k > 1, tau2, 0)",
        "tau2 = np.zeros(len(k))",
        "test_compare",
    ),
    Breakage(
        "pairs of models are not corrected for their number",
        "statistics/comparisons.py",
        "np.maximum(number - np.arange(p.shape[-1]), 1)",
        "1",
        "test_histone",
    ),
    Breakage(
        "records of a patient are drawn apart",
        "targets/ecg/scores.py",
        "np.unique(patients.astype(str), return_inverse=True)",
        "np.unique(np.arange(len(patients)), return_inverse=True)",
        "test_ecg_scores",
    ),
    # What leaves the house
    Breakage(
        "a pseudo-person has the lowest value of every CpG",
        "targets/pool/cells.py",
        "by_chance = random.integers(0, 1 << 28, values.shape, dtype=np.int64)",
        "by_chance = np.zeros(values.shape, dtype=np.int64)",
        "test_pool",
    ),
    Breakage(
        "nobody changes places",
        "targets/pool/dealing.py",
        "if worse < bad:",
        "if worse < 0:",
        "test_pool",
    ),
    Breakage(
        "a cell may hold four",
        "targets/pool/cells.py",
        "for size in range(least, min(2 * least - 1, stop) + 1):",
        "for size in range(least - 1, min(2 * least - 1, stop) + 1):",
        "test_pool",
    ),
)
