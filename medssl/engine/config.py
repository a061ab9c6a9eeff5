"""Configuration of the step loop and of pretraining."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from medssl.augment.cache_config import CacheConfig
from medssl.augment.config import AugmentConfig
from medssl.config import Config
from medssl.engine.health_config import HealthConfig
from medssl.methods.config import HybridConfig, MethodConfig
from medssl.models.config import ModelConfig

AveragingRate = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(Config):
    """AdamW with linear warm-up and cosine decay."""

    lr: float = Field(3e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(0.05, ge=0, description="Decay of weight matrices and kernels.")
    betas: tuple[AveragingRate, AveragingRate] = Field(
        (0.9, 0.98), description="AdamW's two averaging rates."
    )
    warmup_steps: int = Field(
        50, ge=0, description="Steps of linear warm-up from zero; at most half of all."
    )
    final_lr_factor: float = Field(
        0.01, ge=0, le=1, description="Learning rate at the last step, as a share of the peak."
    )
    clip_norm: float = Field(5.0, gt=0, description="Largest norm of the gradient.")
    accumulate: int = Field(
        1,
        ge=1,
        description="Parts that each process works its share of a batch off in, for batches that "
        "do not fit into memory. The step is that of the whole batch where the loss is a mean over "
        "samples; a contrastive loss has only the negatives of the same part, of all processes.",
    )


class RuntimeConfig(Config):
    """How the work is done on this machine; in fp32, what is computed changes by rounding alone."""

    num_workers: int = Field(2, ge=0, description="Threads that prepare patches; 0: none apart.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 on a GPU or processor that computes in it, else fp32."
    )
    threads: int | None = Field(
        None, ge=1, description="torch's CPU threads; null: its own choice."
    )
    compile: bool = Field(
        False,
        description="Compile the network's layers (torch.compile); the first steps take a minute "
        "or more.",
    )
    channels_last: bool = Field(
        False, description="Lay 3D convolutions' kernels and maps out with the channel innermost."
    )
    activation_checkpointing: bool = Field(
        False,
        description="Keep only what enters each of the encoder's layers, and compute the rest "
        "again on the way back: less memory, about a third more work.",
    )
    cache: CacheConfig = Field(CacheConfig(), description="Decoded voxels that are kept at hand.")
    checkpoint_every: int = Field(100, ge=1, description="Steps between two checkpoints.")
    log_every: int = Field(10, ge=1, description="Steps between two lines of metrics.")


class HoldoutConfig(Config):
    """Patients that are set apart, the same ones for everybody who names the same three values."""

    fraction: float = Field(0.2, gt=0, lt=1, description="Share of patients that are set apart.")
    seed: int = Field(0, description="Which patients: another seed sets others apart.")
    label: str | None = Field(
        None, description="Class label by which patients are stratified; null: not stratified."
    )


class PretrainConfig(Config):
    """Everything that decides a pretraining run, but for the folder that it writes to."""

    store: Path = Field(description="Folder of the store to learn from.")
    modalities: list[Literal["CT", "MR", "PT", "OT"]] | None = Field(
        None, description="Modalities to learn from; null: all."
    )
    exclude_splits: list[str] = Field(
        ["test"], description="Splits named by --cases whose patients are left out."
    )
    holdout: HoldoutConfig | None = Field(
        None, description="Patients left out because a study or a fine-tuning tests on them."
    )
    method: MethodConfig = Field(
        HybridConfig(), description="What is learned: its name and settings."
    )
    model: ModelConfig = Field(description="The network: its name and settings.")
    augment: AugmentConfig = Field(description="Patches and their augmentation.")
    optim: OptimConfig = Field(OptimConfig(), description="The optimiser and its schedule.")
    runtime: RuntimeConfig = Field(RuntimeConfig(), description="Workers, precision, checkpoints.")
    health: HealthConfig = Field(HealthConfig(), description="Looks for a collapse on the way.")
    sample_on: Literal["cpu", "device"] = Field(
        "cpu",
        description="Where patches are interpolated: cpu, by the loader's threads; device, a whole "
        "batch at once on the GPU, where its cores are what training waits for and patches are no "
        "coarser than 1.5 of the scans' voxels. Both agree to rounding.",
    )
    steps: int = Field(2000, ge=1, description="Optimiser steps.")
    batch_size: int = Field(8, ge=1, description="Volumes in a batch, over all processes together.")
    seed: int = Field(0, description="Decides weights, patches, augmentation and masks.")
