# SPDX-License-Identifier: Apache-2.0
"""The channel shuffle against vectors computed by hand (section 3.1 of the paper)."""

import pytest

torch = pytest.importorskip('torch')

from shufflenet_ros.zoo import shufflenet_v1, shufflenet_v2  # noqa: E402
from shufflenet_ros.zoo.channel_shuffle import channel_shuffle  # noqa: E402
from shufflenet_ros.zoo.registry import NETWORKS, build  # noqa: E402


def shuffled_order(channels: int, groups: int) -> list[int]:
    return channel_shuffle(torch.arange(channels).view(1, channels, 1, 1), groups).flatten().tolist()


@pytest.mark.parametrize('groups, order', [
    (3, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]),
    (4, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]),  # the inverse of the first
    (1, list(range(12))), (12, list(range(12))),
])
def test_vectors_of_twelve_channels(groups, order):
    assert shuffled_order(12, groups) == order


@pytest.mark.parametrize('channels, groups', [(12, 2), (60, 3), (68, 4), (96, 8), (384, 8)])
def test_is_a_permutation_that_mixes_every_group(channels, groups):
    order = shuffled_order(channels, groups)
    assert sorted(order) == list(range(channels))
    per_group = channels // groups
    for start in range(0, channels, per_group):
        sources = {index // per_group for index in order[start:start + per_group]}
        assert len(sources) == min(groups, per_group)


def test_moves_whole_planes():
    x = torch.randn(2, 6, 4, 3)
    assert torch.equal(channel_shuffle(x, 3), x[:, [0, 2, 4, 1, 3, 5]])


def test_channels_that_do_not_divide_are_rejected():
    with pytest.raises(ValueError, match='10 channels cannot be shuffled in 3 groups'):
        channel_shuffle(torch.zeros(1, 10, 1, 1), 3)


@pytest.fixture(scope='module')
def shuffles_of_the_zoo():
    """(g, C) of every shuffle that runs in any network of the registry."""
    seen = set()

    def recording(x, groups):
        seen.add((groups, x.shape[1]))
        return channel_shuffle(x, groups)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        for family in (shufflenet_v1, shufflenet_v2):
            patch.setattr(family, 'channel_shuffle', recording)
        for entry in NETWORKS.values():
            build(entry.config).eval()(torch.zeros(0, 3, 32, 32))
    return sorted(seen)


def test_shuffle_then_inverse_is_the_identity_everywhere_in_the_zoo(shuffles_of_the_zoo):
    assert {groups for groups, _ in shuffles_of_the_zoo} == {1, 2, 3, 4, 8}
    for groups, channels in [(3, 60), (8, 96), (2, 116)]:
        assert (groups, channels) in shuffles_of_the_zoo
    for groups, channels in shuffles_of_the_zoo:
        x = torch.randn(1, channels, 2, 3)
        shuffled = channel_shuffle(x, groups)
        assert torch.equal(channel_shuffle(shuffled, channels // groups), x), (groups, channels)
        assert torch.equal(shuffled, x) == (groups == 1), (groups, channels)


def test_the_gradient_is_the_permutations_transpose_everywhere_in_the_zoo(shuffles_of_the_zoo):
    for groups, channels in shuffles_of_the_zoo:
        permutation = torch.zeros(channels, channels)
        permutation[torch.arange(channels), torch.tensor(shuffled_order(channels, groups))] = 1
        x, weight = torch.randn(1, channels, 1, 1, requires_grad=True), torch.randn(1, channels, 1, 1)
        y = channel_shuffle(x, groups)
        assert torch.equal(y.flatten(), permutation @ x.flatten())
        y.backward(weight)
        assert torch.equal(x.grad.flatten(), permutation.T @ weight.flatten()), (groups, channels)
