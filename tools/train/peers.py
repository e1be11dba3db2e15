"""Several processes that train one net: each learns from its part of a batch, and all take the mean of it.

Everything passes through memory that they share. torch.distributed does the same over sockets; its threads outlive the
training, and now and then one aborts a process that has already ended well (PyTorch 2.13, gloo).
"""

import ctypes
import multiprocessing
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Peers:
    """What the processes of one training share; made by their parent, given to each at its start."""

    def __init__(self, processes: int, net: nn.Module) -> None:
        """net: one whose parameters, all of which must be trained, are as many as those of the net to train."""
        context = multiprocessing.get_context("spawn")
        self._shape = (processes, sum(parameter.numel() for parameter in net.parameters()))
        self._gradients: Any = context.RawArray(ctypes.c_float, processes * self._shape[1])
        self._clock: Any = context.RawValue(ctypes.c_double)
        self._barrier = context.Barrier(processes)

    def agree(self, peer: int, net: nn.Module, trained_s: float) -> float:
        """Put the mean of all processes' gradients into net; give the first one's seconds, by which all end together.

        Waits for the other processes. Every one of them computes the same sums, so equal nets stay equal to the bit.
        """
        every = torch.from_numpy(np.frombuffer(self._gradients, np.float32).reshape(self._shape))
        mine: list[Tensor] = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
        torch.cat([gradient.reshape(-1) for gradient in mine], out=every[peer])
        if peer == 0:
            self._clock.value = trained_s
        self._barrier.wait()
        mean, agreed_s = every.mean(0), float(self._clock.value)
        self._barrier.wait()  # nobody writes the next gradients while another still reads these
        for gradient, part in zip(mine, mean.split([gradient.numel() for gradient in mine]), strict=True):
            gradient.copy_(part.view_as(gradient))
        return agreed_s
