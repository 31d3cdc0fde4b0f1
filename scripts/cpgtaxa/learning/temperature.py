"""Calibrated probabilities: one temperature, fitted on validation images."""

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Row-wise log-softmax of (n, classes), float64."""
    logits = np.asarray(logits, dtype=np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Row-wise softmax of (n, classes) logits divided by `temperature`, float64."""
    return np.exp(log_softmax(np.asarray(logits, dtype=np.float64) / temperature))


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature that minimises cross-entropy against (n, classes) targets (Guo et al. 2017).

    Bounded to 0.25..8, so that a validation set without a single error does not ask for infinite confidence.
    """
    import scipy.optimize  # here, since jobs that only predict have no need of it

    def loss(log_temperature):
        return -np.mean(np.sum(targets * log_softmax(logits / np.exp(log_temperature)), axis=1))

    found = scipy.optimize.minimize_scalar(loss, bounds=(np.log(0.25), np.log(8.0)), method="bounded")
    return float(np.exp(found.x))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width confidence bins, weighted by their size."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[which == b].mean() - correct[which == b].mean()) * np.mean(which == b) for b in np.unique(which)
    ]
    return float(np.sum(gaps))
