"""Simulated training images, drawn for a cohort's own ages and sample size, and for cohorts unlike it."""

import logging
import pathlib

import numpy as np
import pandas as pd

from cpgtaxa.files import write_parquet
from cpgtaxa.images.packed import pack
from cpgtaxa.images.render import planes, render, render_smooth, write_png
from cpgtaxa.names import TAXA
from cpgtaxa.progress import Progress, so_far
from cpgtaxa.simulation import simulate
from cpgtaxa.taxa.criteria import BY_NAME, RULES

GROUP = 64
"""CpGs simulated in one setting, with the same batches and hidden factors."""


TWO_BANDS_SHARE = 0.6
"""Share of two taxa that goes to the banded one, for bands without a plain valley: wide clouds are rarely one band."""


def share_of(profile: simulate.Profile, setting: simulate.Setting) -> float:
    """How much of a CpG's target goes to its taxon: 1 for a clear one, else by its place in the zone, 0.05 to 0.95.

    The rest goes to the other taxon that is right.
    """
    if not profile.other or profile.kind not in BY_NAME:
        return 0.5 if profile.other else 1.0
    criterion = BY_NAME[profile.kind]
    low, high, value = (
        float(criterion.scaled(number))
        for number in (criterion.low, criterion.high, profile.quantities(setting)[profile.kind])
    )
    yes = TWO_BANDS_SHARE if profile.kind == "two_bands" else min(max((value - low) / (high - low), 0.05), 0.95)
    key = "two_bands" if profile.kind == "band_share" else profile.kind
    return yes if RULES[profile.taxon].get(key, False) else 1 - yes


def plan(seed: int, per_taxon: int, boundary: int) -> list[str | None]:
    """Taxon of each simulated training CpG, None for boundary CpGs, shuffled."""
    wanted = [taxon for taxon in TAXA for _ in range(per_taxon)] + [None] * boundary
    return [wanted[index] for index in np.random.default_rng([seed, 7]).permutation(len(wanted))]


def simulate_group(seed: int, group: int, members: list, ages: np.ndarray, broad_share: float):
    """Profiles and values of one group of CpGs: (profiles, values (k, n) float32, setting, renderer).

    With probability `broad_share` the group gets a cohort of its own, of any size and ages; else the given ages. Half
    of those groups are drawn with `render_smooth`, whose pixels are nearer to the published images than `render`'s,
    so that a network knows both.
    """
    rng = np.random.default_rng([seed, 11, group])
    broad = rng.random() < broad_share
    setting = simulate.draw_broad_setting(rng) if broad else simulate.make_setting(ages, rng)
    drawn = [simulate.draw_cpg(seed, group * GROUP + k, taxon, setting) for k, taxon in enumerate(members)]
    renderer = render_smooth if broad and rng.random() < 0.5 else render
    return [profile for profile, _ in drawn], np.stack([values for _, values in drawn]), setting, renderer


def simulate_images(
    ages,
    *,
    seed: int,
    per_taxon: int,
    boundary: int,
    broad_share: float,
    size: int,
    out_images,
    out_info,
    png_folder=None,
) -> None:
    """Simulate, draw and pack training images.

    ages: (n,) years of the cohort's samples. size: pixels of the packed images (drawn at 224 and area-averaged).
    out_images: packed images, named by the path of their PNG. out_info: table path, label, other (second taxon of a
    boundary CpG), share (of the label, see `share_of`), kind, and the profile's parameters. png_folder: also write
    224×224 PNGs there.
    """
    ages = np.asarray(ages, dtype=float)
    members = plan(seed, per_taxon, boundary)
    folder = pathlib.Path(png_folder) if png_folder else pathlib.Path(out_images).parent / "CpG_image"
    if png_folder:
        folder.mkdir(parents=True, exist_ok=True)
    paths = [f"{folder}/sim_{index:06d}.png" for index in range(len(members))]
    rows, progress = [], Progress(len(members), "images simulated")

    def batches():
        for group, start in enumerate(range(0, len(members), GROUP)):
            block = members[start : start + GROUP]
            profiles, values, setting, renderer = simulate_group(seed, group, block, ages, broad_share)
            codes = renderer(values, setting.ages)
            for profile, image in zip(profiles, codes, strict=True):
                path, share = paths[len(rows)], share_of(profile, setting)
                rows.append({"path": path, "n_samples": setting.n, "share": share} | profile.row())
                if png_folder:
                    write_png(path, image)
            progress.step(len(codes))
            yield planes(codes, size)

    # A boundary CpG has no label of its own: networks get it as a share of each of its two taxa.
    pack(out_images, paths, members, ["simulated"] * len(members), batches(), size)
    info = pd.DataFrame(rows).rename(columns={"taxon": "label"})
    write_parquet(out_info, info)
    logging.info(f"{len(members):,} images simulated in {so_far(progress.spent())}")
