"""Low-rank adaptation of small transformers."""

import copy
import importlib.util

import pytest
import torch

from geo_mm.errors import ConfigError
from geo_mm.models.lora import merge_lora
from geo_mm.models.timm_backbone import TimmBackbone, import_timm

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('timm') is None, reason="needs pip install 'geo_mm[timm]'"
)


@pytest.fixture
def published():
    torch.manual_seed(0)
    return import_timm().create_model('test_vit').state_dict()


def vit(published):
    torch.manual_seed(1)
    backbone = TimmBackbone('test_vit', lora={'rank': 2, 'alpha': 4})
    missing, _ = backbone.load_state_dict(backbone.own_names(published), strict=False)
    assert all('lora_' in name for name in missing)
    return backbone.eval()


def learnt(backbone):
    for name, parameter in backbone.named_parameters():
        if name.endswith('lora_b'):
            torch.nn.init.normal_(parameter)
    return backbone


def test_at_the_start_features_are_those_of_the_published_weights(published):
    plain = TimmBackbone('test_vit').eval()
    plain.load_state_dict(plain.own_names(published), strict=False)
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(plain(image)[0], vit(published)(image)[0])


def test_only_additions_learn(published):
    backbone = vit(published)
    (features,) = backbone(torch.rand(1, 3, 64, 64))
    features.square().sum().backward()
    names = [name for name, parameter in backbone.named_parameters() if parameter.grad is not None]
    blocks = [name.split('.parametrizations')[0] for name in names if name.endswith('lora_b')]
    assert blocks == [f'model.blocks.{i}.attn.{part}' for i in range(6) for part in ('qkv', 'proj')]
    assert len(names) == 2 * len(blocks)


def test_merged_weights_give_the_same_and_have_the_plain_names(published):
    backbone = learnt(vit(published))
    merged = copy.deepcopy(backbone)
    assert merge_lora(merged) == 12
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(merged(image)[0], backbone(image)[0], rtol=0, atol=1e-5)
    assert merged.state_dict().keys() == TimmBackbone('test_vit').state_dict().keys()
    weight = merged.model.blocks[0].attn.qkv.weight
    assert torch.linalg.matrix_rank(weight - published['blocks.0.attn.qkv.weight'], tol=1e-4) == 2
    assert merge_lora(merged) == 0


def test_a_network_without_attention_is_refused():
    with pytest.raises(ConfigError, match=r'(?s)0 layers.*a transformer'):
        TimmBackbone('test_resnet', lora={'rank': 4})
