import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def separable():
    """Images with and without a bright spot at the centre, and their labels."""

    def make(bands, size, *, count=8, height=3.0):
        rng = torch.Generator().manual_seed(1)
        label = torch.arange(count) % 2
        y, x = torch.meshgrid(*[torch.arange(size) - (size - 1) / 2] * 2, indexing="ij")
        spot = torch.exp(-(x**2 + y**2) / (2 * (size / 5) ** 2))
        noise = torch.randn(count, bands, size, size, generator=rng)
        return noise + height * label.view(-1, 1, 1, 1) * spot, label

    return make


@pytest.fixture
def learn():
    """Train on images until the loss is half of guessing's, at most some steps."""

    def run(network, views, label, *, optimiser, steps=12, present=None):
        several = network.classes > 1
        target = label if several else label.float()
        name = "cross_entropy" if several else "binary_cross_entropy_with_logits"
        loss_of = getattr(torch.nn.functional, name)
        for _ in range(steps):
            optimiser.zero_grad()
            loss = loss_of(network.of_views(views, present), target)
            if loss < 0.35:  # guessing gives ln 2 = 0.69
                break
            loss.backward()
            optimiser.step()
        return loss.item()

    return run
