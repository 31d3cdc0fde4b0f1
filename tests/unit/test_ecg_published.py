"""Records in MATLAB files, and ages by another network: from its own file of weights, and from a table."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from conftest import ROOT, SHARED
from cpgtaxa.errors import InputError
from cpgtaxa.models import create_model
from cpgtaxa.plan.config import check_config
from cpgtaxa.targets.ecg import published
from cpgtaxa.targets.ecg.inputs import prepare
from cpgtaxa.targets.ecg.plan import LEADS, EcgPlan
from cpgtaxa.targets.ecg.records import read_record

NPY = {"rate": 500, "leads": list(LEADS), "unit": "mV"}
CODE15 = SHARED / "ecg" / "code15"
CONFIG = {
    "seq_length": 256,
    "net_filter_size": [8, 12],
    "net_seq_lengh": [256, 64],
    "kernel_size": 17,
    "dropout_rate": 0.8,
}


def matlab(path, values, rate=400, **more):
    rates = {"org_sample_rate": [[rate]], "curr_sample_rate": [[rate]]} if rate else {}
    scipy.io.savemat(path, {"feats": values, "idx": [[3]], **rates, **more})
    return path


@pytest.fixture
def values():
    return np.random.default_rng(1).normal(0, 0.3, (12, 900)).astype(np.float32)


def test_a_matlab_record_tells_its_rate_and_the_sheet_its_leads(tmp_path, values):
    path = matlab(tmp_path / "a.mat", values)
    turned = [*LEADS[6:], *LEADS[:6]]
    found = read_record(path, NPY, {"leads": str(turned), "rate": "400"})
    assert (found.rate, found.names) == (400, turned)
    np.testing.assert_allclose(found.values, values)
    assert read_record(matlab(tmp_path / "t.mat", values.T), NPY).notes == ("samples × leads, turned round",)
    assert read_record(matlab(tmp_path / "n.mat", values, rate=None), NPY, {"rate": "250"}).rate == 250


@pytest.mark.parametrize(
    ("rate", "told", "more", "said"),
    [
        (None, {}, {}, "neither the file nor the sheet tells its sampling rate"),
        (400, {"rate": "500"}, {}, "it tells 400 and 500 Hz"),
        (400, {"rate": "fast"}, {}, "its sample_rate in the sheet is 'fast'"),
        (400, {}, {"other": np.zeros((12, 900))}, "one array of 12 leads × samples is wanted"),
        (400, {"leads": "['I', 'II']"}, {}, "one array of 2 leads × samples is wanted"),
        (400, {}, {"feats": np.ones((12, 900), dtype=np.int16)}, "whole numbers whose gain is in a WFDB header"),
    ],
)
def test_a_matlab_record_in_doubt_is_refused(tmp_path, values, rate, told, more, said):
    with pytest.raises(InputError, match=said):
        read_record(matlab(tmp_path / "a.mat", **({"values": values, "rate": rate} | more)), NPY, told)


@pytest.mark.parametrize("size", [0, 40, 200, 5000])
def test_damaged_matlab_records_are_refused(tmp_path, values, size):
    path = matlab(tmp_path / "a.mat", values)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"copy (it|the record) again"):
        read_record(path, NPY)


def as_theirs(folder, *, drop=None):
    """model.pth and config.json as the public training script leaves them; random weights."""
    torch.manual_seed(3)
    blocks = list(zip(CONFIG["net_filter_size"], CONFIG["net_seq_lengh"], strict=True))
    network = create_model("AgeResNet", samples=256, blocks=blocks)
    for name, values in network.named_buffers():  # as after training
        if name.endswith(("mean", "var")):
            values.uniform_(0.5, 1.5)
    state = {name: values for name, values in network.state_dict().items() if name != drop}
    folder.mkdir(parents=True)
    optimizer = torch.optim.Adam(network.parameters()).state_dict()
    torch.save(
        {"epoch": 7, "model": state, "valid_loss": np.float32(123.4), "optimizer": optimizer}, folder / "model.pth"
    )
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return network.eval()


def by_hand(state: dict, x: torch.Tensor) -> torch.Tensor:
    """What the published network computes with its weights, layer by layer as its article has it."""
    fn = torch.nn.functional

    def normed(name, x):
        return fn.batch_norm(
            x, *(state[f"{name}.{what}"] for what in ("running_mean", "running_var", "weight", "bias"))
        )

    x = y = normed("bn1", fn.conv1d(x, state["conv1.weight"], padding=8))
    at = "resblock1d_0"
    inner = fn.relu(normed(f"{at}.bn1", fn.conv1d(x, state[f"{at}.conv1.weight"], padding=8)))
    y = fn.conv1d(inner, state[f"{at}.conv2.weight"], padding=8) + y
    x = fn.relu(normed(f"{at}.bn2", y))
    at = "resblock1d_1"
    inner = fn.relu(normed(f"{at}.bn1", fn.conv1d(x, state[f"{at}.conv1.weight"], padding=8)))
    skipped = fn.conv1d(fn.max_pool1d(y, 4), state[f"{at}.skip_connection.1.weight"])
    y = fn.conv1d(inner, state[f"{at}.conv2.weight"], stride=4, padding=7) + skipped
    x = fn.relu(normed(f"{at}.bn2", y))
    return fn.linear(x.reshape(len(x), -1), state["lin.weight"], state["lin.bias"])[:, 0]


def test_published_weights_load_and_say_what_the_published_layers_say(tmp_path):
    made = as_theirs(tmp_path / "model")
    network, samples, hertz = published.load_network(tmp_path / "model/model.pth", tmp_path / "model/config.json")
    assert (samples, hertz) == (256, 400)
    x = torch.randn(3, 12, 256)
    with torch.no_grad():
        found = network.eval()(x)
    torch.testing.assert_close(found, by_hand(made.state_dict(), x))
    assert found.std() > 0
    assert sum(one.numel() for one in create_model("AgeResNet").parameters()) == 6_924_705


@pytest.mark.parametrize("spoil", ["cut", "lacks a layer", "another shape", "code"])
def test_weights_that_do_not_fit_are_refused(tmp_path, spoil):
    folder = tmp_path / "model"
    as_theirs(folder, drop="lin.bias" if spoil == "lacks a layer" else None)
    if spoil == "cut":
        (folder / "model.pth").write_bytes((folder / "model.pth").read_bytes()[:3000])
    if spoil == "another shape":
        (folder / "config.json").write_text(json.dumps(CONFIG | {"net_filter_size": [8, 16]}))
    if spoil == "code":
        torch.save({"model": pd.Series([1.0])}, folder / "model.pth")
    with pytest.raises(InputError, match="is not of the network in"):
        published.load_network(folder / "model.pth", folder / "config.json")


def test_records_are_padded_and_cut_in_the_middle_as_theirs():
    short = published.as_published(np.ones((12, 100)), 400, 256, 400)
    assert short[:, 78:178].min() == 1
    assert short.sum() == 1200
    long = published.as_published(np.tile(np.arange(300.0), (12, 1)), 400, 256, 400)
    assert (long[0, 0], long[0, -1]) == (22, 277)


def test_the_config_asks_for_what_is_needed():
    defaults = check_config({"ecg_age": {}}, ROOT / "workflow/schemas/config.schema.yaml")
    settings = defaults["ecg_age"] | {"published": {"column": "theirs", "network": None}, "records": "r"}
    with pytest.raises(InputError, match=r"set ecg_age.asked and ecg_age.sheet too"):
        EcgPlan(defaults | {"ecg_age": settings})
    assert EcgPlan(defaults).published_files == {}


@pytest.fixture
def asked(tmp_path):
    """The ten records of CODE-15 as asked about, and what the step of another network is given and told."""
    folder = tmp_path / "input"
    folder.mkdir()
    out = {name: folder / name for name in ("signals", "leads", "records", "left_out", "qc")}
    settings = {"npy": NPY, "lead_names": {}, "max_lost_leads": 6, "min_seconds": 5, "groups": ["adult"], "others": []}
    settings |= {"folders": [["adult", str(CODE15)]]}
    prepare({"sheet": CODE15 / "meta.csv"}, out, settings=settings, seed=1)
    records = pd.read_parquet(out["records"])
    known = pd.DataFrame({"record": ["a", "b", "c"], "group": "adult", "age": [40.0, 50, 90]})
    known.to_parquet(tmp_path / "known.parquet")
    records[["record"]].assign(predicted=60.0).to_parquet(tmp_path / "ours.parquet")
    given = {"predictions": [tmp_path / "ours.parquet"], "records": tmp_path / "known.parquet"}
    given |= {"asked": out["records"], "sheet": CODE15 / "meta.csv"}
    told = {"networks": {"adult": "ResDenseNet"}, "column": "nn_predicted_age", "coverage": 0.9}
    return given, settings | told | {"device": "cpu", "precision": "float32", "threads": 1}


@pytest.mark.skipif(not CODE15.is_dir(), reason="needs ../shared/data/ecg/code15")
def test_ages_of_another_network_stand_beside_ours(tmp_path, asked):
    given, settings = asked
    as_theirs(tmp_path / "model")
    given["network"] = [tmp_path / "model/model.pth", tmp_path / "model/config.json"]
    out = {"ages": tmp_path / "ages.csv", "scores": tmp_path / "scores.csv"}
    published.compare(given, out, settings=settings, seed=1)
    scores = pd.read_csv(out["scores"]).set_index("model")
    assert list(scores.index) == ["ResDenseNet", "Median", "nn_predicted_age", "AgeResNet"]
    meta = pd.read_csv(CODE15 / "meta.csv")
    theirs = (meta["nn_predicted_age"] - meta["age"]).abs()
    row = scores.loc["nn_predicted_age"]
    assert row["n"] == 10
    assert row["mae"] == pytest.approx(theirs.mean(), abs=1e-3)
    assert row["mae_low"] < row["mae"] < row["mae_high"]
    assert row["difference"] == pytest.approx((60 - meta["age"]).abs().mean() - theirs.mean(), abs=1e-3)
    assert scores.loc["Median", "mae"] == pytest.approx((50 - meta["age"]).abs().mean(), abs=1e-3)
    ages = pd.read_csv(out["ages"]).set_index("record")
    record = read_record(CODE15 / "code_15_438277.mat", NPY)
    network, samples, hertz = published.load_network(*given["network"])
    signal = torch.from_numpy(published.as_published(record.values, record.rate, samples, hertz))[None]
    with torch.no_grad():
        expected = network.eval()(signal).item()
    assert ages.loc["code_15_438277", "AgeResNet"] == pytest.approx(expected, abs=1e-3)
    assert ages.loc["code_15_438277", "age"] == 46


@pytest.mark.skipif(not CODE15.is_dir(), reason="needs ../shared/data/ecg/code15")
def test_a_column_that_is_not_there_or_holds_no_ages_is_named(tmp_path, asked):
    given, settings = asked
    out = {"ages": tmp_path / "ages.csv", "scores": tmp_path / "scores.csv"}
    with pytest.raises(InputError, match="has no column 'theirs'"):
        published.compare(given, out, settings=settings | {"column": "theirs"}, seed=1)
    with pytest.raises(InputError, match=r"10 values are no ages, such as 'code_15_438277.mat'"):
        published.compare(given, out, settings=settings | {"column": "save_file"}, seed=1)
    assert not out["ages"].exists()
    assert not out["scores"].exists()
