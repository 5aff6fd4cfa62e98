"""The parts of a tile that are computed at once cover it, fit in memory and cost the least."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from clusterscan.scan.fast.chunks import chunks

OUTLINES = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


def cost(cover, around):
    return sum((r.stop - r.start + around) * (c.stop - c.start + around) for r, c in cover)


def diamond(side):
    j, i = np.indices((side, side)) - (side - 1) / 2
    return np.abs(i) + np.abs(j) <= side / 2


@given(OUTLINES, st.integers(0, 20), st.floats(1, 1e4))
def test_every_outlined_cell_is_computed_and_none_twice(outline, around, most):
    times = np.zeros(outline.shape, dtype=int)
    for chunk in chunks(outline, around, most):
        times[chunk] += 1
    assert (times[outline] == 1).all()
    assert times.max() <= 1


@given(OUTLINES, st.integers(0, 20), st.floats(1, 1e4))
def test_a_chunk_fits_in_memory_unless_it_is_mostly_context_by_then(outline, around, most):
    least = (around + max(around // 2, 1)) ** 2
    for chunk in chunks(outline, around, most):
        assert cost([chunk], around) <= max(most, least)


@given(OUTLINES, st.integers(0, 20))
def test_chunks_cost_no_more_than_the_whole_at_once(outline, around):
    cover = chunks(outline, around, 1e9)
    assert cost(cover, around) <= (outline.shape[0] + around) * (outline.shape[1] + around)


def test_a_diamonds_corners_are_left_out_where_little_context_is_needed():
    assert cost(chunks(diamond(200), 8, 1e9), 8) < 0.8 * 208**2


def test_a_diamond_is_one_chunk_where_its_context_is_as_large():
    assert len(chunks(diamond(100), 100, 1e9)) == 1


def test_nothing_is_computed_where_nothing_is_outlined():
    assert chunks(np.zeros((5, 7), dtype=bool), 2, 1e9) == []
