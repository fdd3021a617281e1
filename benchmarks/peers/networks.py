"""The networks that both sides are timed with, and their inputs."""
import dataclasses
import pathlib
import sys
import typing

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "tests" / "golden"))
import pytorch_models  # noqa: E402


@dataclasses.dataclass
class Network:
    make: typing.Callable
    picture: tuple  # channels, height, width
    batch: int
    classes: bool = False
    settings: dict = dataclasses.field(default_factory=dict)


# By the names that bench_models has for them.
NETWORKS = {
    "unet": Network(pytorch_models.UNet, (1, 28, 28), 64),
    "unet_transformer": Network(pytorch_models.UNet_Tranformer, (1, 28, 28), 64, classes=True),
    "unet_transformer_arch_resblock_embeding": Network(
        pytorch_models.UNetTransformerArchResBlockEmbeding, (3, 32, 32), 8, classes=True,
        settings=dict(in_channels=3, model_channels=128, channels=(128, 128, 256, 256, 512), res_num=1)),
}


def make_network(name):
    torch.manual_seed(1)
    return NETWORKS[name].make(**NETWORKS[name].settings)


def make_inputs(name, batch):
    network, generator = NETWORKS[name], torch.Generator().manual_seed(2)
    x = torch.randn(batch, *network.picture, generator=generator)
    t = torch.rand(batch, generator=generator) * 0.9 + 0.05
    return (x, t) + ((torch.randint(0, 10, (batch,), generator=generator),) if network.classes else ())
