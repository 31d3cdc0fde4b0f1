"""The network in whole numbers beside the same in float32, and when it is used."""

import logging
import pathlib

import numpy as np
import pandas as pd
import pytest
from cpgtaxa.cohort import CohortWriter
from cpgtaxa.errors import InputError
from cpgtaxa.files import read_parquet, write_parquet
from cpgtaxa.learning import engine, prediction
from cpgtaxa.learning.networks import load_predictor
from cpgtaxa.names import CHECK_COLUMNS, PROBABILITY_COLUMNS, TAXA
from cpgtaxa.placement import selection

REFERENCE = pathlib.Path(__file__).resolve().parents[2] / "resources/reference"
NETWORK = {
    "weights": REFERENCE / "ResNet18_best_model.pt.gz",
    "stats": REFERENCE / "ResNet18_normalization_stat.json",
    "card": REFERENCE / "ResNet18_model.json",
    "features": REFERENCE / "ResNet18_features.npy",
}
AGES = np.random.default_rng(5).uniform(20, 80, 150)
needs_openvino = pytest.mark.skipif(engine.fits() is not None, reason=f"no OpenVINO here: {engine.fits()}")


@pytest.fixture(scope="module")
def exact():
    return load_predictor(**NETWORK, model_name="ResNet18", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def quick(exact):
    return engine.Engine(exact, engine.settling_images(AGES, exact.size, 1))


@needs_openvino
def test_taxa_are_those_of_the_network_in_float32_for_any_parts(exact, quick):
    images = engine.settling_images(AGES, exact.size, 2)
    logits, features = exact.outputs(images)
    rounded, seen = quick.outputs(images)
    assert np.mean(rounded.argmax(axis=1) == logits.argmax(axis=1)) >= 0.995
    assert np.linalg.norm(seen - features) < 0.05 * np.linalg.norm(features)
    alone = np.concatenate([quick.outputs(images[start : start + 37])[0] for start in range(0, len(images), 37)])
    np.testing.assert_array_equal(alone, rounded)
    assert len(quick.outputs(images[:0])[0]) == 0
    close = np.abs(rounded - logits).max(axis=1) < 1e-3  # those shown in float32
    leads = np.sort(logits, axis=1)[:, -1] - np.sort(logits, axis=1)[:, -2]
    assert close[leads < quick.lead / 2].all()
    assert 0.02 < close.mean() < 0.5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_in_torch_an_image_does_not_depend_on_those_beside_it(precision):
    predictor = load_predictor(**NETWORK, model_name="ResNet18", device="cpu", precision=precision)
    images = engine.settling_images(AGES, predictor.size, 3)[:67]
    whole = predictor.outputs(images)
    for size in (1, 3, 22, 33):
        parts = [predictor.outputs(images[start : start + size]) for start in range(0, len(images), size)]
        for place in (0, 1):
            np.testing.assert_array_equal(np.concatenate([part[place] for part in parts]), whole[place])
    assert predictor.outputs(images[:0])[0].shape == (0, len(TAXA))


@needs_openvino
def test_shards_agree_and_some_cpgs_are_checked_in_float32(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    beta = np.clip(rng.normal(rng.uniform(0.2, 0.8, (60, 1)), rng.uniform(0.01, 0.1, (60, 1)), (60, len(AGES))), 0, 1)
    with CohortWriter(tmp_path / "beta.arrow", [f"S{at}" for at in range(len(AGES))]) as writer:
        writer.append([f"cg{at}" for at in range(60)], beta.astype(np.float32))
    write_parquet(tmp_path / "samples.parquet", pd.DataFrame({"sample_id": "S", "age": AGES}))
    write_parquet(tmp_path / "labels.parquet", pd.DataFrame({"taxon": ["Unclassified"] * 60}))
    monkeypatch.setattr(prediction, "CHECKED_SHARE", 0.25)
    files = [tmp_path / name for name in ("beta.arrow", "samples.parquet", "labels.parquet")]
    settings = {"round_number": 0, "predict_labelled": True, "seed": 1, "device": "cpu", "precision": "auto"}
    tables = {}
    for shards in (1, 2):
        parts = []
        for shard in range(shards):
            out = tmp_path / f"{shard}-of-{shards}.parquet"
            given = settings | {"shard": shard, "shards": shards, "engine": "openvino"}
            prediction.predict_shard(NETWORK, *files, [], out, **given)
            parts.append(read_parquet(out))
        tables[shards] = pd.concat(parts, ignore_index=True)
    pd.testing.assert_frame_equal(tables[1], tables[2])
    found = selection.as_in_float32(tables[1])
    assert found["checked_cpgs"] == 15
    assert found["checked_same"] == 15
    assert 0 < found["checked_difference"] < 0.05


def test_all_jobs_of_a_run_decide_alike_by_the_cpgs_of_the_first_round(tmp_path, monkeypatch):
    """Nine CpGs, six of them labelled: shards, the second round and the calibration go by what the first predicts."""
    beta = np.random.default_rng(7).uniform(0.3, 0.6, (9, len(AGES))).astype(np.float32)
    with CohortWriter(tmp_path / "beta.arrow", [f"S{at}" for at in range(len(AGES))]) as writer:
        writer.append([f"cg{at}" for at in range(9)], beta)
    write_parquet(tmp_path / "samples.parquet", pd.DataFrame({"sample_id": "S", "age": AGES}))
    write_parquet(tmp_path / "labels.parquet", pd.DataFrame({"taxon": ["UniStable"] * 6 + ["Unclassified"] * 3}))
    files = [tmp_path / name for name in ("beta.arrow", "samples.parquet", "labels.parquet")]
    settings = {"seed": 1, "device": "cpu", "precision": "auto", "engine": "auto"}
    out, given = tmp_path / "out.parquet", []

    def stand_in(*arguments, cpgs, **how):
        given.append(cpgs)
        return load_predictor(**NETWORK, model_name="ResNet18", device="cpu", precision="float32")

    monkeypatch.setattr(prediction, "_predictor", stand_in)
    for predict_labelled, cpgs in ((True, 9), (False, 3)):
        given.clear()
        asked = settings | {"predict_labelled": predict_labelled}
        for round_number, shard, least in ((0, 2, 1), (1, 2, 1), (0, 0, 9)):
            cut = {"round_number": round_number, "shard": shard, "shards": 3, "least": least}
            prediction.predict_shard(NETWORK, *files, [], out, **asked, **cut)
        assert len(read_parquet(out)) == cpgs  # in one shard of nine at least
        prediction.predict_calibration(NETWORK, *files, [], out, model_name="ResNet18", **asked)
        assert given == [cpgs] * 4
        cut |= {"shard": 1}
        prediction.predict_shard(NETWORK, *files, [], out, **asked, **cut)
        assert len(read_parquet(out)) == 0
        assert given == [cpgs] * 4  # no network was loaded


def test_openvino_is_used_where_it_fits_and_saves_time_and_nothing_else_is_asked_for(monkeypatch):
    many = engine.MANY
    monkeypatch.setattr(engine, "fits", lambda: None)
    assert engine.wanted("auto", "cpu", "auto", many)
    assert not engine.wanted("auto", "cpu", "auto", many - 1)
    assert engine.wanted("openvino", "cpu", "float32", 1)
    for settings in (("torch", "cpu", "auto"), ("auto", "gpu", "auto"), ("auto", "cpu", "float32")):
        assert not engine.wanted(*settings, many)
    monkeypatch.setattr(engine, "fits", lambda: "the package openvino is not installed")
    assert not engine.wanted("auto", "cpu", "auto", many)
    with pytest.raises(InputError, match=r"training\.engine is openvino, but the package openvino is not installed"):
        engine.wanted("openvino", "cpu", "auto", many)


def test_torch_classifies_what_openvino_cannot(exact, monkeypatch, caplog):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    assert engine.quicker(exact, engine.settling_images(AGES, exact.size, 1)) is exact
    assert "torch does" in caplog.text


@needs_openvino
def test_torch_classifies_where_nearly_all_would_be_close(exact, monkeypatch, caplog):
    monkeypatch.setattr(engine, "CLOSE", 1e6)
    assert engine.quicker(exact, engine.settling_images(AGES, exact.size, 1)) is exact
    assert "would be close" in caplog.text


def _predictions(same: int, n: int) -> pd.DataFrame:
    """n checked CpGs, `same` of them with the first taxon of float32, and one that is not checked."""
    p = np.eye(len(TAXA))[np.zeros(n + 1, dtype=int)]
    exact = np.eye(len(TAXA))[np.where(np.arange(n + 1) < same, 0, 1)]
    exact[n] = np.nan
    table = pd.DataFrame(p, columns=list(PROBABILITY_COLUMNS))
    return table.assign(**dict(zip(CHECK_COLUMNS, exact.T, strict=True)), cpg=[f"cg{at}" for at in range(n + 1)])


def test_the_check_counts_and_warns(caplog):
    with caplog.at_level(logging.WARNING):
        assert selection.as_in_float32(_predictions(40, 40)) == {
            "engine": "openvino",
            "checked_cpgs": 40,
            "checked_same": 40,
            "checked_difference": 0.0,
        }
        assert not caplog.text
        assert selection.as_in_float32(_predictions(39, 40))["checked_same"] == 39
    assert "only 97.50 % of 40 CpGs; set training.engine to torch" in caplog.text
    torch = _predictions(1, 1).drop(columns=list(CHECK_COLUMNS))
    assert selection.as_in_float32(torch) == {"engine": "torch"}
    assert selection.as_in_float32(torch[:0]) == {}


def test_of_placed_cpgs_the_taxa_that_the_tests_leave_are_compared():
    table = _predictions(2, 4)
    ruled_out = np.zeros((5, len(TAXA)), dtype=bool)
    ruled_out[2, 1] = True  # what float32 would choose is ruled out: the taxon next to it is chosen
    calls = selection.Calls(table, pd.DataFrame(index=range(5)), ruled_out)
    found = selection._placed_as_in_float32(calls, np.array([True, False, True, True, True]))
    assert found == {"checked_placed": 3, "checked_placed_same": 2}


def test_why_openvino_does_not_fit_is_said(monkeypatch):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    assert engine.fits() == "the package openvino is not installed"
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: name)
    for flags, reason in (("flags : sse2 avx", "the processor has no AVX2"), ("flags : avx avx2 fma", None)):
        monkeypatch.setattr(pathlib.Path, "read_text", lambda path, flags=flags: flags)
        assert engine.fits() == reason
