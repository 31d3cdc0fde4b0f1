"""A CpG's taxon from its sequence: labels, folds, models, scores, and what chance would give."""

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.errors import InputError
from cpgtaxa.files import write_parquet
from cpgtaxa.names import TAXA
from cpgtaxa.targets.single_cell import from_sequence
from cpgtaxa.targets.single_cell.kmers import frequencies
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

COLUMNS = {"cpg": "cpg", "chrom": "chrom", "position": "position"}


# --- labels ----------------------------------------------------------------------------------------------------------


def label_files(folder, n=60, parquet=False):
    """n CpGs, of which the last is Unclassified and the one before has a rare taxon; positions on chr2, then chr10."""
    cpgs = [f"cg{number:03d}" for number in range(n)]
    taxa = ["UniStable" if number % 2 else "LinAgeHomo" for number in range(n)]
    taxa[-2:] = ["TriAge", "Unclassified"]
    taxonomy = pd.DataFrame({"cpg": cpgs, "taxon": taxa, "source": "statistical"})
    places = pd.DataFrame(
        {"cpg": cpgs, "chrom": np.where(np.arange(n) < 20, "10", "2"), "position": range(500, 500 - n, -1)}
    )
    paths = folder / ("t.parquet" if parquet else "t.csv"), folder / "p.csv"
    write_parquet(paths[0], taxonomy) if parquet else taxonomy.to_csv(paths[0], index=False)
    places.to_csv(paths[1], index=False)
    return *paths, taxonomy, places


@pytest.mark.parametrize("parquet", [False, True])
def test_labels_are_classified_cpgs_in_the_order_of_the_genome(tmp_path, parquet):
    taxonomy, positions, *_ = label_files(tmp_path, parquet=parquet)
    labels, notes = from_sequence.read_labels(taxonomy, positions, COLUMNS, ["chr2", "chr10"])
    assert len(labels) == 58
    assert labels["chrom"].tolist() == ["chr2"] * 38 + ["chr10"] * 20
    assert labels["cpg"].iloc[0] == "cg057"
    assert all(part["position"].is_monotonic_increasing for _, part in labels.groupby("chrom"))
    assert set(labels["taxon"]) == {"UniStable", "LinAgeHomo"}
    assert notes == ["fewer than 20 CpGs, left out: TriAge"]


def test_what_has_no_place_is_noted(tmp_path):
    taxonomy, positions, _, places = label_files(tmp_path)
    places.iloc[3:].assign(chrom=lambda table: table["chrom"].replace("10", "chrUn")).to_csv(positions, index=False)
    taxonomy_table = pd.read_csv(taxonomy)
    taxonomy_table["taxon"] = ["UniStable", "BiAge"] * 30
    taxonomy_table.to_csv(taxonomy, index=False)
    labels, notes = from_sequence.read_labels(taxonomy, positions, COLUMNS, ["chr2"])
    assert len(labels) == 40
    assert notes == [
        "3 classified CpGs have no position: left out",
        "17 CpGs lie on chromosomes that the genome does not have ('chrUn'): left out",
    ]


def test_labels_that_are_wrong_are_all_reported(tmp_path):
    taxonomy, positions = tmp_path / "t.csv", tmp_path / "p.csv"
    taxonomy.write_text("cpg,taxon\na,UniStable\nb,Unistable\na,BiAge\n")
    positions.write_text("cpg,chrom,position\na,1,5\na,1,6\nb,1,0\nc,1,x\n")
    with pytest.raises(InputError) as error:
        from_sequence.read_labels(taxonomy, positions, COLUMNS, ["1"])
    reported = error.value.problems
    assert len(reported) == 4
    assert "t.csv, line 3: 'Unistable' is no taxon (1 such rows). Taxa are UniStable, UniUnstable" in reported[0]
    assert "t.csv gives 1 CpGs several taxa: 'a'. Keep one each" in reported[1]
    assert "p.csv, line 4: '0' is no position (2 such rows). Give whole numbers of bases, the first is 1" in reported[2]
    assert "p.csv gives 1 CpGs several positions: 'a'. Keep one each" in reported[3]


def test_tables_that_do_not_fit_together(tmp_path):
    taxonomy, positions, table, places = label_files(tmp_path)
    read = from_sequence.read_labels
    with pytest.raises(InputError, match=r"has none of the genome's chromosomes: '10', '2' against 'chr7'"):
        read(taxonomy, positions, COLUMNS, ["chr7"])
    with pytest.raises(InputError, match=r"taxa.positions: .* needs the columns Name and chrom and position"):
        read(taxonomy, positions, COLUMNS | {"cpg": "Name"}, ["2"])
    table.assign(taxon="BiAge").to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(InputError, match=r"1 taxa have 20 CpGs with positions or more, and two are needed"):
        read(tmp_path / "one.csv", positions, COLUMNS, ["2", "10"])
    places.assign(cpg=places["cpg"] + "_TC11").to_csv(positions, index=False)
    with pytest.raises(InputError, match=r"share no classified CpG: 'cg000', .* on EPICv2, names have suffixes"):
        read(taxonomy, positions, COLUMNS, ["2"])


def test_a_cap_keeps_so_many_of_each_taxon_in_order():
    labels = pd.DataFrame({"cpg": range(300), "taxon": ["BiAge"] * 200 + ["UniStable"] * 100})
    found = from_sequence.cap(labels, 150, 1)
    assert found["taxon"].value_counts().to_dict() == {"BiAge": 150, "UniStable": 100}
    assert found["cpg"].is_monotonic_increasing
    assert found.equals(from_sequence.cap(labels, 150, 1))
    assert not found.equals(from_sequence.cap(labels, 150, 2))


# --- folds -----------------------------------------------------------------------------------------------------------


def test_folds_are_whole_chromosomes_where_there_are_enough():
    chrom = np.repeat(["c1", "c2", "c3", "c4"], [50, 30, 25, 10])
    found = from_sequence.folds(chrom, np.arange(115), 3, 101)
    assert [set(found[chrom == name]) for name in ("c1", "c2", "c3", "c4")] == [{0}, {1}, {2}, {2}]


def test_with_few_chromosomes_folds_are_runs_with_a_margin():
    rng = np.random.default_rng(0)
    chrom = np.repeat(["c1", "c2"], [500, 300])
    position = np.concatenate([np.sort(rng.choice(30_000, n, replace=False)) for n in (500, 300)])
    found = from_sequence.folds(chrom, position, 4, 1001)
    assert set(found) == {-1, 0, 1, 2, 3}
    for one in range(4):
        rows = np.flatnonzero(found == one)
        assert 120 < len(rows) <= 200
        for other in range(one):
            for name in ("c1", "c2"):
                a, b = (position[(found == fold) & (chrom == name)] for fold in (one, other))
                if len(a) and len(b):
                    assert np.abs(a[:, None] - b).min() >= 1001  # windows of 1,001 do not overlap
    # Cuts at 200, 400 and 600: margins behind them alone, and none at the border of the chromosomes.
    assert set(found[500:600]) == {2}
    dropped = np.flatnonzero(found < 0)
    assert all(200 <= row < 240 or 400 <= row < 440 or 600 <= row < 640 for row in dropped)


def test_folds_that_cannot_be_trained_are_reported():
    taxon, fold = np.array(["A", "A", "B", "A", "A"]), np.array([0, 1, 2, 2, -1])
    with pytest.raises(InputError) as error:
        from_sequence.check_folds(taxon, fold)
    assert len(error.value.problems) == 2  # B is in the third alone, which is left out for testing and for stopping
    assert "outside fold 2 of 3 and the one that stops training there is no CpG of B" in error.value.problems[0]
    with pytest.raises(InputError, match="fold 2 of 3 has no CpG: set fewer folds or bring more CpGs"):
        from_sequence.check_folds(np.array(["A", "A"]), np.array([0, 2]))


# --- scores ----------------------------------------------------------------------------------------------------------


def test_scores_by_hand_and_by_scikit_learn():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    probabilities = np.array(
        [
            [0.8, 0.1, 0.1, 0],
            [0.7, 0.2, 0.1, 0],
            [0.1, 0.8, 0.1, 0],
            [0.6, 0.3, 0.1, 0],
            [0.2, 0.7, 0.1, 0],
            [0.5, 0.4, 0.1, 0],
            [0.1, 0.1, 0.8, 0],
            [0.0, 0.0, 1.0, 0],
        ]
    )
    found = from_sequence.score(labels, probabilities)
    assert found["recall"][:3] == [3 / 4, 1 / 2, 1]
    assert np.isnan(found["recall"][3])
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert found["accuracy"] == 6 / 8
    assert found["confusion"] == [[3, 1, 0, 0], [1, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert found["auc"][0] == pytest.approx((4 + 4 + 1.5 + 4) / 16)
    assert found["auc"][1] == pytest.approx(roc_auc_score(labels == 1, probabilities[:, 1]))
    assert np.isnan(found["auc"][3])
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, probabilities.argmax(axis=1)))


def test_rotations_count_as_if_done_one_by_one():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, 37), rng.integers(0, 4, 37)
    found = from_sequence._hits(labels, predicted, 4)
    for shift in range(37):
        turned = np.roll(labels, shift)
        assert found[:, shift].tolist() == [((turned == taxon) & (predicted == taxon)).sum() for taxon in range(4)]


def test_the_permutation_test_is_that_of_rotations_done_slowly():
    rng = np.random.default_rng(1)
    groups = np.repeat([0, 1, 2], [30, 40, 50])
    labels = rng.integers(0, 3, 120)
    predicted = np.where(rng.random(120) < 0.3, labels, rng.integers(0, 3, 120))
    found = from_sequence.permutation_test(labels, predicted, groups, 5)
    values = []
    for _ in range(3000):
        turned = np.concatenate([np.roll(labels[groups == one], rng.integers(200)) for one in range(3)])
        values.append(balanced_accuracy_score(turned, predicted))
    assert found["value"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found["chance"] == pytest.approx(np.mean(values), abs=0.004)
    low, high = np.quantile(values, [0.025, 0.975])
    assert found["chance_low"] == pytest.approx(low, abs=0.012)
    assert found["chance_high"] == pytest.approx(high, abs=0.012)
    assert found["p"] == pytest.approx(np.mean(np.array(values) >= found["value"]), abs=0.01)
    assert found["permutations"] == 10_000
    same = np.zeros(9, dtype=int)
    assert from_sequence.permutation_test(same, same, np.zeros(9), 5)["p"] == 1  # rotations that are as good count


def test_predictions_that_know_nothing_are_found_significant_no_more_often_than_stated():
    """Labels and predictions both in runs, and independent: rotating them is honest, where shuffling is not."""
    rng = np.random.default_rng(0)
    rotated, shuffled = [], []
    for _ in range(200):
        labels, predicted = (np.repeat(rng.integers(0, 2, 60), rng.integers(5, 25, 60))[:600] for _ in range(2))
        n = min(len(labels), len(predicted))
        labels, predicted = labels[:n], predicted[:n]
        rotated.append(from_sequence.permutation_test(labels, predicted, np.zeros(n), 1, 500)["p"])
        value = from_sequence.balanced_accuracy(labels, predicted)
        free = [from_sequence.balanced_accuracy(rng.permutation(labels), predicted) for _ in range(100)]
        shuffled.append((1 + (np.array(free) >= value).sum()) / 101)
    assert (np.array(rotated) < 0.05).mean() < 0.11
    assert (np.array(rotated) < 0.5).mean() == pytest.approx(0.5, abs=0.12)
    assert (np.array(shuffled) < 0.05).mean() > 0.2


# --- models ----------------------------------------------------------------------------------------------------------

SETTINGS = {
    "lr": 1e-3, "lr_decay": 0.975, "l1": 0.0, "l2": 0.0, "batch": 64, "epochs": 4, "patience": 0, "device": "cpu",
    "precision": "float32",
}  # fmt: skip


def written(n=900, wlen=101, seed=0):
    """Labels of three taxa on four chromosomes: the first has many As, the second a motif near the centre."""
    rng = np.random.default_rng(seed)
    dna = rng.integers(0, 4, (n, wlen)).astype(np.uint8)
    labels = rng.integers(0, 3, n)
    dna[labels == 0] = np.where(rng.random((int((labels == 0).sum()), wlen)) < 0.3, 0, dna[labels == 0])
    dna[labels == 1, 40:50] = [3, 3, 1, 0, 1, 2, 3, 2, 0, 0]
    dna[:, wlen // 2 : wlen // 2 + 2] = [1, 2]
    names = np.array(["UniStable", "LinAgeHomo", "BiAge"])
    table = pd.DataFrame(
        {
            "cpg": [f"cg{row}" for row in range(n)],
            "chrom": np.sort(np.arange(n) % 4).astype(str),
            "position": np.arange(n) * 200,
            "taxon": names[labels],
        }
    )
    return table, dna


def test_models_predict_taxa_that_are_written_in_the_sequence(tmp_path):
    table, dna = written()
    fold = from_sequence.folds(table["chrom"].to_numpy(), table["position"].to_numpy(), 4, 101)
    fold[5] = -1
    found, scores = from_sequence.ask(
        table, dna, fold, ["CnnL1h128", "kmers"], settings=SETTINGS, seed=3, work=tmp_path / "w", logs=tmp_path
    )
    # The taxa in the order of TAXA, whatever order they come in.
    taxa = [taxon for taxon in TAXA if taxon in ("UniStable", "LinAgeHomo", "BiAge")]
    names = ["cpg", "chrom", "position", "taxon", "fold", "model", "predicted"]
    assert list(found.columns) == [*names, *(f"p_{taxon}" for taxon in taxa)]
    assert len(found) == 2 * 899
    assert "cg5" not in set(found["cpg"])
    assert set(found["fold"]) == {1, 2, 3, 4}
    probabilities = found[[f"p_{taxon}" for taxon in taxa]].to_numpy()
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    assert (found["predicted"] == np.array(taxa)[probabilities.argmax(axis=1)]).all()
    for model in ("CnnL1h128", "kmers"):
        assert scores[model]["taxa"] == taxa
        assert scores[model]["balanced_accuracy"] > 0.6
        assert scores[model]["test"]["value"] == pytest.approx(scores[model]["balanced_accuracy"])
        assert scores[model]["test"]["chance"] == pytest.approx(1 / 3, abs=0.03)
        assert scores[model]["test"]["p"] < 0.001
    log = pd.read_csv(tmp_path / "CnnL1h128_2.csv")
    assert {"train_balanced_accuracy", "val_balanced_accuracy"} <= set(log.columns)


def test_no_model_sees_the_fold_that_it_predicts(tmp_path, monkeypatch):
    """Each fold's labels changed at will leave its own predictions as they were."""
    table, dna = written(240)
    codes = table["taxon"].map({"UniStable": 0, "LinAgeHomo": 1, "BiAge": 2}).to_numpy()
    fold = np.arange(240) * 4 // 240
    settings = SETTINGS | {"epochs": 1}
    for model in ("kmers", "CnnL1h128"):
        one = from_sequence.cross_predict(
            dna, codes, fold, model, settings=settings, seed=1, work=tmp_path / "a", logs=tmp_path
        )
        other_codes = np.where(fold == 2, (codes + 1) % 3, codes)
        other = from_sequence.cross_predict(
            dna, other_codes, fold, model, settings=settings, seed=1, work=tmp_path / "b", logs=tmp_path
        )
        assert np.array_equal(one[fold == 2], other[fold == 2])
        assert not np.array_equal(one[fold == 3], other[fold == 3])


def test_taxa_count_alike_in_the_loss():
    assert from_sequence._balanced(np.array([0, 0, 0, 1, 2, 2]), 3).tolist() == pytest.approx([2 / 3, 2, 1])


def test_kmer_features_are_all_lengths_and_the_composition():
    dna = np.random.default_rng(0).integers(0, 4, (5, 50)).astype(np.uint8)
    found = from_sequence.kmer_features(dna)
    assert found.shape == (5, 4 + 16 + 64 + 256 + 6)
    assert np.array_equal(found[:, 4:20], frequencies(dna, 2))


def test_three_folds_are_needed(tmp_path):
    given = np.zeros((4, 9), np.uint8), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    with pytest.raises(ValueError, match="three folds are needed"):
        from_sequence.cross_predict(*given, "kmers", settings={}, seed=0, work=tmp_path, logs=tmp_path)
