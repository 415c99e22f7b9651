import io
import pickle
import subprocess
from collections import OrderedDict

import numpy as np
import pytest
import torch

from geo_mm.engine import plain_pickle


def through_file(value, **save):
    file = io.BytesIO()
    torch.save(value, file, **save)
    file.seek(0)
    return torch.load(file, pickle_module=plain_pickle, weights_only=False)


@pytest.mark.parametrize('save', [{}, {'_use_new_zipfile_serialization': False}])
@pytest.mark.parametrize(
    'tensor',
    [
        torch.arange(6.0).reshape(2, 3).T,
        torch.tensor(3, dtype=torch.int64),
        torch.tensor([True, False]),
        torch.tensor([1.5], dtype=torch.bfloat16),
        torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.nn.Parameter(torch.ones(2)),
    ],
)
def test_tensors_come_back(tensor, save):
    found = through_file({'x': tensor}, **save)['x']
    assert torch.equal(found, tensor)
    assert (found.dtype, found.stride()) == (tensor.dtype, tensor.stride())


def test_plain_data_comes_back():
    data = {'a': [1, 2.5, 'text', None, True], 'b': ((1, 2), {'c': b'bytes'}), 3: {4, 5}}
    data['ordered'] = OrderedDict(z=1, a=2)
    data['torch'] = (torch.Size([1, 2]), torch.float16, torch.device('cpu'))
    found = through_file(data)
    # Sets and bytes are made by functions in pickles of protocol 2.
    assert found.pop(3) == {}
    assert found['b'][1].pop('c') == {}
    assert data.pop(3) and data['b'][1].pop('c')
    assert found == data


@pytest.mark.parametrize(
    'value',
    [np.float64(1.5), np.arange(3), slice(1, 2), np.dtype('uint8'), Exception('x'), 1 + 2j],
)
def test_other_objects_become_place_holders(value):
    found = through_file({'other': [value], 'x': torch.ones(1)})
    assert found['other'] == [{}]
    assert found['x'] == 1


class Call:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize(
    'function', [eval, exec, subprocess.getoutput, __import__, getattr, pickle.loads]
)
def test_no_function_is_called(tmp_path, function, protocol):
    mark = tmp_path / 'called'
    arguments = (
        (f'open({str(mark)!r}, "w")',)
        if function in (eval, exec)
        else (f'touch {mark}',)
        if function is subprocess.getoutput
        else ('os',)
    )
    text = pickle.dumps([Call(function, *arguments)], protocol=protocol)
    assert plain_pickle.load(io.BytesIO(text)) == [{}]
    assert not mark.exists()
