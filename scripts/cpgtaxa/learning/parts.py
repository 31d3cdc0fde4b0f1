"""Batches in parts, one thread each: the numbers are the same for any number of threads, and threads meet but rarely.

torch's own threads share every convolution: they wait for each other hundreds of times a batch, for the slowest on a
busy machine, and add in an order that their number decides. Here a batch is cut by its length alone, every part is
computed by a single thread, which takes the next when it is ready, and what parts give is added in their order.
"""

import concurrent.futures
import copy

import torch

SIZE = 32
"""Images in a part, about. Batch normalisation sees a part, not the batch: see recipes.py among the benchmarks."""


class Parts:
    """Threads that compute parts of a network's batches; within the context torch has no others in this process.

    threads: how many; bfloat16: whether networks run in mixed precision.
    """

    def __init__(self, threads: int, bfloat16: bool):
        self._autocast = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16, cache_enabled=False)
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        self._copies, self._used = [], 0

    def __enter__(self):
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)
        return self

    def __exit__(self, *_):
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._before)

    def __deepcopy__(self, memo):
        return self  # threads cannot be copied; a copy of the module may share them

    def seen(self, function, *batch) -> list:
        """function(*part) without gradients for each part of tensors (n, …), in order."""

        def see(*part):
            with torch.inference_mode(), self._autocast:
                return function(*part)

        return list(self._pool.map(see, *cut(batch)))

    def learnt(self, network, function, *batch) -> list:
        """function(copy of the network, *part) for each part, in order; the gradients wait for `add_gradients`.

        function: returns the part's mean loss, which is left out of the result, and anything else. The network's
        running means take the mean of what they are after each part.
        """
        parts = list(zip(*cut(batch), strict=True))
        self._used = len(parts)
        while len(self._copies) < self._used:
            self._copies.append(copy.deepcopy(network))
        copies = self._copies[: self._used]
        shares = [len(part[0]) / len(batch[0]) for part in parts]

        def learn(twin, share, part):
            _liken(twin, network)
            with self._autocast:
                loss, others = function(twin, *part)
            (loss * share).backward()
            return others

        found = list(self._pool.map(learn, copies, shares, parts))
        with torch.no_grad():
            for mean, *each in zip(network.buffers(), *(twin.buffers() for twin in copies), strict=True):
                if mean.is_floating_point():
                    mean.copy_(sum(share * one for share, one in zip(shares, each, strict=True)))
                else:
                    mean.copy_(each[0])  # a number of batches
        return found

    def add_gradients(self, network) -> None:
        """Give the network's parameters the gradient of the last batch's mean loss."""

        def add(values, first, *others):
            for other in others:
                if other.grad is not None:
                    first.grad.add_(other.grad)
            values.grad = first.grad

        each = zip(network.parameters(), *(twin.parameters() for twin in self._copies[: self._used]), strict=True)
        list(self._pool.map(lambda same: add(*same), each))


def cut(batch) -> list[tuple]:
    """Each tensor (n, …) of a batch in parts of about SIZE rows, of which none has one more than another has."""
    count = max(1, round(len(batch[0]) / SIZE))
    return [tensor.tensor_split(count) for tensor in batch]


def _liken(twin, network) -> None:
    """Have a copy of a network share its weights, start from its running means, and hold no gradient."""
    twin.train(network.training)
    for mine, its in zip(twin.parameters(), network.parameters(), strict=True):
        mine.data, mine.grad = its.data, None
    for mine, its in zip(twin.buffers(), network.buffers(), strict=True):
        mine.copy_(its)
