from __future__ import annotations

import pytest
import torch

from medssl.errors import ConfigError
from medssl.models.build import build_segmenter
from medssl.models.config import SwinUNETRConfig

SWIN = SwinUNETRConfig(feature_size=12)


def test_under_monais_own_names_it_computes_what_monai_does():
    from monai.networks.nets import SwinUNETR

    torch.manual_seed(0)
    whole = SwinUNETR(in_channels=2, out_channels=3, feature_size=12).eval()
    net = build_segmenter(SWIN, 2, num_classes=3, patch_size=(64, 32, 32)).eval()

    def own_name(name):
        part = "encoder." if name.startswith("swinViT.") else "decoder."
        return name.replace("out.conv.conv", "head") if name.startswith("out.") else part + name

    net.load_state_dict({own_name(name): value for name, value in whole.state_dict().items()})
    x = torch.randn(1, 2, 64, 32, 32)
    with torch.no_grad():
        assert torch.allclose(net(x), whole(x), atol=1e-6)


def test_the_patch_is_halved_five_times_and_more_than_a_voxel_is_left():
    for size in [(32, 32, 64), (96, 96, 96), (64, 32, 192)]:
        SWIN.check_patch(size)
    with pytest.raises(ConfigError, match=r"multiples of 32 \(in place of 48: 32 or 64\)"):
        SWIN.check_patch((64, 48, 64))
    with pytest.raises(ConfigError, match=r"one voxel.*32x32x64"):
        SWIN.check_patch((32, 32, 32))


def test_the_default_fits_published_weights():
    assert SwinUNETRConfig().feature_size == 48
