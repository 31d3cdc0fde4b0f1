"""A training that ends by force."""

import contextlib
from unittest import mock

import pytest
from cpgtaxa.learning.loop import TrainingLog


@contextlib.contextmanager
def interrupted_at(epoch):
    """What is trained within must end by force as this epoch, counted from 0, begins."""
    original = TrainingLog.on_train_epoch_start

    def begin(self, trainer, module):
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt
        original(self, trainer, module)

    stop = mock.patch.object(TrainingLog, "on_train_epoch_start", begin)
    with stop, pytest.raises((KeyboardInterrupt, SystemExit)):
        yield
