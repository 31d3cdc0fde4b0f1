"""How good a network is, from its predictions of the test images."""

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, f1_score

from cpgtaxa.files import read_json, write_json
from cpgtaxa.learning.temperature import expected_calibration_error, softmax
from cpgtaxa.names import INDEX, TAXA


def scores(table: pd.DataFrame, temperature: float) -> dict:
    """Accuracy, macro-F1 over the taxa present, expected calibration error before and after scaling, confusions.

    table: the published prediction table. temperature: of the model's card.
    """
    actual = table["ActualLabel"].map(INDEX).to_numpy()
    predicted = table["PredictedLabelIndex"].to_numpy()
    raw = table[list(TAXA)].to_numpy()
    calibrated = softmax(np.log(np.clip(raw, 1e-30, 1)), temperature)
    present = sorted(set(actual.tolist()))
    return {
        "n": len(table),
        "accuracy": float(np.mean(actual == predicted)),
        "macro_f1": float(f1_score(actual, predicted, labels=present, average="macro", zero_division=0)),
        "calibration_error_raw": expected_calibration_error(raw, actual),
        "calibration_error": expected_calibration_error(calibrated, actual),
        "confusion": confusion_matrix(actual, predicted, labels=range(len(TAXA))).tolist(),
    }


def evaluate(predictions, log, card, out) -> None:
    """Write a round's metrics.json: scores over all test images, over the cohort's own and over the simulated ones.

    Also validation accuracy (best and last epoch) and training time from the log. Confusion matrices have the actual
    taxon in rows, the predicted one in columns, both in the order of `taxa`.
    """
    table = pd.read_csv(predictions)
    epochs = pd.read_csv(log)
    model = read_json(card)
    simulated = table["ImagePath"].str.startswith("results/simulated/")
    groups = {"test": table, "test_cohort": table[~simulated], "test_simulated": table[simulated]}
    metrics = {"model": model["model"], "taxa": list(TAXA), "temperature": model["temperature"]}
    metrics |= {name: scores(rows, model["temperature"]) for name, rows in groups.items() if len(rows)}
    if len(epochs):
        metrics["validation"] = {
            "best_accuracy": float(epochs["val_acc"].max()),
            "best_accuracy_epoch": int(epochs.loc[epochs["val_acc"].idxmax(), "epoch"]),
            "last_accuracy": float(epochs["val_acc"].iloc[-1]),
            "epochs": len(epochs),
            "training_seconds": float(epochs["epoch_duration_s"].sum()),
        }
    write_json(out, metrics)
