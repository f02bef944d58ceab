"""`current_platform`: the machine as model files of vLLM ask about it. Here it is the CPU."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

import torch


class PlatformEnum(Enum):
    """Kinds of machines that vLLM tells apart."""

    CUDA = auto()
    ROCM = auto()
    TPU = auto()
    XPU = auto()
    CPU = auto()
    OOT = auto()
    UNSPECIFIED = auto()


class Platform:
    """A CPU: every question about another device is answered with no."""

    _enum = PlatformEnum.CPU
    device_name = device_type = "cpu"
    dispatch_key = "CPU"
    simple_compile_backend = "eager"
    dist_backend = "gloo"
    supported_dtypes = (torch.bfloat16, torch.float16, torch.float32)

    def is_cpu(self) -> bool:
        """True."""
        return True

    def is_cuda(self) -> bool:
        """False, as of every other device."""
        return False

    is_rocm = is_tpu = is_xpu = is_hpu = is_neuron = is_cuda_alike = is_out_of_tree = is_sleep_mode_available = is_cuda

    def has_device_capability(self, capability: Any, device_id: int = 0) -> bool:
        """False: there is no GPU whose capability is at least that."""
        return False

    is_device_capability = is_device_capability_family = has_device_capability

    def get_device_capability(self, device_id: int = 0) -> None:
        """None: there is no GPU."""

    def get_device_name(self, device_id: int = 0) -> str:
        """cpu."""
        return self.device_name

    def supports_fp8(self) -> bool:
        """False: weft has kernels for stored fp8, none that compute in it."""
        return False

    opaque_attention_op = use_custom_allreduce = is_pin_memory_available = supports_mx = supports_fp8

    def fp8_dtype(self) -> torch.dtype:
        """The 8-bit float of checkpoints."""
        return torch.float8_e4m3fn

    def seed_everything(self, seed: int | None = None) -> None:
        """Seed torch. weft's own draws depend on the request's seed alone."""
        if seed is not None:
            torch.manual_seed(seed)


current_platform = Platform()
