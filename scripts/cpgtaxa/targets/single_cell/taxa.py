"""Where the cells meet the taxonomy: does the sequence around a CpG predict its taxon?"""

import logging
import pathlib
import shutil

from cpgtaxa.errors import InputError
from cpgtaxa.files import atomic_folder, write_json, write_parquet
from cpgtaxa.learning.loop import use_threads
from cpgtaxa.targets.single_cell import from_sequence
from cpgtaxa.targets.single_cell.genome import open_genome
from cpgtaxa.targets.single_cell.windows import sequence_windows

RECIPE = {"batch": 64, "lr": 1e-3, "lr_decay": 0.8, "l1": 0.0, "l2": 1e-4, "patience": 3}
MOST_NOT_CPG = 0.05
"""Share of the CpGs that may be none in the genome: more are of another build."""


def predict_taxa(inputs: dict, folder, *, settings: dict, seed: int, work) -> None:
    """Cross-predict the CpGs' taxa from their windows, by a network and by k-mers, and compare with chance.

    inputs: paths `taxonomy`, `positions`, `genome`. Writes into `folder`: `predictions.parquet` (see
    `from_sequence.ask`), `scores.json` (taxa, counts, notes, and by model scores and permutation test) and a training
    log per fold. work: folder for checkpoints. Raises InputError where tables, genome and folds do not fit.
    """
    use_threads(settings["threads"])
    genome = open_genome(inputs["genome"])
    labels, notes = from_sequence.read_labels(
        inputs["taxonomy"], inputs["positions"], settings["columns"], genome.names
    )
    labels = from_sequence.cap(labels, settings["max_per_taxon"], seed)
    dna, is_cpg = sequence_windows(genome, labels["chrom"], labels["position"], settings["dna_wlen"])
    if (~is_cpg).mean() > MOST_NOT_CPG:
        example = labels[~is_cpg].iloc[0]
        raise InputError(
            f"single_cell.taxa.positions: {inputs['positions']}: {(~is_cpg).sum():,} of {len(labels):,} CpGs are none "
            f"in the genome {inputs['genome']} ({example['cpg']} at {example['chrom']}:{example['position']}, say). "
            "Positions are of the C, counted from 1: give those of the genome's build"
        )
    if not is_cpg.all():
        notes.append(f"{(~is_cpg).sum():,} CpGs that are none in the genome were left out")
    labels, dna = labels[is_cpg].reset_index(drop=True), dna[is_cpg]
    fold = from_sequence.folds(
        labels["chrom"].to_numpy(), labels["position"].to_numpy(), settings["folds"], settings["dna_wlen"]
    )
    logging.info(f"{len(labels):,} CpGs of {labels['taxon'].nunique()} taxa, {settings['folds']} folds")
    recipe = RECIPE | {key: settings[key] for key in ("epochs", "device", "precision")}
    models = [settings["model"], from_sequence.KMERS]
    with atomic_folder(folder) as temporary:
        found, scores = from_sequence.ask(
            labels,
            dna,
            fold,
            models,
            settings=recipe,
            seed=seed,
            work=pathlib.Path(work),
            logs=temporary,
            permutations=settings["permutations"],
        )
        write_parquet(temporary / "predictions.parquet", found)
        taxa = [taxon for taxon in from_sequence.TAXA if taxon in set(labels["taxon"])]
        left_out = int((fold < 0).sum())
        if left_out:
            notes.append(f"{left_out:,} CpGs at the cuts between folds were left out")
        counts = {taxon: int(number) for taxon, number in labels["taxon"].value_counts().items()}
        write_json(temporary / "scores.json", {"taxa": taxa, "counts": counts, "notes": notes, "models": scores})
    shutil.rmtree(work, ignore_errors=True)  # nothing is left to continue
    for model in models:
        test = scores[model]["test"]
        logging.info(
            f"{model}: balanced accuracy {test['value']:.3f}, by chance {test['chance']:.3f}, p {test['p']:.2g}"
        )
