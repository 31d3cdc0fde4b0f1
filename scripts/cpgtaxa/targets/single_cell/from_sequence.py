"""Can a CpG's taxon be predicted from the DNA around it? Networks and k-mers, on held-out stretches of the genome."""

import pathlib

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cpgtaxa.errors import InputError, some
from cpgtaxa.input.texts import read_table, read_taxa
from cpgtaxa.learning.devices import Applied
from cpgtaxa.learning.loop import digest, train_network
from cpgtaxa.models import create_model, deepcpg  # noqa: F401 - by name: seen here, edits rerun
from cpgtaxa.names import INDEX, TAXA, UNCLASSIFIED
from cpgtaxa.progress import Progress
from cpgtaxa.targets.single_cell.kmers import composition, frequencies, one_hot

KMERS = "kmers"
"""Name of the peer: multinomial logistic regression on frequencies of k-mers, k = 1 to 4, and CpG content."""
FEWEST = 20
"""CpGs of a taxon below which it is left out: there is nothing to learn from, and nothing to score."""
PENALTIES = (0.001, 0.01, 0.1)
PERMUTATIONS = 10_000
PREDICTED = 512


# --- labels ----------------------------------------------------------------------------------------------------------


def _read_taxonomy(path, problems: list[str]) -> pd.DataFrame:
    """cpg and taxon of a table of taxa, each CpG once."""
    key = f"single_cell.taxa.taxonomy: {path}"
    found, lines = read_taxa(path, "single_cell.taxa.taxonomy")
    odd = ~found["taxon"].isin([*TAXA, UNCLASSIFIED]).to_numpy()
    if odd.any():
        row = int(odd.argmax())
        problems.append(
            f"{key}, line {lines[row]}: {found['taxon'].iloc[row]!r} is no taxon ({int(odd.sum())} such rows). Taxa "
            f"are {', '.join(TAXA)}, or {UNCLASSIFIED}"
        )
    found = found[["cpg", "taxon"]].drop_duplicates()
    twice = found["cpg"][found["cpg"].duplicated()].unique()
    if len(twice):
        problems.append(f"{key} gives {len(twice)} CpGs several taxa: {some(twice)}. Keep one each")
    return found


def _read_positions(path, columns: dict[str, str], problems: list[str]) -> pd.DataFrame:
    """cpg, chrom, position of a table of positions, each CpG once."""
    key = f"single_cell.taxa.positions: {path}"
    names = ("cpg", "chrom", "position")
    table, lines = read_table(path, "single_cell.taxa.positions", tuple(columns[name] for name in names))
    frame = pd.DataFrame({name: table[columns[name]] for name in names}, dtype=object)
    numbers = pd.to_numeric(frame["position"], errors="coerce")
    odd = (numbers.isna() | (numbers < 1) | (numbers % 1 != 0)).to_numpy()
    if odd.any():
        row = int(odd.argmax())
        problems.append(
            f"{key}, line {lines[row]}: {frame['position'].iloc[row]!r} is no position ({int(odd.sum())} such rows). "
            "Give whole numbers of bases, the first is 1"
        )
    frame = frame.assign(position=numbers)[~odd].astype({"position": np.int64}).drop_duplicates()
    twice = frame["cpg"][frame["cpg"].duplicated()].unique()
    if len(twice):
        problems.append(f"{key} gives {len(twice)} CpGs several positions: {some(twice)}. Keep one each")
    return frame


def read_labels(taxonomy, positions, columns: dict[str, str], names) -> tuple[pd.DataFrame, list[str]]:
    """cpg, chrom, position (1-based), taxon of each classified CpG with a position; and notes for the page.

    taxonomy: Parquet or CSV with cpg and taxon, such as results/taxonomy.parquet. positions: CSV or TSV; columns says
    what its columns cpg, chrom and position are called. names: chromosomes as the genome spells them, in whose order
    the rows come. Unclassified CpGs are left out, and taxa with fewer than FEWEST CpGs.

    Raises InputError listing all that is wrong: columns that are lacking, unknown taxa, a CpG with two taxa or two
    positions, positions that are no whole numbers, no CpG in common, chromosomes unknown to the genome, fewer than two
    taxa.
    """
    problems, notes = [], []
    found = _read_taxonomy(taxonomy, problems)
    places = _read_positions(positions, columns, problems)
    if problems:
        raise InputError(problems)
    classified = found[found["taxon"] != UNCLASSIFIED]
    labels = classified.merge(places, on="cpg", how="inner")
    if not len(labels):
        raise InputError(
            f"single_cell: {taxonomy} and {positions} share no classified CpG: {some(found['cpg'], 3)} against "
            f"{some(places['cpg'], 3)}. Take the positions of this array; on EPICv2, names have suffixes"
        )
    if len(labels) < len(classified):
        notes.append(f"{len(classified) - len(labels):,} classified CpGs have no position: left out")
    labels["chrom"], unknown = _spelt(labels["chrom"], names)
    there = labels["chrom"].notna().to_numpy()
    if not there.any():
        raise InputError(
            f"single_cell.taxa.positions: {positions} has none of the genome's chromosomes: {some(unknown)} against "
            f"{some(names)}. Take the positions of this genome"
        )
    if unknown:
        n = int((~there).sum())
        notes.append(f"{n:,} CpGs lie on chromosomes that the genome does not have ({some(unknown)}): left out")
    labels = labels[there]
    counts = labels["taxon"].value_counts()
    rare = [taxon for taxon in TAXA if 0 < counts.get(taxon, 0) < FEWEST]
    if rare:
        notes.append(f"fewer than {FEWEST} CpGs, left out: {', '.join(rare)}")
        labels = labels[~labels["taxon"].isin(rare)]
    if labels["taxon"].nunique() < 2:
        raise InputError(
            f"single_cell: {labels['taxon'].nunique()} taxa have {FEWEST} CpGs with positions or more, and two are "
            "needed to predict taxa from sequence: bring more CpGs, or leave out single_cell.taxa.taxonomy"
        )
    order = {name: at for at, name in enumerate(names)}
    labels = labels.assign(order=labels["chrom"].map(order)).sort_values(["order", "position"], kind="stable")
    return labels[["cpg", "chrom", "position", "taxon"]].reset_index(drop=True), notes


def _spelt(chroms: pd.Series, names) -> tuple[pd.Series, list[str]]:
    """Chromosomes as the genome spells them (with or without `chr`), None where it lacks them; and those it lacks."""
    bare = {name.removeprefix("chr"): name for name in names} | {name: name for name in names}
    spelt = {one: bare.get(one, bare.get(one.removeprefix("chr"))) for one in chroms.unique()}
    return chroms.map(spelt), [one for one, name in spelt.items() if name is None]


def cap(labels: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """At most `most` CpGs of each taxon, chosen at random, in their order."""
    rng = np.random.default_rng(seed)
    kept = []
    for taxon in TAXA:
        rows = np.flatnonzero(labels["taxon"] == taxon)
        kept.append(rng.choice(rows, most, replace=False) if len(rows) > most else rows)
    return labels.iloc[np.sort(np.concatenate(kept))].reset_index(drop=True)


def folds(chrom: np.ndarray, position: np.ndarray, n: int, wlen: int) -> np.ndarray:
    """The fold 0..n-1 of each CpG, (rows,) int64; -1 for those left out at a cut. Rows are sorted, see `read_labels`.

    Whole chromosomes where there are at least `n`: the largest first, each to the fold that is smallest so far. With
    fewer, n consecutive runs of as many CpGs, and of those that lie across a cut from each other on one chromosome, no
    two within `wlen` bases are kept: no window overlaps one of another fold.
    """
    names, start = np.unique(chrom, return_index=True)
    names = names[np.argsort(start)]
    sizes = np.array([(chrom == name).sum() for name in names])
    if len(names) >= n:
        fold_of, filled = {}, np.zeros(n, dtype=np.int64)
        for at in np.argsort(-sizes, kind="stable"):
            fold_of[names[at]] = int(filled.argmin())
            filled[fold_of[names[at]]] += sizes[at]
        return np.array([fold_of[name] for name in chrom], dtype=np.int64)
    fold = np.arange(len(chrom)) * n // len(chrom)
    found = fold.copy()
    for cut in np.flatnonzero(np.diff(fold)) + 1:
        near = (chrom == chrom[cut]) & (fold == fold[cut]) & (position - position[cut - 1] < wlen)
        if chrom[cut] == chrom[cut - 1]:
            found[near] = -1
    return found


def check_folds(taxon: np.ndarray, fold: np.ndarray) -> None:
    """Raise InputError where a fold's training CpGs lack a taxon, or a fold is empty."""
    n = int(fold.max()) + 1
    problems = []
    for one in range(n):
        if not (fold == one).any():
            problems.append(f"single_cell: fold {one + 1} of {n} has no CpG: set fewer folds or bring more CpGs")
        lacking = sorted(set(taxon) - set(taxon[(fold >= 0) & (fold != one) & (fold != (one + 1) % n)]))
        if lacking:
            problems.append(
                f"single_cell: outside fold {one + 1} of {n} and the one that stops training there is no CpG of "
                f"{', '.join(lacking)}: set other folds, or bring CpGs of more places"
            )
    if problems:
        raise InputError(problems)


# --- models ----------------------------------------------------------------------------------------------------------


class _Windows:
    """Items for `cpgtaxa.learning.loop`: one-hot windows and the numbers of their taxa."""

    def __init__(self, dna: np.ndarray, labels: np.ndarray, rows: np.ndarray):
        self.dna, self.labels, self.rows = dna, labels, rows

    def __len__(self):
        return len(self.rows)

    def __getitems__(self, indices):
        rows = self.rows[np.asarray(indices)]
        return (torch.from_numpy(one_hot(self.dna[rows])),), torch.from_numpy(self.labels[rows])


def _balanced(labels: np.ndarray, n: int) -> np.ndarray:
    """Weights of the classes, (n,) float32, by which each counts as much as another."""
    counts = np.bincount(labels, minlength=n)
    return (len(labels) / (n * counts)).astype(np.float32)


def _network(name: str, length: int, n: int) -> torch.nn.Module:
    stem = create_model(name, length=length)
    return torch.nn.Sequential(stem, torch.nn.Linear(stem.features, n))


def _fit_network(dna, labels, train, stop, test, *, model, settings, seed, work, log_path) -> np.ndarray:
    n = int(labels.max()) + 1
    weights = torch.from_numpy(_balanced(labels[train], n))

    def loss(outputs, targets):
        each = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
        return (each * weights.to(outputs.device)[targets]).mean()

    def scores(outputs, targets):
        return {"balanced_accuracy": balanced_accuracy(targets.numpy(), outputs.argmax(dim=1).numpy())}

    torch.manual_seed(seed)
    network = _network(model, dna.shape[1], n)
    train_network(
        network,
        loss,
        _Windows(dna, labels, train),
        _Windows(dna, labels, stop),
        settings=settings,
        batch=settings["batch"],
        at_once=PREDICTED,
        seed=seed,
        scores=scores,
        work=work,
        key=digest("from_sequence", model, settings, seed, dna, labels, train, stop),
        log_path=log_path,
    )
    applied = Applied(network, "cpu", "float32")
    parts = np.array_split(test, -(-len(test) // PREDICTED))
    return np.concatenate([torch.softmax(applied(one_hot(dna[rows])), dim=1).numpy() for rows in parts])


def kmer_features(dna: np.ndarray) -> np.ndarray:
    """Frequencies of all k-mers, k = 1 to 4, then composition and CpG content: (n, 346) float32."""
    blocks = [
        np.concatenate([*(frequencies(part, k) for k in (1, 2, 3, 4)), composition(part)], axis=1)
        for part in np.array_split(dna, -(-len(dna) // 4096))
    ]
    return np.concatenate(blocks)


def _fit_kmers(features, labels, train, stop, test) -> np.ndarray:
    """Logistic regression whose penalty scores best on the fold that stops networks; classes count alike."""
    best, found = -1.0, None
    for penalty in Progress(len(PENALTIES), "penalties tried").over(PENALTIES):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, class_weight="balanced", max_iter=300))
        model.fit(features[train], labels[train])
        value = balanced_accuracy(labels[stop], model.predict(features[stop]))
        if value > best:
            best, found = value, model
    return found.predict_proba(features[test]).astype(np.float32)


def cross_predict(dna, labels, fold, model: str, *, settings: dict, seed: int, work, logs) -> np.ndarray:
    """Probabilities of the taxa for each CpG by a model that saw nothing of its fold: (rows, taxa) float32.

    dna (rows, wlen) uint8; labels (rows,) int64, 0..taxa-1, each present; fold (rows,), see `folds`: -1 rows are in
    no fold, and NaN. model: KMERS, or a DNA model of `cpgtaxa.models.deepcpg`, which is trained with a linear layer on
    top by cross-entropy in which every taxon counts alike. The next fold is not trained on either: it stops the
    training, or chooses the penalty. settings: lr, lr_decay, l1, l2, batch, epochs, patience, device, precision. work:
    folder for checkpoints. logs: folder for the training logs, `{model}_{fold}.csv`.
    """
    n_folds = int(fold.max()) + 1
    if n_folds < 3:
        raise ValueError("three folds are needed: to train on, to stop by, and to test")
    found = np.full((len(labels), int(labels.max()) + 1), np.nan, dtype=np.float32)
    features = kmer_features(dna) if model == KMERS else None
    progress = Progress(n_folds, f"folds, taxon from sequence by {model}")
    for one in range(n_folds):
        stop, test = np.flatnonzero(fold == (one + 1) % n_folds), np.flatnonzero(fold == one)
        train = np.flatnonzero((fold >= 0) & (fold != one) & (fold != (one + 1) % n_folds))
        if model == KMERS:
            found[test] = _fit_kmers(features, labels, train, stop, test)
        else:
            found[test] = _fit_network(
                dna,
                labels,
                train,
                stop,
                test,
                model=model,
                settings=settings,
                seed=seed + one,
                work=pathlib.Path(work) / f"{model}_{one + 1}",
                log_path=pathlib.Path(logs) / f"{model}_{one + 1}.csv",
            )
        progress.step()
    return found


# --- scores ----------------------------------------------------------------------------------------------------------


def balanced_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the taxa that occur in `labels` of the share predicted correctly."""
    return float(np.mean([(predicted[labels == taxon] == taxon).mean() for taxon in np.unique(labels)]))


def score(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """n, accuracy, balanced_accuracy, and per taxon recall and auc (one against the rest); confusion.

    labels (n,) 0..taxa-1; probabilities (n, taxa). confusion: rows are labels, columns what was predicted. A taxon that
    does not occur has NaN, and does not count. Probabilities of several folds' models are scored together.
    """
    n = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, labels=range(n))
    totals = confusion.sum(axis=1)
    recall = np.divide(np.diag(confusion), totals, out=np.full(n, np.nan), where=totals > 0)
    aucs = [
        roc_auc_score(labels == taxon, probabilities[:, taxon]) if 0 < totals[taxon] < len(labels) else np.nan
        for taxon in range(n)
    ]
    return {
        "n": len(labels),
        "accuracy": float((labels == predicted).mean()),
        "balanced_accuracy": balanced_accuracy(labels, predicted),
        "recall": recall.tolist(),
        "auc": [float(value) for value in aucs],
        "confusion": confusion.tolist(),
    }


def _hits(labels: np.ndarray, predicted: np.ndarray, n: int) -> np.ndarray:
    """CpGs of each taxon predicted correctly after each rotation of the labels: (taxa, rotations) float64."""
    found = np.empty((n, len(labels)))
    for taxon in range(n):
        turned = np.fft.rfft(labels == taxon).conj() * np.fft.rfft(predicted == taxon)
        found[taxon] = np.rint(np.fft.irfft(turned, len(labels)))
    return found


def permutation_test(labels, predicted, groups, seed: int, n: int = PERMUTATIONS) -> dict:
    """Whether balanced accuracy is above what chance gives: value, chance, chance_low, chance_high, p, permutations.

    labels, predicted (rows,) 0..taxa-1, in the order of the genome; groups (rows,): the fold each is of. Under the null
    the predictions know nothing of the labels. Neighbouring CpGs have overlapping windows, hence like predictions, and
    often one taxon; labels shuffled one by one would break that up, make chance look far too narrow and find
    significance where there is none. Shuffling blocks would need a length for them. So the labels are rotated: within
    each fold, all are moved along the genome by one random number of CpGs, which leaves both runs as they are and
    breaks only what is between them. Within a fold, as each fold's model has been trained without it, and with it
    gone, other taxa are commoner: across folds, labels and predictions are not exchangeable.

    chance: mean balanced accuracy of the rotations, chance_low and chance_high their middle 95 %. p: (1 + rotations as
    good) / (1 + n).
    """
    taxa = int(max(labels.max(), predicted.max())) + 1
    counts = np.bincount(labels, minlength=taxa)
    rng = np.random.default_rng(seed)
    total, value = np.zeros((taxa, n)), np.zeros(taxa)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        hits = _hits(labels[rows], predicted[rows], taxa)
        total += hits[:, rng.integers(0, len(rows), n)]
        value += hits[:, 0]
    there = counts > 0
    drawn = (total[there] / counts[there, None]).mean(axis=0)
    observed = float((value[there] / counts[there]).mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "value": observed,
        "chance": float(drawn.mean()),
        "chance_low": float(low),
        "chance_high": float(high),
        "p": (1 + int((drawn >= observed - 1e-12).sum())) / (1 + n),
        "permutations": n,
    }


def ask(
    labels: pd.DataFrame, dna, fold, models, *, settings: dict, seed: int, work, logs, permutations: int = PERMUTATIONS
) -> tuple[pd.DataFrame, dict]:
    """All models' predictions, and what they are worth.

    labels: of `read_labels`; dna (rows, wlen) uint8, their windows; fold: of `folds`; the rest as `cross_predict`.
    Returns a table cpg, chrom, position, taxon, fold, model, predicted, p_{taxon} (float32, of the taxa that occur, in
    the order of TAXA), model after model; and by model `score` (lists in the order of `taxa`) with `test`, the
    `permutation_test` of balanced accuracy. Raises InputError as `check_folds`.
    """
    check_folds(labels["taxon"].to_numpy(dtype=object), fold)
    taxa = sorted(labels["taxon"].unique(), key=INDEX.get)
    codes = labels["taxon"].map(taxa.index).to_numpy(dtype=np.int64)
    kept = fold >= 0
    parts, scores = [], {}
    for model in models:
        found = cross_predict(dna, codes, fold, model, settings=settings, seed=seed, work=work, logs=logs)[kept]
        predicted = found.argmax(axis=1)
        test = permutation_test(codes[kept], predicted, fold[kept], seed, permutations)
        scores[model] = score(codes[kept], found) | {"taxa": taxa, "test": test}
        part = labels[kept].assign(fold=fold[kept] + 1, model=model, predicted=[taxa[one] for one in predicted])
        parts.append(part.assign(**{f"p_{taxon}": found[:, at] for at, taxon in enumerate(taxa)}))
    return pd.concat(parts, ignore_index=True), scores
