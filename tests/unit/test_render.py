"""Scatterplot images: geometry, colours against an independent implementation and against R, planes and PNG files."""

import pathlib
import shutil
import subprocess

import numba
import numpy as np
import pytest
from cpgtaxa.errors import InputError
from cpgtaxa.images import render as r
from PIL import Image
from scipy.signal import convolve2d

ROOT = pathlib.Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared" / "data" / "reference_images"
DISC = np.array([[abs(x) <= half for x in range(-3, 4)] for half in (1, 2, 3, 3, 3, 2, 1)])


def codes_of(rgb):
    """The inverse of `to_rgb`."""
    return np.where(rgb[..., 0] == 0, rgb[..., 1], 0).astype(np.uint8)


def reference(beta, ages, shades=256):
    """One image the slow way, from the definitions of densCols, bkde2D and cut: codes (224, 224) and greens (n,)."""
    beta64 = beta.astype(np.float64)
    keep = np.isfinite(beta64)
    points = np.column_stack([ages[keep], beta64[keep]])
    bandwidth = (np.quantile(points, 0.95, axis=0) - np.quantile(points, 0.05, axis=0)) / 25
    bandwidth[bandwidth == 0] = 1
    low, high = points.min(axis=0) - 1.5 * bandwidth, points.max(axis=0) + 1.5 * bandwidth
    counts, kernels, cells = np.zeros((128, 128)), [], []
    position = (points - low) / ((high - low) / 127)
    lower = np.minimum(position.astype(int), 126)
    share = position - lower
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1])
            np.add.at(counts, (lower[:, 0] + dx, lower[:, 1] + dy), weight)
    for axis in (0, 1):
        grid = np.linspace(low[axis], high[axis], 128)
        reach = min(int(3.4 * bandwidth[axis] * 127 / (high[axis] - low[axis])), 127)
        kernels.append(np.exp(-0.5 * ((grid[1] - grid[0]) * np.arange(-reach, reach + 1) / bandwidth[axis]) ** 2))
        bounds = grid - (high[axis] - low[axis]) / 127 / 2
        cells.append(np.searchsorted(bounds, points[:, axis], side="left") - 1)
    density = convolve2d(counts, np.outer(*kernels), mode="same")
    at_points = np.where((cells[0] < 127) & (cells[1] < 127), density[cells[0], cells[1]], 0)
    bins = np.linspace(at_points.min(), at_points.max(), shades + 1)
    shade = np.clip(np.searchsorted(bins, at_points, side="left"), 1, shades) - 1
    greens = np.floor(255 - 155 * shade / (shades - 1) + 0.5).astype(np.uint8)
    columns = np.floor(23.6 + 176.8 * (points[:, 0] - ages.min()) / (ages.max() - ages.min())).astype(int)
    rows = np.floor(200.4 - 176.8 * points[:, 1]).astype(int)
    canvas = np.zeros((224, 224), np.uint8)
    for green, row, column in zip(greens, rows, columns, strict=True):
        canvas[row - 3 : row + 4, column - 3 : column + 4][DISC] = green
    return canvas, greens


def cohort(n, seed=0):
    """Ages (n,) and beta (6, n): narrow, trend, wide, three bands, outliers, near 0 with many equal values."""
    rng = np.random.default_rng(seed)
    ages = rng.gamma(8, 7, n).clip(0, 105)
    beta = np.stack(
        [
            rng.normal(0.96, 0.005, n),
            0.12 - 0.0005 * ages + rng.normal(0, 0.015, n),
            rng.normal(0.5, 0.1, n),
            rng.choice([0.1, 0.5, 0.9], n, p=[0.49, 0.42, 0.09]) + rng.normal(0, 0.03, n),
            np.where(rng.random(n) < 0.02, rng.uniform(0.3, 0.7, n), rng.normal(0.9, 0.01, n)),
            np.round(rng.beta(0.6, 20, n), 2),
        ]
    )
    return beta.clip(0, 1).astype(np.float32), ages


def colour_at_points(code, greens, columns, rows):
    """Greens of the drawn image where a sample is the last of its pixel, and the same samples' expected greens."""
    last = {(row, column): i for i, (row, column) in enumerate(zip(rows, columns, strict=True))}
    seen = np.array(sorted(last.values()))
    return code[rows[seen], columns[seen]], greens[seen]


@pytest.mark.parametrize(("age", "column"), [(20, 23), (90, 200), (55, 112)])
@pytest.mark.parametrize(("value", "row"), [(1.0, 23), (0.0, 200), (0.5, 112)])
def test_disc_lies_where_the_published_axes_put_it(age, column, value, row):
    ages = np.array([20.0, 90.0, 55.0])
    beta = np.where(ages == age, value, np.nan)[None].astype(np.float32)
    code = r.render(beta, ages)[0]
    assert (code > 0).sum() == 37
    np.testing.assert_array_equal(code[row - 3 : row + 4, column - 3 : column + 4] > 0, DISC)


def test_later_samples_hide_earlier_ones():
    # A crowd of 30 at row 112 is dark, a lone sample at row 108 is light: their discs overlap.
    rng = np.random.default_rng(0)
    crowd, others = rng.uniform(0.499, 0.501, 30), rng.uniform(0.1, 0.9, 60)
    ages = np.r_[rng.uniform(49.9, 50.1, 30), 50.0, np.linspace(20, 40, 30), np.linspace(60, 80, 30)]
    beta = np.r_[crowd, 0.522, others].astype(np.float32)
    lone_last = np.r_[:30, 31:91, 30]
    crowd_last = np.r_[30:91, :30]
    near = slice(100, 120), slice(105, 119)
    above = r.render(beta[None, lone_last], ages[lone_last])[0][near]
    below = r.render(beta[None, crowd_last], ages[crowd_last])[0][near]
    light, dark = above[6, 7], above[14, 7]
    assert dark == 100 < light
    assert (above == light).sum() == 37  # whole on top
    assert (below == light).sum() < 37  # partly hidden
    assert (below == dark).sum() > (above == dark).sum()
    np.testing.assert_array_equal(above > 0, below > 0)


def test_ramp_runs_from_255_at_the_sparsest_to_100_at_the_densest():
    beta, ages = cohort(656)
    codes = r.render(beta[:3], ages)
    assert codes[codes > 0].min() >= 100
    _, greens = reference(beta[0], ages)
    assert (greens.min(), greens.max()) == (100, 255)
    # The last sample is not hidden: put the densest, then the sparsest, at the end.
    for extreme, green in ((greens.argmin(), 100), (greens.argmax(), 255)):
        order = np.r_[np.delete(np.arange(656), extreme), extreme]
        code = r.render(beta[:1, order], ages[order])[0]
        row = int(200.4 - 176.8 * float(beta[0, extreme]))
        column = int(23.6 + 176.8 * (ages[extreme] - ages.min()) / np.ptp(ages))
        assert code[row, column] == green


@pytest.mark.parametrize("n", [50, 100, 656, 3500])
def test_pixels_are_those_of_an_independent_implementation(n):
    beta, ages = cohort(n, seed=n)
    for values, code in zip(beta, r.render(beta, ages), strict=True):
        expected, _ = reference(values, ages)
        np.testing.assert_array_equal(code > 0, expected > 0)
        difference = np.abs(code.astype(int) - expected)[expected > 0]
        assert (difference <= 1).mean() >= 0.999
        assert difference.max() <= 2


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="Rscript is not installed")
@pytest.mark.parametrize("n", [100, 656, 3500])
def test_colours_are_those_of_r(n, tmp_path):
    beta, ages = cohort(n, seed=n + 1)
    np.savetxt(tmp_path / "ages", ages, fmt="%.17g")
    np.savetxt(tmp_path / "beta", beta.astype(np.float64), fmt="%.17g")
    script = """
        if (!requireNamespace("KernSmooth", quietly = TRUE)) quit(status = 77)
        setwd(commandArgs(TRUE)[1]); ages <- scan("ages", quiet = TRUE); beta <- as.matrix(read.table("beta"))
        ramp <- colorRampPalette(c("green", "darkgreen"))
        own <- t(apply(beta, 1, function(b) col2rgb(suppressWarnings(densCols(ages, b, colramp = ramp)))[2, ]))
        write.table(own, "own", row.names = FALSE, col.names = FALSE)
        # densCols with 256 colours instead of as many as there are samples.
        shades <- t(apply(beta, 1, function(b) {
            map <- suppressWarnings(grDevices:::.smoothScatterCalcDensity(cbind(ages, b), 128))
            bin <- function(v, u) cut(v, u - diff(range(u)) / (length(u) - 1) / 2, labels = FALSE)
            dens <- map$fhat[cbind(bin(ages, map$x1), bin(b, map$x2))]
            dens[is.na(dens)] <- 0
            col2rgb(ramp(256)[cut(dens, 256, labels = FALSE)])[2, ]
        }))
        write.table(shades, "shades", row.names = FALSE, col.names = FALSE)
    """
    done = subprocess.run(["Rscript", "-e", script, str(tmp_path)], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("R's KernSmooth is not installed")
    assert done.returncode == 0, done.stderr
    columns = np.floor(23.6 + 176.8 * (ages - ages.min()) / np.ptp(ages)).astype(int)
    drawn, exact, own = [], [], []
    tables = np.loadtxt(tmp_path / "shades"), np.loadtxt(tmp_path / "own")
    for values, code, *greens in zip(beta, r.render(beta, ages), *tables, strict=True):
        rows = np.floor(200.4 - 176.8 * values.astype(np.float64)).astype(int)
        for target, source in zip((exact, own), greens, strict=True):
            found, expected = colour_at_points(code, source, columns, rows)
            target.append(expected)
        drawn.append(found)
    # Samples that are last at their pixel can still be hidden by a neighbour; compare those that are not.
    visible = np.concatenate([visible_samples(values, columns) for values in beta])
    drawn, exact, own = (np.concatenate(values)[visible].astype(int) for values in (drawn, exact, own))
    assert len(drawn) > 100
    assert (np.abs(drawn - exact) <= 1).mean() >= 0.999
    # densCols itself uses as many colours as samples: a bin of its ramp and one of ours may lie apart.
    assert np.abs(drawn - own).max() <= np.ceil(155 / min(n, 256)) + 1


def visible_samples(values, columns):
    """Of the samples that are last at their pixel: whether no later disc covers that pixel."""
    rows = np.floor(200.4 - 176.8 * values.astype(np.float64)).astype(int)
    owner = np.full((224, 224), -1)
    last = {}
    for i, (row, column) in enumerate(zip(rows, columns, strict=True)):
        owner[row - 3 : row + 4, column - 3 : column + 4][DISC] = i
        last[row, column] = i
    seen = np.array(sorted(last.values()))
    return owner[rows[seen], columns[seen]] == seen


@pytest.mark.parametrize("draw", [r.render, r.render_smooth])
def test_threads_and_batches_do_not_matter(draw):
    beta, ages = cohort(300)
    beta = np.tile(beta, (5, 1))
    beta[::3, ::7] = np.nan
    several = numba.get_num_threads()
    together = draw(beta, ages)
    try:
        numba.set_num_threads(1)
        alone = draw(beta, ages)
    finally:
        numba.set_num_threads(several)
    one_by_one = np.concatenate([draw(row[None], ages) for row in beta])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, one_by_one)


@pytest.mark.parametrize("draw", [r.render, r.render_smooth])
def test_odd_cohorts_are_drawn_without_failing(draw):
    constant = np.full((1, 40), 0.5, np.float32)
    ages = np.linspace(20, 60, 40)
    assert draw(constant, ages).any()  # no spread of beta at all
    spiked = constant.copy()
    spiked[0, 3] = 0.9  # q95 = q05, but two values
    assert draw(spiked, ages)[0, 35:45].any()
    assert draw(constant, np.full(40, 30.0))[0].any(axis=0)[112]  # one age
    assert (draw(constant[:, :1], ages[:1]) > 0).any()
    assert not draw(np.full((1, 40), np.nan, np.float32), ages).any()
    assert draw(np.array([[-0.5, 1.5]], np.float32), np.array([1.0, 2.0])).any()  # M-values end at the edge
    assert draw(np.empty((0, 40), np.float32), ages).shape == (0, 224, 224)
    with pytest.raises(ValueError, match="samples"):
        draw(constant, ages[:-1])
    with pytest.raises(ValueError, match="finite"):
        draw(constant, np.where(ages > 50, np.nan, ages))


def test_one_density_falls_in_the_middle_of_the_ramp_as_in_r():
    code = r.render(np.array([[0.2, 0.2]], np.float32), np.array([30.0, 30.0]))[0]
    assert set(np.unique(code)) == {0, r.RAMP[127]}


def test_drawing_is_as_it_was():
    """Pixels of a fixed, arithmetic cohort, as first accepted (checked against R and by eye)."""
    step = np.arange(500)
    ages = 20 + (step * 0.6180339887 % 1) * 60
    bands = np.array([0.15, 0.5, 0.85])[(step * 7 // 3) % 3]
    beta = (bands + 0.06 * np.sin(step * 1.7) * np.cos(step * 0.3)).astype(np.float32)
    drawn = r.render(beta[None], ages)[0]
    gold = codes_of(r.read_png(ROOT / "tests" / "gold" / "render_three_bands.png"))
    np.testing.assert_array_equal(drawn > 0, gold > 0)
    assert (np.abs(drawn.astype(int) - gold) <= 1).mean() >= 0.999


def test_smooth_drawing_adds_kernels_up():
    ages = np.array([20.0, 90.0, 55.0, 55.0])
    beta = np.array([[0.5, 0.5, 0.25, 0.75], [0.5, 0.5, 0.75, 0.75]], np.float32)
    apart, together = r.render_smooth(beta, ages)
    # Alone, each sample reaches the densest colour; two at one place make the others half as dense.
    assert apart[:, :40].max() == 255
    assert apart[:, :40][apart[:, :40] > 0].min() < 110
    assert 170 < together[:, :40][together[:, :40] > 0].min() < 185
    assert together[together > 0].min() == 100
    blobs = (apart > 0).sum() / 4
    assert 32 <= blobs <= 41


def test_smooth_drawing_is_that_of_an_independent_implementation():
    beta, ages = cohort(400)
    middles = np.arange(224) + 0.5
    for values, code in zip(beta, r.render_smooth(beta, ages), strict=True):
        total = np.zeros((224, 224))
        for x, y in zip(23.6 + 176.8 * (ages - ages.min()) / np.ptp(ages), 200.4 - 176.8 * values, strict=True):
            squared = (middles - x)[None] ** 2 + (middles - y)[:, None] ** 2
            total += np.where(squared <= 3.47**2, np.exp(-0.5 * squared / 0.95**2), 0)
        level = np.minimum(np.floor(101 * total / total.max() + 0.8), 101)
        expected = np.where(total > 0, np.floor(255 - 155 * level / 101 + 0.5), 0)
        # Ours knows a sample's position to an eighth of a pixel.
        assert ((code > 0) == (expected > 0)).mean() > 0.995
        both = (code > 0) & (expected > 0)
        difference = code[both] - expected[both]
        assert abs(difference.mean()) < 0.4
        assert np.abs(difference).mean() < 2.5


def test_rgb_round_trip():
    codes = r.render(*cohort(200))
    rgb = r.to_rgb(codes)
    assert rgb.shape == (6, 224, 224, 3)
    assert (rgb[codes == 0] == 255).all()
    assert (rgb[codes > 0][:, [0, 2]] == 0).all()
    np.testing.assert_array_equal(codes_of(rgb), codes)


@pytest.mark.parametrize("size", [224, 112, 100, 64, 50, 7, 1])
def test_planes_are_adaptive_averages_of_the_rgb_image(size):
    torch = pytest.importorskip("torch")
    codes = r.render(*cohort(300))
    rgb = r.to_rgb(codes)
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(rgb).permute(0, 3, 1, 2).double(), size).numpy()
    found = r.planes(codes, size)
    assert found.shape == (6, 2, size, size)
    assert found.dtype == np.uint8
    np.testing.assert_array_less(np.abs(found - pooled[:, :2]), 0.5 + 1e-6)
    for image, planes in zip(rgb, found, strict=True):
        np.testing.assert_array_equal(r.planes_of_rgb(image, size), planes)


@pytest.mark.parametrize("shape", [(224, 224), (480, 640), (100, 30), (33, 65)])
def test_planes_of_foreign_images(shape):
    torch = pytest.importorskip("torch")
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(rgb).permute(2, 0, 1).double(), 64).numpy()
    np.testing.assert_array_less(np.abs(r.planes_of_rgb(rgb, 64) - pooled[:2]), 0.5 + 1e-6)


def test_planes_refuse_a_size_they_cannot_make():
    with pytest.raises(ValueError, match="225"):
        r.planes(np.zeros((1, 224, 224), np.uint8), 225)


def test_png_round_trip(tmp_path):
    code = r.render(*cohort(200))[1]
    r.write_png(tmp_path / "a.png", code)
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (224, 224))
    np.testing.assert_array_equal(codes_of(r.read_png(tmp_path / "a.png")), code)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_failed_png_leaves_nothing_behind(tmp_path):
    with pytest.raises(Exception, match=r".*"):
        r.write_png(tmp_path / "a.png", np.zeros(3, np.uint8)[None, None, None])
    assert not list(tmp_path.iterdir())


def test_png_of_other_modes(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.repeat(grey[..., None], 3, axis=-1)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    for name in ("grey", "palette", "grey16"):
        np.testing.assert_array_equal(r.read_png(tmp_path / f"{name}.png"), expected)
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 1] = 200
    rgba[0, :, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    found = r.read_png(tmp_path / "alpha.png")
    assert found[0].tolist() == [[0, 200, 0]] * 2
    assert found[1].tolist() == [[255, 255, 255]] * 2


def test_unreadable_images_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.png does not exist"):
        r.read_png(tmp_path / "nowhere.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(InputError, match=r"text.png cannot be read"):
        r.read_png(tmp_path / "text.png")
    r.write_png(tmp_path / "whole.png", r.render(*cohort(50))[0])
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut.png cannot be read"):
        r.read_png(tmp_path / "cut.png")


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="../shared/data/reference_images is not there")
def test_published_images_fit_the_format():
    paths = sorted(REFERENCE.glob("*.png"))
    assert paths
    columns = []
    for path in paths:
        rgb = r.read_png(path)
        assert rgb.shape == (224, 224, 3)
        codes = codes_of(rgb)
        np.testing.assert_array_equal(r.to_rgb(codes), rgb)
        assert codes[codes > 0].min() >= 100
        assert codes.max() == 255
        columns.append(np.flatnonzero(codes.any(axis=0))[[0, -1]])
    # The youngest and the oldest sample's discs end where ours do.
    ours = np.flatnonzero(r.render(np.full((1, 2), 0.5, np.float32), np.array([20.0, 90.0]))[0].any(axis=0))[[0, -1]]
    assert np.min(columns, axis=0)[0] == ours[0] == 20
    assert np.max(columns, axis=0)[1] == ours[1] == 203


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="../shared/data/reference_images is not there")
def test_published_lone_samples_have_the_size_and_shades_of_ours():
    from scipy.ndimage import find_objects, label

    published = codes_of(r.read_png(REFERENCE / "cg25104868_Outlier.png"))
    parts, _ = label(published > 0, np.ones((3, 3)))
    lone = [published[box] for box in find_objects(parts) if (published[box] > 0).sum() <= 42]
    assert len(lone) >= 6
    assert all(34 <= (part > 0).sum() <= 41 for part in lone)
    assert all(max(part.shape) <= 7 for part in lone)
    # Darker towards the centre: what render_smooth does and a plain disc does not.
    assert all(part[part > 0].max() == 255 and part[part > 0].min() in (249, 250) for part in lone)
