"""Our strategies as Lightning's, DeepSpeed over CPU processes included."""

import argparse
import shutil
from collections.abc import Mapping

import torch
from lightning_fabric.utilities.seed import reset_seed
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy, Strategy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from selectmm.errors import UserError
from selectmm.tuning import recipe


def lightning_strategy(strategy: recipe.Strategy, micro_batch: int, device: torch.device) -> Strategy:
    """What the Trainer gets.

    Args:
        micro_batch: rows per forward pass on one device (DeepSpeed checks its own arithmetic with it).
        device: decides between gloo and NCCL, and is where ``single`` runs.
    """
    backend = "gloo" if device.type == "cpu" else "nccl"
    match strategy.kind:
        case "single":
            return SingleDeviceStrategy(device=device)
        case "ddp":
            return DDPStrategy(process_group_backend=backend, broadcast_buffers=False)
        case "zero2" | "zero3":
            kind = CPUDeepSpeedStrategy if device.type == "cpu" else DeepSpeedStrategy
            return kind(
                stage=int(strategy.kind[-1]),
                offload_optimizer=strategy.offload,
                offload_parameters=strategy.offload and strategy.kind == "zero3",
                pin_memory=strategy.offload and device.type == "cuda",  # whose copies do not stop the GPU
                process_group_backend=backend,
                logging_batch_size_per_gpu=micro_batch,
                exclude_frozen_parameters=True,
            )


def check_buildable(strategy: recipe.Strategy, device: torch.device, environment: Mapping[str, str]) -> None:
    """Check what DeepSpeed needs to compile its AdamW, which it does on first use for offload from a GPU.

    Raises:
        UserError: a tool that it compiles with is missing.
    """
    if not strategy.offload or device.type == "cpu":
        return
    path = environment.get("PATH", "")
    tools = {"a C++ compiler (g++)": environment.get("CXX", "g++"), "ninja": "ninja"}
    missing = [name for name, program in tools.items() if shutil.which(program, path=path) is None]
    if missing:
        raise UserError(
            f"Strategy '{strategy.kind}' with offload needs {' and '.join(missing)}, with which DeepSpeed compiles an "
            f"operator on first use; install that, or use strategy {strategy.kind}."
        )


class CPUDeepSpeedStrategy(DeepSpeedStrategy):
    """DeepSpeed over gloo: Lightning's strategy refuses CPUs, DeepSpeed itself does not.

    The three overridden methods are Lightning 2.6's without the check for a GPU and without a device index.
    """

    def setup_environment(self) -> None:
        """Set up the environment as without DeepSpeed: no check for a GPU."""
        DDPStrategy.setup_environment(self)

    def setup_distributed(self) -> None:
        """Join the processes; no device index is set."""
        reset_seed()
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def _setup_model_and_optimizer(
        self, model: torch.nn.Module, optimizer: Optimizer | None, lr_scheduler: LRScheduler | None = None
    ) -> tuple[torch.nn.Module, Optimizer]:
        import deepspeed

        engine, wrapped, _, _ = deepspeed.initialize(
            args=argparse.Namespace(device_rank=self.local_rank),
            # Offloaded weights stay in the memory that they are in, and PyTorch's AdamW needs no compiler.
            config={**self.config, "zero_force_ds_cpu_optimizer": False},
            model=model,
            model_parameters=[weight for weight in model.parameters() if weight.requires_grad],
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            dist_init_required=False,
        )
        return engine, wrapped
