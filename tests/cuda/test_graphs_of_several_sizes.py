"""Recorded graphs of one batch size make room for those of another, whose kernels have other launches."""

import pytest
import torch

import fx2ait_core as fx2ait

SIZES = (1, 8, 16, 32)
AT_ONCE = 12
"""Answers that are held at a time: as many graphs for each size, and more than are kept in all."""


@pytest.mark.cuda
def test_graphs_answer_as_plain_launches_do():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(64, 512, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(512, 512, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(512, 64, 3, padding=1),
    ).eval()
    example = torch.randn(2, 64, 14, 14)
    engine = fx2ait.compile(
        model, example, target="cuda", dynamic_batch=(1, SIZES[-1]), tune_batches=SIZES, tune=False
    )
    for batch in (*SIZES, *SIZES):
        x = torch.randn(batch, 64, 14, 14, device="cuda", dtype=torch.float16)
        plain = engine(x).clone()
        for _ in range(4):  # launched, recorded, and replayed twice
            answers = [engine(x) for _ in range(AT_ONCE)]
            assert all(torch.equal(answer, plain) for answer in answers), f"batch {batch}"
