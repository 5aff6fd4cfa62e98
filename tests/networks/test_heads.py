import torch
from torch import nn

from clusterscan.networks.heads import SpinalHead, mlp_head, vgg_head


def spinal(features=6, classes=2, **options):
    return SpinalHead(
        features, classes, **{"width": 4, "dropout": 0.0, "batch_norm": False} | options
    )


def test_each_vertebra_reads_its_half_and_the_one_before():
    """Kabir et al. 2020: layers 1 and 3 read the first half, 2 and 4 the second."""
    head = spinal()
    assert [layer[1].in_features for layer in head.vertebrae] == [3, 7, 7, 7]
    for layer in head.vertebrae:
        nn.init.constant_(layer[1].weight, 1.0)
        nn.init.constant_(layer[1].bias, 0.0)
    nn.init.constant_(head.last[1].weight, 0.0)
    nn.init.constant_(head.last[1].bias, 0.0)
    a, b = 2.0, 5.0  # sums of the halves
    expected = [a, b + 4 * a, a + 4 * (b + 4 * a), b + 4 * (a + 4 * (b + 4 * a))]
    for number, value in enumerate(expected):
        nn.init.zeros_(head.last[1].weight)
        with torch.no_grad():
            head.last[1].weight[0, 4 * number] = 1.0
        x = torch.tensor([[0.5, 0.5, 1.0, 1.0, 2.0, 2.0]])
        torch.testing.assert_close(head(x), torch.tensor([[value, 0.0]]))


def test_every_feature_of_either_half_reaches_every_class():
    head = spinal(features=9, classes=3, width=16, batch_norm=True).eval()
    x = torch.randn(4, 9, requires_grad=True)
    head(x).sum().backward()
    # Of an odd number the last is left out, as in the authors' code.
    assert (x.grad[:, :8].abs().sum(0) > 0).all()
    assert (x.grad[:, 8] == 0).all()


def test_heads_have_the_layers_that_were_published():
    def linear(head):
        return [m.out_features for m in head if isinstance(m, nn.Linear)]

    assert linear(vgg_head(512, 10, dropout=0.5)) == [4096, 4096, 10]
    assert [m.p for m in vgg_head(8, 2, dropout=0.5) if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    assert linear(mlp_head(32, 3, widths=(16, 8), dropout=0.1)) == [16, 8, 3]
