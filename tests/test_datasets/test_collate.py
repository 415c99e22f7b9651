"""Batches on their way from loader processes: memory is used again, and never too early."""

import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch

from geo_mm.datasets import collate


@pytest.fixture
def buffers(monkeypatch):
    found = []
    monkeypatch.setattr(collate, '_buffers', found)
    return found


def sent(value, size=64):
    """A batch of two chips as it arrives in the main process."""
    chips = [torch.full((3, size, size), value, dtype=torch.uint16)] * 2
    return pickle.loads(ForkingPickler.dumps(collate._SharedBatch({}, [chips])))['inputs']


def test_memory_of_a_batch_that_is_dropped_is_used_again(buffers):
    one = sent(1)
    view = sent(2)[0, 0]  # keeps the memory of its batch
    assert len(buffers) == 2
    del one
    third = sent(3)
    assert len(buffers) == 2
    assert (view.int() == 2).all()
    assert (third.int() == 3).all()


def test_memory_that_is_too_small_is_given_back(buffers):
    sent(1)
    assert [len(buffer) for buffer in buffers] == [2 * 3 * 64 * 64 * 2 + 1]
    assert (sent(2, 128).int() == 2).all()
    assert [len(buffer) for buffer in buffers] == [2 * 3 * 128 * 128 * 2 + 1]
