"""The training loop: repeats, resumes, learns; and what its files refuse."""

import json
import subprocess
import sys
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from cpgtaxa.errors import InputError
from cpgtaxa.learning import devices, loop, networks, training
from cpgtaxa.learning.recipes import RECIPES, recipe
from cpgtaxa.learning.temperature import expected_calibration_error, fit_temperature, softmax
from cpgtaxa.models import MODEL_NAMES, create_model
from cpgtaxa.names import TAXA
from cpgtaxa.placement import novelty
from interrupted import interrupted_at

STATISTICS = {"mean": [0.5] * 3, "std": [0.3] * 3}


def easy_images(n, seed=0):
    """Ten classes that differ by where a bright bar stands."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    planes = rng.integers(100, 255, (n, 2, 32, 32)).astype(np.uint8)
    for row, label in enumerate(labels):
        planes[row, :, :, 3 * label : 3 * label + 3] //= 4
    return training.Images(planes, np.eye(10)[labels])


def three_layers(name):
    """A network that learns in moments what a ResNet18 learns in seconds, with running means as that has."""
    layers = torch.nn.Conv2d(3, 8, 4, stride=4), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten()
    return torch.nn.Sequential(*layers, torch.nn.Linear(8 * 8 * 8, 10))


def run(tmp_path, name="run", preset="fast", network=three_layers, **changes):
    settings = {
        "model_name": "ResNet18",
        "recipe": recipe(preset, "ResNet18", {"epochs": 4}),
        "statistics": STATISTICS,
        "seed": 1,
        "device": "cpu",
        "precision": "float32",
        "work": tmp_path / name,
        "log_path": tmp_path / f"{name}.csv",
    } | changes
    with mock.patch.object(training, "create_model", network):
        found = training.train(settings.pop("train_set", easy_images(200)), easy_images(60, 1), **settings)
    return found.state_dict()


def same(one, two):
    return all(torch.equal(one[key], two[key]) for key in one)


def test_it_learns_and_repeats_with_the_seed_and_not_without(tmp_path):
    first = run(tmp_path, "one", network=create_model)
    assert pd.read_csv(tmp_path / "one.csv")["val_acc"].iloc[-1] > 0.4  # chance is 0.1; processors differ
    assert same(first, run(tmp_path, "two", network=create_model))
    assert not same(run(tmp_path, "three"), run(tmp_path, "four", seed=2))


@pytest.mark.parametrize("preset", ["fast", pytest.param("published", marks=pytest.mark.slow)])
def test_a_killed_run_continues_to_the_same_network(tmp_path, preset):
    undisturbed = run(tmp_path, "whole", preset)

    with interrupted_at(2):
        run(tmp_path, "killed", preset)
    assert not (tmp_path / "killed.csv").exists()
    assert same(undisturbed, run(tmp_path, "killed", preset, threads=3))
    logs = [pd.read_csv(tmp_path / f"{name}.csv").drop(columns="epoch_duration_s") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*logs)


@pytest.mark.slow
def test_a_checkpoint_of_other_settings_is_not_resumed(tmp_path):
    run(tmp_path, "shared", seed=1)
    fresh = run(tmp_path, "alone", seed=2)
    assert same(fresh, run(tmp_path, "shared", seed=2))


def test_published_recipes_are_as_published():
    first, later = RECIPES["published"]["ResNet18"], RECIPES["published"]["MixResNet18"]
    assert (first["optimiser"], first["lr"], first["batch"], first["epochs"]) == ("adam", 0.01, 64, 40)
    assert (first["schedule"], first["monitor"]) == ("plateau", "val_acc")
    assert (later["optimiser"], later["lr"], later["momentum"], later["weight_decay"]) == ("sgd", 0.01, 0.9, 1e-4)
    assert (later["batch"], later["epochs"], later["patience"], later["min_delta"]) == (128, 500, 30, 1e-4)


def test_models_are_torchvisions_resnet18_with_ten_outputs():
    network = create_model("MixResNet18")
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_181_642
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 10)
    with pytest.raises(ValueError, match="known: ResNet18, MixResNet18"):
        create_model("ResNet19")


@pytest.mark.parametrize("name", [name for name in MODEL_NAMES if name not in ("ResNet18", "MixResNet18")])
def test_other_networks_end_in_a_linear_layer_that_gives_ten_outputs(name):
    network = create_model(name).eval()
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 10)
    assert network.fc.out_features == 10
    _, features = networks.Predictor(network, STATISTICS, 64, device="cpu", precision="float32").outputs(
        np.zeros((3, 2, 64, 64), dtype=np.uint8)
    )
    assert features.shape == (3, network.fc.in_features)


@pytest.mark.slow
def test_a_mean_of_the_weights_learns_and_resumes(tmp_path):
    chosen = recipe("fast", "ResNet18", {"epochs": 5}) | {"ema": 0.5, "label_smoothing": 0.1}
    undisturbed = run(tmp_path, "whole", recipe=chosen)
    assert pd.read_csv(tmp_path / "whole.csv")["val_acc"].iloc[-1] > 0.4
    assert not same(undisturbed, run(tmp_path, "plain", recipe=chosen | {"ema": 0.0}))
    with interrupted_at(2):
        run(tmp_path, "killed", recipe=chosen)
    assert same(undisturbed, run(tmp_path, "killed", recipe=chosen))


def test_balance_draws_rare_taxa_as_often_as_common_ones():
    labels = ["UniStable"] * 900 + ["BiAge"] * 90 + ["UniStable"] * 10
    targets = training.targets_of(labels, [""] * 990 + ["BiAge"] * 10)
    weights = training.balance(targets)
    assert (weights @ targets)[[TAXA.index("UniStable"), TAXA.index("BiAge")]] == pytest.approx([1, 1], rel=0.06)
    sampler = loop.EpochSampler(1000, 3, weights)
    drawn = list(sampler)
    assert len(drawn) == 1000
    assert drawn == list(sampler)
    assert 400 < np.sum(np.array(drawn) < 900) < 600
    sampler.set_epoch(1)
    assert drawn != list(sampler)


def test_boundary_targets_are_shared():
    targets = training.targets_of(["UniStable", "BiAge"], ["", "TriAge"])
    assert targets[0].tolist() == [1.0] + [0.0] * 9
    assert targets[1, TAXA.index("BiAge")] == targets[1, TAXA.index("TriAge")] == 0.5
    placed = training.targets_of(["UniStable", "BiAge"], ["", "TriAge"], [1.0, 0.8])
    assert placed[1, [TAXA.index("BiAge"), TAXA.index("TriAge")]].tolist() == pytest.approx([0.8, 0.2])


def test_no_gpu_is_said_loudly():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert devices.choose_device("auto") == "cpu"
    with pytest.raises(InputError, match="torch sees no GPU"):
        devices.choose_device("gpu")


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 10))
    labels = np.array([rng.choice(10, p=p) for p in softmax(logits)])
    temperature = fit_temperature(3 * logits, np.eye(10)[labels])
    assert temperature == pytest.approx(3, rel=0.08)
    assert expected_calibration_error(softmax(3 * logits), labels) > 0.1
    assert expected_calibration_error(softmax(3 * logits, temperature), labels) < 0.03


def save(path, content):
    torch.save(content, path)
    return path


def test_resnet18_is_torchvisions():
    from cpgtaxa.models.vision import torchvision

    torch.manual_seed(5)
    theirs = torchvision.models.resnet18(weights=None, num_classes=10)
    torch.manual_seed(5)
    mine = create_model("ResNet18")
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for name, weights in theirs.state_dict().items():
        assert torch.equal(mine.state_dict()[name], weights), name
    images = torch.rand(4, 3, 48, 64)
    outputs = [network(images) for network in (mine, theirs)]  # in training: batch normalisation moves
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    assert torch.equal(mine.conv1.weight.grad, theirs.conv1.weight.grad)
    with torch.no_grad():
        assert torch.equal(mine.eval()(images), theirs.eval()(images))


def test_jobs_that_predict_start_without_what_training_needs():
    """What a job's imports bring in: lightning with torchvision and matplotlib takes longer than all else."""
    scripts = ("predict", "predict_calibration", "predict_test", "use_weights")
    body = [line.strip() for name in scripts for line in (ROOT / f"scripts/{name}.py").read_text().splitlines()]
    imports = "\n".join(line for line in body if line.startswith(("from cpgtaxa", "import")))
    heavy = ("lightning", "torchvision", "torchmetrics", "matplotlib", "sklearn", "torch._dynamo")
    code = f"import sys\n{imports}\nprint([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_weights_of_a_parallel_network_fit(tmp_path):
    parallel = {f"module.{key}": value for key, value in create_model("ResNet18").state_dict().items()}
    networks.load_weights(save(tmp_path / "parallel.pt", parallel), "ResNet18")


def save_whole(network, paths):
    """A network's files as a round writes them."""
    networks.save_model(
        network,
        paths,
        model_name="ResNet18",
        statistics=STATISTICS,
        size=32,
        temperature=1.5,
        recipe={},
        seed=1,
        features=np.zeros((3, 512)),
    )


def test_saved_model_predicts_as_before(tmp_path):
    network = create_model("ResNet18").eval()
    paths = {key: tmp_path / f"m_{key}" for key in ("weights", "stats", "card", "features")}
    save_whole(network, paths)
    card = json.loads(paths["card"].read_text())
    assert (card["model"], card["image_size"], card["temperature"]) == ("ResNet18", 32, 1.5)
    planes = easy_images(10).planes.numpy()
    before = networks.Predictor(network, STATISTICS, 32, device="cpu", precision="float32").logits(planes)
    loaded = networks.load_predictor(**paths, model_name="ResNet18", device="cpu", precision="float32")
    assert (loaded.size, loaded.temperature) == (32, 1.5)
    np.testing.assert_array_equal(loaded.logits(planes), before)
    assert loaded.kept.shape == (3, 512)


def test_features_are_what_the_last_layer_sees():
    network = create_model("ResNet18").eval()
    predictor = networks.Predictor(network, STATISTICS, 32, device="cpu", precision="float32")
    logits, features = predictor.outputs(easy_images(5).planes.numpy(), batch=2)
    expected = features @ network.fc.weight.detach().numpy().T + network.fc.bias.detach().numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert predictor.outputs(np.empty((0, 2, 32, 32), dtype=np.uint8))[1].shape == (0, 512)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (np.zeros((3, 512)), "float64, not"),
        (np.zeros((3, 7), dtype=np.float16), r"shape \(3, 7\)"),
        (np.full((3, 512), np.nan, dtype=np.float16), "not finite"),
        (np.array([{}], dtype=object), "damaged, or no array of numbers"),
        (None, "damaged, or no array of numbers"),
    ],
)
def test_features_that_do_not_fit_are_refused(tmp_path, content, problem):
    path = tmp_path / "features.npy"
    if content is not None:
        np.save(path, content)
    with pytest.raises(InputError, match=problem):
        networks.load_features(path, 512)


def test_a_checkpoint_said_to_be_encrypted_is_not_continued(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"a": torch.zeros(3)}, path)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1  # the flag of encryption in the archive's list of contents
    path.write_bytes(bytes(data))
    assert not loop.is_checkpoint(path)


def test_distances_are_those_to_the_tenth_nearest():
    rng = np.random.default_rng(1)
    kept, features = rng.normal(size=(40, 6)).astype(np.float16), rng.normal(size=(9, 6)).astype(np.float32)
    every = np.sqrt(((features[:, None] - kept[None].astype(np.float32)) ** 2).sum(axis=2))
    np.testing.assert_allclose(novelty.distances(features, kept), np.sort(every, axis=1)[:, 9], rtol=1e-5)
    assert np.isnan(novelty.distances(features, kept[:9])).all()


def test_temperature_is_fitted_on_images_of_one_taxon():
    images = easy_images(60)
    network = create_model("ResNet18").eval()
    arguments = network, STATISTICS, 32
    alone = training.calibrate(*arguments, training.Images(images.planes[:40], images.targets[:40]), "cpu", "float32")
    images.targets[40:] = 0.1
    assert training.calibrate(*arguments, images, "cpu", "float32") == alone


def test_what_round_0_starts_from(tmp_path):
    import yaml
    from conftest import ROOT
    from cpgtaxa.plan.config import check_config
    from cpgtaxa.plan.main import Plan

    def plan(text):
        folder = tmp_path / "reference"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ResNet18_best_model.pt.gz").touch()
        schema = ROOT / "workflow/schemas/config.schema.yaml"
        return Plan(check_config(yaml.safe_load(text), schema), folder.parent)

    assert plan("images: {size: 64}").tunes
    assert plan("images: {size: 224}").tunes
    assert not plan("{images: {size: 64}, training: {recipe: published}}").tunes
    assert not plan("{images: {size: 64}, training: {initial: random}}").tunes
    assert not plan((ROOT / "config/reference.yaml").read_text()).tunes  # or `make reference` would feed on itself
    forced = plan("{training: {initial: reference, recipe: published}}")
    assert forced.tunes
    assert forced.predict_settings()["weights"] is None
    chosen = plan("predict: {weights: reference}").predict_settings()
    assert chosen["weights"].endswith("reference/ResNet18_best_model.pt.gz")
    assert chosen["stats"].endswith("reference/ResNet18_normalization_stat.json")


def test_packed_weights_answer_as_the_network_they_were_made_from(tmp_path):
    from cpgtaxa.learning.classifier import pack_reference

    torch.manual_seed(0)  # untrained networks answer nearly the same to all images: in some, rounding shows too much
    network = create_model("ResNet18").train()
    planes = easy_images(30).planes.numpy()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network(networks.Normalise(STATISTICS)(torch.from_numpy(planes)))
    network.eval()
    paths = {key: tmp_path / f"ResNet18_{key}" for key in ("weights", "stats", "card", "features")}
    save_whole(network, paths)
    out = {key: tmp_path / "out" / path.name for key, path in paths.items()}
    pack_reference(paths, planes, out, seed=1, device="cpu", precision="float32")
    assert out["weights"].stat().st_size < 0.12 * paths["weights"].stat().st_size
    settings = {"model_name": "ResNet18", "device": "cpu", "precision": "float32"}
    first, second = (
        networks.load_predictor(files["weights"], files["stats"], files["card"], **settings).logits(planes)
        for files in (paths, out)
    )
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.5  # all images look alike to this network
    weights = [networks.load_weights(files["weights"], "ResNet18").layer4[1].conv2.weight for files in (paths, out)]
    step = networks.STEP * weights[0].flatten(1).std(1).view(-1, 1, 1, 1)
    assert ((weights[0] - weights[1]).abs() <= 0.501 * step).all()
    assert json.loads(out["card"].read_text())["image_size"] == 32
    again = networks.load_predictor(**out, **settings)  # whose features are kept, not those of the network before
    np.testing.assert_array_equal(again.kept, again.outputs(planes)[1].astype(np.float16))


def test_a_finished_run_in_a_moved_folder_is_taken_as_it_is(tmp_path):
    first = run(tmp_path, "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert same(first, run(tmp_path, "there"))


@pytest.mark.parametrize(("there", "taken"), [(0, []), (1, []), (3, [0, 1, 2, 0])])
def test_jobs_take_several_gpus_in_turn(monkeypatch, there, taken):
    found = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    for number in range(4):
        networks.spread_over_gpus(number)
    assert found == taken


@pytest.fixture
def killed(tmp_path):
    """Folder of a run that died in its third epoch."""
    with interrupted_at(2):
        run(tmp_path, "killed")
    return tmp_path / "killed"


def _edited(part):
    """A library in which the files of a room, or one file, have been edited."""

    def edit(tmp_path, monkeypatch):
        original = loop.sha256
        monkeypatch.setattr(loop, "sha256", lambda path: "edited" if f"cpgtaxa/{part}" in str(path) else original(path))
        return {}

    return edit


OTHER = {
    "config": lambda *_: {"recipe": recipe("fast", "ResNet18", {"epochs": 4, "lr": 0.003})},
    "data": lambda *_: {"train_set": easy_images(200, 7)},
    "code": _edited("models/vision.py"),
    "network": _edited("models/resnet.py"),
    "page": _edited("pages/"),
    "target": _edited("targets/"),
}


@pytest.mark.parametrize(
    "what",
    [
        None,
        "code",
        "page",
        *(pytest.param(what, marks=pytest.mark.slow) for what in OTHER if what not in ("code", "page")),
    ],
)
def test_only_a_checkpoint_of_the_same_config_data_and_code_is_continued(killed, tmp_path, monkeypatch, caplog, what):
    caplog.set_level("INFO")
    before = {path.name for path in killed.iterdir()}
    assert len(before) == 1
    run(tmp_path, "killed", **(OTHER[what](tmp_path, monkeypatch) if what else {}))
    reported = [record.getMessage() for record in caplog.records]
    resumed = any("continuing from the checkpoint" in text for text in reported)
    assert resumed == (what in (None, "page", "target"))
    assert any(text.startswith("epoch 1 of") for text in reported) != resumed
    assert ({path.name for path in killed.iterdir()} == before) == resumed


@pytest.mark.parametrize("name", ["last.ckpt", pytest.param("best.ckpt", marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_not_continued(killed, tmp_path, caplog, name):
    caplog.set_level("INFO")
    path = next(killed.glob(f"*/{name}"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    run(tmp_path, "killed")
    assert "training starts anew" in caplog.text
    assert "epoch 1 of 4" in caplog.text
