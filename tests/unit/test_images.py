"""Packed images, normalisation statistics and lists of images."""

import numpy as np
import pytest
from cpgtaxa.errors import InputError
from cpgtaxa.images import packed as images
from PIL import Image


@pytest.fixture
def planes():
    return np.random.default_rng(0).integers(0, 256, (5, 2, 8, 8), dtype=np.uint8)


NAMES = ["a", "b", "c", "d", "e"]
LABELS = ["UniStable", None, "BiAge", float("nan"), "Outlier"]
ORIGINS = ["cohort", "simulated", "image", "cohort", "cohort"]


@pytest.mark.parametrize("cuts", [[], [2], [1, 1, 4]])
def test_packing_keeps_everything(tmp_path, planes, cuts):
    images.pack(tmp_path / "p.arrow", NAMES, LABELS, ORIGINS, iter(np.split(planes, cuts)), 8)
    packed = images.PackedImages(tmp_path / "p.arrow")
    assert packed.names == NAMES
    assert packed.labels == ["UniStable", None, "BiAge", None, "Outlier"]
    assert packed.origins == ORIGINS
    assert packed.size == 8
    assert len(packed) == 5
    np.testing.assert_array_equal(packed.planes(), planes)
    np.testing.assert_array_equal(packed.take([4, 0, 4]), planes[[4, 0, 4]])
    with pytest.raises(IndexError):
        packed.take([5])
    with pytest.raises(IndexError):
        packed.take([-1])


def test_one_batch_is_not_copied(tmp_path, planes):
    images.pack(tmp_path / "p.arrow", NAMES, LABELS, ORIGINS, [planes], 8)
    packed = images.PackedImages(tmp_path / "p.arrow")
    assert not packed.planes().flags.writeable
    assert packed.planes().base is not None
    assert np.shares_memory(packed.planes(), packed.planes())


def test_an_empty_pack(tmp_path):
    images.pack(tmp_path / "p.arrow", [], [], [], iter([]), 8)
    packed = images.PackedImages(tmp_path / "p.arrow")
    assert packed.names == []
    assert packed.planes().shape == (0, 2, 8, 8)


def test_a_pack_that_does_not_fit_leaves_no_file(tmp_path, planes):
    path = tmp_path / "p.arrow"
    for names, batches in ((NAMES, [planes[:3]]), (NAMES[:3], [planes]), (NAMES, [planes[:, :, :7]])):
        with pytest.raises(ValueError, match="planes"):
            images.pack(path, names, LABELS[: len(names)], ORIGINS[: len(names)], batches, 8)
    with pytest.raises(ValueError, match="nowhere"):
        images.pack(path, NAMES, LABELS, ["nowhere"] * 5, [planes], 8)
    assert not list(tmp_path.iterdir())


def test_bad_packs_are_named(tmp_path, planes):
    path = tmp_path / "p.arrow"
    with pytest.raises(InputError, match=r"p.arrow is not there"):
        images.PackedImages(path)
    images.pack(path, NAMES, LABELS, ORIGINS, [planes], 8)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated"):
        images.PackedImages(path)
    import pyarrow as pa

    table = pa.table({"cpg": ["a"]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as out:
        out.write_table(table)
    with pytest.raises(InputError, match="no packed images"):
        images.PackedImages(path)


def test_normalisation_is_that_of_a_loop_over_images(planes):
    torch = pytest.importorskip("torch")
    means, stds = [], []
    for image in planes:
        tensor = torch.from_numpy(image[[0, 1, 0]]).float() / 255
        means.append(tensor.mean(dim=(1, 2)))
        stds.append(tensor.std(dim=(1, 2)))
    found = images.normalisation(planes)
    np.testing.assert_allclose(found["mean"], torch.stack(means).mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["std"], torch.stack(stds).mean(0), rtol=1e-5)
    assert found["mean"][0] == found["mean"][2]


def test_normalisation_of_large_and_of_white_images():
    white = np.full((2, 2, 224, 224), 255, np.uint8)
    assert images.normalisation(white) == {"mean": [1.0, 1.0, 1.0], "std": [0.0, 0.0, 0.0]}
    with pytest.raises(ValueError, match="no images"):
        images.normalisation(white[:0])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "CpG_image").mkdir()
    for name in ("cg1", "cg2", "cg3"):
        Image.new("RGB", (4, 4)).save(tmp_path / "CpG_image" / f"{name}.png")
    return tmp_path


def listing(folder, text):
    path = folder / "info.csv"
    path.write_text(text)
    return path


def problems_of(path, **options):
    with pytest.raises(InputError) as caught:
        images.read_image_csv(path, **options)
    return caught.value.problems


def test_labels_by_name_and_by_index(folder):
    path = listing(folder, "\ufeffCpG_image/cg1.png,LinAgeHet\nCpG_image/cg2.png, 0\n\nCpG_image/cg3.png,9\n")
    found = images.read_image_csv(path, folder)
    assert found["path"].tolist() == [f"CpG_image/cg{i}.png" for i in (1, 2, 3)]
    assert found["label"].tolist() == ["LinAgeHet", "UniStable", "BiNonAge"]


def test_paths_are_relative_to_the_working_directory_without_a_root(folder, monkeypatch):
    path = listing(folder, f"CpG_image/cg1.png,1\n{folder}/CpG_image/cg2.png,1\n")
    monkeypatch.chdir(folder)
    assert len(images.read_image_csv(path)) == 2
    monkeypatch.chdir(folder / "CpG_image")
    (problem,) = problems_of(path)
    assert "CpG_image/cg1.png" in problem
    assert "1 of 2 images are not there" in problem


def test_labels_may_be_absent_where_they_are_not_required(folder):
    for text in ("CpG_image/cg1.png,\nCpG_image/cg2.png,Unclassified\n", "CpG_image/cg1.png\nCpG_image/cg2.png\n"):
        path = listing(folder, text)
        assert images.read_image_csv(path, folder, labels_required=False)["label"].tolist() == [None, None]
        assert problems_of(path, root=folder)
    path = listing(folder, "CpG_image/cg1.png,BiAge\nCpG_image/cg2.png,\n")
    assert images.read_image_csv(path, folder, labels_required=False)["label"].tolist() == ["BiAge", None]
    (problem,) = problems_of(path, root=folder)
    assert "1 images have no label (lines 2)" in problem
    path = listing(folder, "CpG_image/cg1.png,BiAgee\n")
    assert "'BiAge'" in problems_of(path, root=folder, labels_required=False)[0]


def test_all_problems_are_reported_at_once(folder):
    (folder / "CpG_image" / "text.png").write_text("not an image")
    path = listing(
        folder,
        "CpG_image/cg1.png,LinAgeHomoo\n"
        "CpG_image/cg2.png,10\n"
        "CpG_image/cg2.png,1\n"
        "CpG_image/cg3.png,1,2\n"
        "CpG_image/missing.png,1\n"
        "CpG_image/text.png,1\n"
        "CpG_image/../CpG_image/cg1.png,unistable\n",
    )
    problems = "\n".join(problems_of(path, root=folder))
    for part in (
        "line 1 has the label 'LinAgeHomoo', unknown; did you mean 'LinAgeHomo'?",
        "line 2 has the label '10'",
        "2 images are listed more than once",
        "1 of 7 lines do not have two columns",
        "line 4 has 3",
        "1 of 7 images are not there: 'CpG_image/missing.png (line 5)'",
        "1 files are no images: 'CpG_image/text.png (line 6)'",
        "line 7 has the label 'unistable', unknown; did you mean 'UniStable'?",
    ):
        assert part in problems


def test_lists_that_are_none(folder):
    (folder / "info.csv").write_bytes(b"\x89PNG\xff\xfe\x00")
    assert "a PNG image, not a table" in problems_of(folder / "info.csv")[0]
    path = listing(folder, "CpG_image/cg1.png,1\n")
    assert "folder of images" in problems_of(path, root=folder / "nowhere")[0]
    assert r"'\t'" in problems_of(listing(folder, "CpG_image/cg1.png\t1\n"), root=folder)[0]
