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
        for step in range(5):
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


def test_what_one_has_learnt_next_never_reaches_what_another_still_reads() -> None:
    nets = [nn.Linear(500, 400) for _ in range(3)]
    peers = Peers(3, nets[0])

    def train(peer: int) -> list[float]:
        """Learn `step` in every weight, at once; gives what was agreed on, nan where the weights disagree."""
        agreed = []
        for step in range(200):
            for parameter in nets[peer].parameters():
                parameter.grad = torch.full_like(parameter, step)
            peers.agree(peer, nets[peer], 0.0)
            gradient = nets[peer].weight.grad
            agreed.append(float(gradient[0, 0]) if (gradient == gradient[0, 0]).all() else float("nan"))
        return agreed

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(train, range(3))) == [list(range(200))] * 3
