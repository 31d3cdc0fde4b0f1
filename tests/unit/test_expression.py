"""Expression from methylation: the published network, training many at once, honest folds, scores, and what is
planted."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from cpgtaxa.models import create_model
from cpgtaxa.models.deepmethygene import widths
from cpgtaxa.targets.expression import batched, by_taxon, deepmethygene, fits, scores, simulated
from cpgtaxa.targets.expression.batched import RECIPES, Fit, new_network, train
from cpgtaxa.targets.expression.folds import Gene, Scale, folds, m_values
from cpgtaxa.targets.expression.peers import PENALTIES
from cpgtaxa.targets.expression.registry import create_regressor, regressors
from cpgtaxa.targets.expression.regressors import Gathered
from cpgtaxa.targets.expression.study import TAXA_COLUMNS
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

SETTINGS = {"recipe": "fast", "epochs": None, "device": "cpu", "precision": "float32"}


GOLD = [(20, 11_316), (100, 258_000), (640, 10_524_129), (2000, 32_806_369)]


@pytest.mark.parametrize(("length", "parameters"), GOLD)
def test_the_network_is_as_large_as_published(length, parameters):
    network = create_model("AdaptiveRegressionCNN", length=length)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network(torch.zeros(3, 1, length)).shape == (3, 1)


def test_genes_with_few_cpgs_get_a_network_too():
    found = [widths(length) for length in (1, 9, 19, 20, 639, 5000)]
    assert found == [(1, 1), (1, 1), (1, 1), (2, 1), (63, 31), (64, 32)]
    assert create_model("AdaptiveRegressionCNN", length=1)(torch.zeros(2, 1, 1)).shape == (2, 1)


def test_the_networks_forward_pass_is_the_published_one():
    """Written out once more, from the published description."""
    torch.manual_seed(0)
    network, x = create_model("AdaptiveRegressionCNN", length=45), torch.randn(4, 1, 45)
    leaky, p = torch.nn.LeakyReLU(0.01), dict(network.named_parameters())

    def convolve(name, h):
        return torch.nn.functional.conv1d(h, p[f"{name}.weight"], p[f"{name}.bias"], padding=1)

    def block(name, h):
        return leaky(convolve(f"{name}.conv2", leaky(convolve(f"{name}.conv1", h))) + h)

    h = block("resblock2", leaky(convolve("conv2", block("resblock1", leaky(convolve("conv1", x)))))).flatten(1)
    expected = leaky(h @ p["fc1.weight"].T + p["fc1.bias"]) @ p["fc2.weight"].T + p["fc2.bias"]
    assert torch.allclose(network(x), expected, atol=1e-6)


def some_fits(lengths, n=60, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for number, length in enumerate(lengths):
        x = rng.normal(size=(n, length)).astype(np.float32)
        y = (x[:, 0] - x[:, -1] + 0.5 * rng.normal(size=n)).astype(np.float32)
        order = rng.permutation(n)
        # Folds differ by a sample, as they do where samples are no multiple of the folds.
        cut = 45 - number % 2
        found.append(Fit(new_network(length, number), x, y, order[:cut], order[cut:], number))
    return found


def weights(fit):
    return torch.cat([parameter.detach().flatten() for parameter in fit.network.parameters()])


@pytest.mark.parametrize("name", ["fast", "published"])
def test_trained_together_each_network_is_what_it_is_alone(name):
    lengths = [41, 45, 49, 47, 25, 29, 7, 5, 130]  # several widths, padded within each; the last is trained alone
    recipe = dataclasses.replace(RECIPES[name], epochs=6, patience=2)
    together, alone = some_fits(lengths), some_fits(lengths)
    train(together, recipe)
    for fit in alone:
        train([fit], recipe)
    assert [fit.epochs for fit in together] == [fit.epochs for fit in alone]
    assert len({fit.epochs for fit in together}) > 1  # some stop early, and leave the stack
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(weights(one), weights(other), atol=2e-4)


def test_training_is_that_of_a_plain_loop():
    recipe = dataclasses.replace(RECIPES["published"], epochs=12, patience=3)
    (fit,), (plain,) = some_fits([41]), some_fits([41])
    train([fit], recipe)
    x, y, network = torch.from_numpy(plain.x).unsqueeze(1), torch.from_numpy(plain.y), plain.network
    optimiser, best, waited, epochs = torch.optim.Adam(network.parameters(), lr=1e-3), np.inf, 0, 0
    while waited < 3 and epochs < 12:
        epochs += 1
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(network(x[plain.rows])[:, 0], y[plain.rows]).backward()
        optimiser.step()
        with torch.no_grad():
            loss = torch.nn.functional.mse_loss(network(x[plain.stop])[:, 0], y[plain.stop]).item()
        if loss < best:
            best, waited, kept = loss, 0, {name: value.clone() for name, value in network.state_dict().items()}
        else:
            waited += 1
    network.load_state_dict(kept)
    assert fit.epochs == epochs
    assert torch.allclose(weights(fit), weights(plain), atol=1e-5)


def test_without_restoring_the_last_weights_stay():
    kept, last = some_fits([25]), some_fits([25])
    recipe = dataclasses.replace(RECIPES["published"], epochs=40, lr=0.02, patience=3)
    train(kept, recipe)
    train(last, dataclasses.replace(recipe, restore=False))
    assert kept[0].epochs == last[0].epochs < 40
    assert not torch.allclose(weights(kept[0]), weights(last[0]))


def test_wide_networks_take_smaller_steps_of_more_samples():
    narrow, wide = (RECIPES["fast"].for_width(channels) for channels in (2, 64))
    assert narrow.lr > 3 * wide.lr
    assert (narrow.batch, wide.batch) == (16, 32)
    assert RECIPES["published"].for_width(64) == RECIPES["published"]


def test_chunks_hold_so_many_numbers():
    fits = some_fits([24] * 70)
    n_weights = sum(parameter.numel() for parameter in fits[0].network.parameters())
    assert [len(chunk) for chunk in batched._chunks(fits, 10**9, 16)] == [64, 6]
    assert [len(chunk) for chunk in batched._chunks(fits[:5], 13 * n_weights, 1)] == [2, 2, 1]
    assert [len(chunk) for chunk in batched._chunks(fits[:5], 13 * n_weights, 500)] == [1] * 5


def test_folds_are_scikit_learns_where_each_person_has_one_sample():
    trained = np.array([True] * 23 + [False] * 4)
    found = folds(trained, np.arange(27).astype(str).astype(object), 5, 42)
    expected = KFold(5, shuffle=True, random_state=42).split(np.arange(23))
    for fold, (train_rows, test) in zip(found, expected, strict=True):
        assert fold.test.tolist() == test.tolist()
        assert sorted([*fold.fit, *fold.stop]) == train_rows.tolist()
        assert fold.may[23:].all()
        assert not fold.may[fold.train].any()


def test_nothing_of_a_person_is_on_both_sides():
    rng = np.random.default_rng(0)
    person = rng.choice([f"P{number}" for number in range(20)], 60).astype(object)
    trained = rng.random(60) < 0.7
    found = folds(trained, person, 4, 1)
    assert sorted(np.concatenate([fold.test for fold in found])) == np.flatnonzero(trained).tolist()
    for fold in found:
        assert not set(person[fold.train]) & set(person[fold.test])
        assert not set(person[fold.fit]) & set(person[fold.stop])
        assert not set(person[fold.may]) & set(person[fold.train])


def test_a_sample_of_someone_trained_on_is_predicted_by_the_fold_that_left_them_out():
    """Normal tissue of patients whose tumours were trained on: only the model that never saw the patient may speak."""
    person = np.array([f"P{number}" for number in range(10)] * 2, dtype=object)
    person[19] = "stranger"
    trained = np.arange(20) < 10
    parts = folds(trained, person, 5, 0)
    gene = Gene("g", np.zeros((20, 1), dtype=np.float32), np.zeros(20, dtype=np.float32), 0)
    gathered = Gathered(gene, parts)
    for number, fold in enumerate(parts):
        gathered.add(fold, np.full(20, float(number)))
    found = gathered.prediction()
    for number, fold in enumerate(parts):
        patients = [row for row in fold.test + 10 if row != 19]
        assert (found[fold.test] == number).all()
        assert (found[patients] == number).all()
    assert found[19] == 2.0  # a stranger: the mean of all five


def test_m_values():
    found = m_values(np.array([0.0, 0.5, 0.8, 1.0, np.nan], dtype=np.float32))
    assert found[:4] == pytest.approx([-10, 0, 2, 10], abs=1e-5)
    assert np.isnan(found[4])


def test_scales_are_learnt_from_the_training_rows_alone():
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, (20, 4)).astype(np.float32), rng.normal(9, 1, 20).astype(np.float32)
    x[2, 1], x[:, 3] = np.nan, 7.0
    rows = np.arange(12)
    before = Scale(x, y, rows)
    assert before.x(x)[rows][:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert before.x(x)[rows][:, 0].std() == pytest.approx(1, abs=1e-6)
    assert before.x(x)[2, 1] == 0  # missing: the mean
    assert (before.x(x)[:, 3] == 0).all()  # constant: says nothing
    assert before.back(before.y(y)) == pytest.approx(y, abs=1e-5)
    changed, other = x.copy(), y.copy()
    changed[12:], other[12:] = 100, -100
    after = Scale(changed, other, rows)
    assert (after.x(x) == before.x(x)).all()
    assert (after.y(y) == before.y(y)).all()


def planted(n=200, cpgs=30, strength=0.8, seed=0):
    """A gene with effects of its CpGs 3 and 20."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, cpgs)).astype(np.float32)
    signal = (x[:, 3] - x[:, 20]) / np.sqrt(2)
    y = 5 + 2 * (np.sqrt(strength) * signal + np.sqrt(1 - strength) * rng.normal(size=n))
    x[rng.random(x.shape) < 0.01] = np.nan
    return Gene("planted", x, y.astype(np.float32), 7)


def cross_fit(name, gene, trained=None, k=5):
    n = len(gene.y)
    trained = np.ones(n, dtype=bool) if trained is None else trained
    parts = folds(trained, np.arange(n).astype(str).astype(object), k, 42)
    inner = [list(KFold(5, shuffle=True, random_state=0).split(fold.train)) for fold in parts]
    return next(iter(create_regressor(name, SETTINGS).cross_fit([gene], parts, inner))), parts


@pytest.mark.parametrize("name", [name for name in regressors() if name not in ("Mean", "DeepMethyGene_published")])
def test_every_model_finds_what_is_planted_and_where(name):
    gene = planted()
    result, _ = cross_fit(name, gene)
    assert r2_score(gene.y, result.prediction) > (0.1 if name == "DeepMethyGene" else 0.3)
    if len(result.attribution):
        assert set(np.argsort(result.attribution)[-2:]) == {3, 20}
    else:
        assert name == "SVM"


def test_the_mean_predicts_nothing():
    result, parts = cross_fit("Mean", planted())
    assert len({round(float(value), 4) for value in result.prediction}) == len(parts)
    assert len(result.attribution) == 0


def test_ridges_errors_when_left_out_are_those_of_fits_without_the_sample():
    rng = np.random.default_rng(2)
    x = rng.normal(1, 2, (40, 60)).astype(np.float32)
    y = x[:, 5] + rng.normal(size=40).astype(np.float32)
    layer, errors = deepmethygene._ridge(x, y)
    penalty = RidgeCV(PENALTIES).fit(x, y).alpha_
    for row in (0, 17):
        rest = np.arange(40) != row
        alone = Ridge(alpha=penalty).fit(x[rest].astype(float), y[rest])
        assert errors[row] == pytest.approx(y[row] - alone.predict(x[row : row + 1])[0], abs=1e-3)
    with torch.no_grad():
        np.testing.assert_allclose(layer(torch.from_numpy(x))[:, 0], RidgeCV(PENALTIES).fit(x, y).predict(x), atol=1e-3)


def test_a_network_has_its_say_where_it_has_proved_itself():
    rng = np.random.default_rng(3)
    errors = rng.normal(size=60)
    assert deepmethygene.share_of(rng.normal(size=60) * 0.5, errors) == 0
    assert deepmethygene.share_of(-errors, errors) == 0
    assert deepmethygene.share_of(np.zeros(60), errors) == 0
    assert deepmethygene.share_of(2 * errors, errors) == pytest.approx(0.5)
    assert deepmethygene.share_of(0.5 * errors, errors) == 1


def test_the_repaired_network_is_ridge_where_nothing_is_left_and_sees_no_sample_held_out():
    gene = planted()
    ridge, parts = cross_fit("Ridge", gene)
    repaired, _ = cross_fit("DeepMethyGene_on_ridge", gene)
    assert r2_score(gene.y, repaired.prediction) > r2_score(gene.y, ridge.prediction) - 0.01
    fold = parts[0]
    y = gene.y.copy()
    y[fold.test] = 100.0
    changed, _ = cross_fit("DeepMethyGene_on_ridge", dataclasses.replace(gene, y=y))
    np.testing.assert_allclose(changed.prediction[fold.test], repaired.prediction[fold.test], rtol=1e-3)


def test_what_no_line_tells_the_repaired_network_adds():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 12)).astype(np.float32)
    y = (x[:, 2] + 2 * np.abs(x[:, 7]) + 0.3 * rng.normal(size=400)).astype(np.float32)
    gene = Gene("bent", x, y, 7)
    found = {name: r2_score(y, cross_fit(name, gene)[0].prediction) for name in ("Ridge", "DeepMethyGene_on_ridge")}
    assert found["DeepMethyGene_on_ridge"] > found["Ridge"] + 0.1


@pytest.mark.parametrize("name", ["DeepMethyGene", "Ridge"])
def test_samples_not_trained_on_get_the_mean_of_the_folds_models(name):
    gene = planted()
    trained = np.arange(200) < 150
    result, _ = cross_fit(name, gene, trained)
    assert np.corrcoef(result.prediction[150:], gene.y[150:])[0, 1] > 0.35
    # Their expression is not looked at.
    unknown = dataclasses.replace(gene, y=np.where(trained, gene.y, np.nan).astype(np.float32))
    again, _ = cross_fit(name, unknown, trained)
    assert (again.prediction == result.prediction).all()


def test_models_repeat_with_the_seed():
    one, two = (cross_fit("DeepMethyGene", planted())[0] for _ in range(2))
    assert (one.prediction == two.prediction).all()
    other, _ = cross_fit("DeepMethyGene", dataclasses.replace(planted(), seed=8))
    assert not (other.prediction == one.prediction).all()


@pytest.mark.slow
def test_the_published_loop_finds_something_in_noise_and_the_honest_one_does_not():
    rng = np.random.default_rng(1)
    found = {}
    for name in ("DeepMethyGene", "DeepMethyGene_published"):
        pearson = []
        for seed in range(4):
            x, y = rng.normal(size=(60, 40)).astype(np.float32), rng.normal(size=60).astype(np.float32)
            gene = Gene("noise", x, y, seed)
            result, parts = cross_fit(name, gene)
            pearson.append(
                np.mean([scores.squared_pearson(y[part.test], result.prediction[part.test]) for part in parts])
            )
        found[name] = np.mean(pearson)
    assert found["DeepMethyGene"] < 0.2
    assert found["DeepMethyGene_published"] > 0.5


def test_unknown_models_are_named():
    known = "known: DeepMethyGene, DeepMethyGene_on_ridge, DeepMethyGene_published, ElasticNet"
    with pytest.raises(ValueError, match=known):
        create_regressor("DeepMethylGene", SETTINGS)


def test_scores():
    y = np.array([1.0, 2, 3, 4], dtype=np.float32)
    assert scores.squared_pearson(y, 9 - 2 * y) == pytest.approx(1)
    assert scores.squared_pearson(y, np.full(4, 2.0)) == 0
    assert scores.determination(y, 9 - 2 * y) == pytest.approx(r2_score(y, 9 - 2 * y))
    assert np.isnan(scores.determination(np.ones(3), y[:3]))
    assert np.isnan(scores.squared_pearson(np.ones(4), y))
    assert np.isnan(scores.squared_pearson(y, np.array([1, 2, np.nan, 4])))


def score_table(differences):
    rows = []
    for number, difference in enumerate(differences):
        for model, value in (("A", 0.3 + difference), ("B", 0.3)):
            row = {"gene": f"g{number}", "model": model, "window": "1Mb", "set": "train", "n": 50, "n_cpgs": 9}
            rows.append(row | {"r2_pearson": value, "r2": value - 0.1})
    return pd.DataFrame(rows)


def test_models_are_compared_gene_by_gene():
    rng = np.random.default_rng(0)
    table = score_table(rng.normal(0.05, 0.02, 40))
    found = scores.compare(table, 1)
    expected = [["A", "B", metric, 40] for metric in scores.METRICS]
    assert found[["model", "other", "metric", "n"]].values.tolist() == expected
    assert (found["p_holm"] < 1e-6).all()
    assert found["difference"].iloc[0] == pytest.approx(0.05, abs=0.01)
    assert (found["ci_low"] > 0.03).all()
    even = scores.compare(score_table(rng.normal(0, 0.02, 40)), 1)
    assert (even["p"] > 0.01).all()
    summary = scores.summarise(table, 1)
    assert list(summary) == ["model", "metric", "value", "ci_low", "ci_high", "n"]
    assert (summary["ci_low"] <= summary["value"]).all()


def test_random_sets_are_as_far_from_the_gene_and_hold_none_of_the_chosen():
    rng = np.random.default_rng(0)
    distance = np.abs(rng.normal(0, 1, 400)) ** 3 * 100_000
    chosen = np.zeros(400, dtype=bool)
    chosen[np.argsort(distance)[:40:2]] = True  # near the gene
    for _ in range(5):
        found = by_taxon.matched(distance, chosen, rng)
        assert len(set(found)) == chosen.sum()
        assert not chosen[found].any()
        assert np.median(distance[found]) < 5 * np.median(distance[chosen]) < np.median(distance) / 5
    assert by_taxon.matched(distance[:6], chosen[:6] | True, rng) is None


def test_a_taxon_that_says_more_is_found():
    rng = np.random.default_rng(0)
    rows = []
    for taxon, gain in (("UniStable", 0.0), ("BiAge", 0.1)):
        r2 = rng.normal(0.3, 0.1, 60)
        rows.append(
            pd.DataFrame(
                {
                    "gene": range(60),
                    "taxon": taxon,
                    "n_cpgs": 6,
                    "r2": r2 + gain,
                    "r2_random": r2 + rng.normal(0, 0.03, 60),
                }
            )
        )
    found = scores.summarise_taxa(pd.concat(rows)).set_index("taxon")
    assert found.loc["BiAge", "p_holm"] < 1e-6
    assert found.loc["BiAge", "difference"] == pytest.approx(0.1, abs=0.02)
    assert found.loc["UniStable", "p_holm"] > 0.01
    assert scores.summarise_taxa(pd.DataFrame(columns=TAXA_COLUMNS)).empty


def test_the_simulated_cohort_is_what_its_truth_says(tmp_path):
    names = {"beta": "beta.csv.gz", "expression": "expression.csv.gz"}
    names |= {name: f"{name}.csv" for name in ("positions", "genes", "taxonomy", "truth")}
    paths = {name: tmp_path / file for name, file in names.items()}
    simulated.write_cohort({"samples": 400, "genes": 48, "cpgs": 2400}, 3, paths)
    tables = {name: pd.read_csv(path) for name, path in paths.items()}
    beta, expression = tables["beta"].set_index("cpg"), tables["expression"].set_index("gene")
    assert beta.shape[1] == expression.shape[1] == 400
    assert set(beta.index) == set(tables["positions"]["cpg"]) == set(tables["taxonomy"]["cpg"])
    truth = tables["truth"].set_index("gene")
    assert set(truth["kind"]) == set(simulated.KINDS)
    assert (truth["r2"][truth["kind"] == "none"] == 0).all()
    linear = truth[truth["kind"].isin(["promoter", "distal"])]
    found = []
    for gene, row in linear.iterrows():
        x = m_values(beta.loc[row["cpgs"].split()].to_numpy(dtype=np.float32)).T
        x = np.nan_to_num(x - np.nanmean(x, axis=0))
        x = np.column_stack([x, np.ones(len(x))])
        y = expression.loc[gene].to_numpy()
        found.append(1 - np.var(y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) / np.var(y))
    assert np.abs(np.array(found) - linear["r2"]).mean() < 0.06
    first = (tmp_path / "beta.csv.gz").read_bytes()
    simulated.write_cohort({"samples": 400, "genes": 48, "cpgs": 2400}, 3, paths)
    assert (tmp_path / "beta.csv.gz").read_bytes() == first


def test_genes_come_in_pieces_by_their_cpgs():
    width = np.array([1] * 20 + [300] * 3 + [2000, 5])
    found = [piece.tolist() for piece in fits._pieces(np.arange(25), width, 1000)]
    assert found == [list(range(16)), [16, 17, 18, 19, 20, 21, 22], [23], [24]]
