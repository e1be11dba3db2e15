"""What processes that train one net give each other."""

from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("torch", reason="training needs torch: `make test-train` runs these")

import torch
from torch import nn

from tools.train.peers import Peers


def a_net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 2)).to(
        memory_format=torch.channels_last
    )


def learn(net: nn.Module, pictures: torch.Tensor) -> None:
    net.zero_grad()
    net(pictures).square().mean().backward()


def test_parts_of_a_batch_teach_what_the_whole_batch_teaches() -> None:
    pictures, whole, nets = torch.rand(12, 3, 8, 8), a_net(), [a_net() for _ in range(3)]
    peers = Peers(3, whole)

    def train(peer: int) -> list[float]:
        seconds = []
        for step in range(5):  # again and again: what one writes next must not reach what another still reads
            learn(nets[peer], (step + 1) * pictures[4 * peer : 4 * peer + 4])
            seconds.append(peers.agree(peer, nets[peer], 10.0 * step + peer))
        return seconds

    with ThreadPoolExecutor(3) as pool:
        told = list(pool.map(train, range(3)))
    learn(whole, 5 * pictures)

    assert told == [[0.0, 10.0, 20.0, 30.0, 40.0]] * 3
    for expected, *theirs in zip(whole.parameters(), *(net.parameters() for net in nets), strict=True):
        assert all(torch.equal(one.grad, theirs[0].grad) for one in theirs)
        torch.testing.assert_close(theirs[0].grad, expected.grad)
