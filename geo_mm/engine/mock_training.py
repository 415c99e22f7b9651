"""Training steps of which nothing is kept."""

import contextlib
import copy
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch.func import functional_call
from torch.utils.data import DataLoader

from geo_mm.errors import ConfigError


class MockTraining:
    """Trains the model of a Runner that is about to train, and puts everything back.

    Chips come from a loader that training does not use.

    Args:
        runner: Built, with weights: inside ``before_train`` of a hook.

    Raises:
        ConfigError: If there are several optimisers.
    """

    def __init__(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper) or isinstance(wrapper, OptimWrapperDict):
            raise ConfigError(
                'the learning rate of several optimisers',
                'one optimiser for the whole model',
                'set their learning rates by hand',
            )
        self.runner = runner
        self._wrapper = wrapper
        self.rate: float = runner.cfg.optim_wrapper.optimizer.lr
        # Parameters with a learning rate of their own keep their ratio to the config's.
        self._shares = [
            group.get('initial_lr', group['lr']) / self.rate for group in wrapper.param_groups
        ]
        self._loader = _own_loader(runner)

    @contextlib.contextmanager
    def kept(self) -> Iterator[dict[str, torch.Tensor]]:
        """Puts back what training changes: weights, buffers, optimiser, random generators.

        Yields:
            A copy of the weights, by name.
        """
        wrapper, model = self._wrapper, self._bare_model
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        optimiser = copy.deepcopy(wrapper.state_dict())
        counts, training = (wrapper._inner_count, wrapper._max_counts), self.runner.model.training
        # The real training knows which of its last batches do not fill a step.
        wrapper._inner_count, wrapper._max_counts = 0, -1
        self.runner.model.train()
        try:
            with _generators_kept():
                yield {name: copies[name] for name, _ in model.named_parameters()}
        finally:
            with torch.no_grad():
                for name, tensor in tensors.items():
                    tensor.copy_(copies[name])
            wrapper.zero_grad()
            wrapper.load_state_dict(optimiser)
            wrapper._inner_count, wrapper._max_counts = counts
            self.runner.model.train(training)

    def steps(self) -> Iterator[list[Any]]:
        """The batches of each step of the optimiser, without end; each call begins anew."""
        batches = self._batches()
        while True:
            yield list(itertools.islice(batches, getattr(self._wrapper, '_accumulative_counts', 1)))

    def step(self, batches: Sequence[Any], rate: float) -> dict[str, float]:
        """Trains with the batches of one step; their losses, means over all processes.

        Args:
            batches: One of :meth:`steps`.
            rate: Learning rate, of the config's ``optimizer.lr``.
        """
        for group, share in zip(self._wrapper.param_groups, self._shares, strict=True):
            group['lr'] = rate * share
        model = self.runner.model
        return _means([model.train_step(batch, optim_wrapper=self._wrapper) for batch in batches])

    def loss_of(self, weights: Mapping[str, torch.Tensor], batches: Sequence[Any]) -> float:
        """The loss of a step with other weights and the random numbers that it will draw."""
        model, found = self._bare_model, []
        with _generators_kept(), torch.no_grad(), self._wrapper.optim_context(model):
            for batch in batches:
                data = model.data_preprocessor(copy.deepcopy(batch), True)
                losses = functional_call(model, dict(weights), kwargs={**data, 'mode': 'loss'})
                found.append({'loss': model.parse_losses(losses)[0]})
        return _means(found)['loss']

    def close(self) -> None:
        """Ends the processes of the loader."""
        del self._loader

    @property
    def _bare_model(self) -> BaseModel:
        model = self.runner.model
        return model.module if is_model_wrapper(model) else model

    def _batches(self) -> Iterator[Any]:
        for epoch in itertools.count():
            if hasattr(self._loader.sampler, 'set_epoch'):
                self._loader.sampler.set_epoch(epoch)
            number = -1
            for number, batch in enumerate(self._loader):  # noqa: B007 - asked for below
                yield batch
            if number < 0:
                raise ConfigError(
                    'no batch in an epoch',
                    'chips for a batch at least',
                    'take a smaller batch_size',
                )


def _own_loader(runner: Runner) -> DataLoader:
    """A loader like that of training, whose processes stay until it ends."""
    settings = dict(runner.cfg.train_dataloader, dataset=runner.train_dataloader.dataset)
    settings['persistent_workers'] = settings.get('num_workers', 0) > 0
    return runner.build_dataloader(settings, seed=runner.seed)


def _means(batches: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, float]:
    """Each loss, the mean over batches and all processes."""
    names = [name for name in batches[0] if 'loss' in name]
    rows = [[losses[name].detach().float().mean() for name in names] for losses in batches]
    means = torch.stack([torch.stack(row) for row in rows]).mean(dim=0)
    all_reduce(means, 'mean')
    return dict(zip(names, means.tolist(), strict=True))


@contextlib.contextmanager
def _generators_kept() -> Iterator[None]:
    """Puts random number generators back."""
    generators = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(generators[0])
        np.random.set_state(generators[1])
