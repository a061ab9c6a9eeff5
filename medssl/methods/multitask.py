"""Several methods at once on one encoder, their losses added.

Weights are given, or learned with the rest from what each loss leaves unexplained: Kendall et al.,
Multi-task learning using uncertainty to weigh losses for scene geometry and semantics, 2018.
Of pretext tasks in one network: Doersch and Zisserman, Multi-task self-supervised visual learning,
2017.

What for: features that serve more than one end, such as a reconstruction for segmentation beside a
contrast or a rotation for classification. `hybrid` is one such sum, made to share its passes; this
is any. Cost: the sum of the methods' steps and of their memory, but for one encoder's weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medssl.augment.batch import CONTROL, Batch
from medssl.errors import ConfigError
from medssl.methods.base import Method, Pictures
from medssl.methods.config import MultitaskConfig
from medssl.models.config import ModelConfig, PatchSize
from medssl.models.encoder import Encoder

_OF_EACH_VIEW = {"image", "clean", "valid", "body", "map", *CONTROL}


class Multitask(Method):
    """The weighted sum of other methods' losses.

    Batches have what the most demanding method asks for, and each method is given what it would
    have alone: the first of two views where it asks for one, patches from before intensity
    augmentation where it asks for none. Figures are those of the methods, "mae/loss" and so on; a
    method that stands twice is "mae" and "mae_2". Pictures and the exported decoder are the first
    method's that has any.
    """

    def __init__(
        self,
        config: MultitaskConfig,
        model_config: ModelConfig,
        in_channels: int,
        patch_size: PatchSize,
        seed: int,
    ) -> None:
        from medssl.methods.catalogue import METHODS  # it lists this class too

        super().__init__()
        self.weights: dict[str, float] = {}
        methods: dict[str, Method] = {}
        for task in config.tasks:
            name = _unused(task.method.name, methods)
            built_as = METHODS[task.method.name]
            methods[name] = built_as(task.method, model_config, in_channels, patch_size, seed)
            self.weights[name] = task.weight
        self.overlap = common_overlap(methods)
        self.num_views = max(method.num_views for method in methods.values())
        kinds = {method.intensity for method in methods.values()}
        self.intensity = any(kinds)
        self.clean = len(kinds) > 1 or any(method.clean for method in methods.values())
        self.encoder = next(iter(methods.values())).encoder
        for method in methods.values():
            share_encoder(method, self.encoder)
        self.tasks = nn.ModuleDict(methods)
        self.log_variance: nn.Parameter | None = None
        if config.weighting == "uncertainty":
            self.log_variance = nn.Parameter(torch.zeros(len(methods)))

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """See `Method.forward`; with learned weights, "mae/weight" is what the loss is now times.

        Kendall et al. 2018, eq. 7: loss / (2 variance) + log(variance) / 2, here times the task's
        weight. For a cross-entropy their eq. 10 has loss / variance; with twice the variance that
        is the same but for a constant.
        """
        losses: list[Tensor] = []
        figures: dict[str, Tensor] = {}
        for name, method in self._methods().items():
            out = method(self.batch_of(method, batch), step)
            losses.append(out["loss"])
            figures |= {f"{name}/{figure}": value.detach() for figure, value in out.items()}
        weights = torch.tensor(list(self.weights.values()), device=losses[0].device)
        with torch.autocast(losses[0].device.type, enabled=False):
            if self.log_variance is None:
                return {"loss": (weights * torch.stack(losses)).sum(), **figures}
            now = weights * self.log_variance.neg().exp() / 2
            loss = (now * torch.stack(losses) + weights * self.log_variance / 2).sum()
        learned = zip(self.weights, now.detach(), strict=True)
        return {"loss": loss, **figures, **{f"{name}/weight": value for name, value in learned}}

    def after_step(self, step: int, steps: int) -> None:
        """See `Method.after_step`."""
        for method in self._methods().values():
            method.after_step(step, steps)

    def pictures(self, batch: Batch, step: int) -> Pictures | None:
        """See `Method.pictures`."""
        for method in self._methods().values():
            pictures = method.pictures(self.batch_of(method, batch), step)
            if pictures is not None:
                return pictures
        return None

    @property
    def trained_decoder(self) -> nn.Module | None:
        """See `Method.trained_decoder`."""
        decoders = (method.trained_decoder for method in self._methods().values())
        return next((decoder for decoder in decoders if decoder is not None), None)

    def batch_of(self, method: Method, batch: Batch) -> Batch:
        """What this method would be given if it were alone; nothing is copied."""
        given = dict(batch)
        if self.intensity and not method.intensity:
            given["image"] = batch["clean"]
        views = {
            name: given[name][:, : method.num_views] for name in _OF_EACH_VIEW if name in given
        }
        return {**given, **views}

    def _methods(self) -> dict[str, Method]:
        return dict(self.tasks.items())  # type: ignore[arg-type]


def share_encoder(method: Method, encoder: Encoder) -> None:
    """Let a freshly made method train `encoder` in place of its own.

    Copies that it made of its own, such as a teacher, become copies of `encoder`. The method no
    longer holds the encoder as a part of its own, so that checkpoints have it once.
    """
    own = method.encoder
    for part in method.modules():
        if isinstance(part, Encoder) and part is not own and _alike(part, own):
            part.load_state_dict(encoder.state_dict())
    del method.encoder
    assert all(part is not own for part in method.modules()), "the encoder has a second name"
    object.__setattr__(method, "encoder", encoder)


def common_overlap(methods: dict[str, Method]) -> tuple[float, float] | None:
    """The overlap that every method of two views asks for; None where there is no such method.

    Raises:
        ConfigError: they ask for different ones.
    """
    asked = {name: method.overlap for name, method in methods.items() if method.overlap is not None}
    if len(set(asked.values())) > 1:
        told = ", ".join(f"{name} {least} to {most}" for name, (least, most) in asked.items())
        raise ConfigError(
            f"method.tasks: the methods share crops, but ask for different overlaps ({told}); "
            "set the same overlap for each"
        )
    return next(iter(asked.values()), None)


def _alike(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) for name, value in ours.items()
    )


def _unused(name: str, taken: dict[str, Method]) -> str:
    count = sum(key.split("_")[0] == name for key in taken)
    return f"{name}_{count + 1}" if count else name
