"""Parts of a batch: every image once, mixed images beside their partners."""

import pytest
import torch

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.loop.inputs import Inputs
from vit_tickets.train.loop.parts import check_parts, part_sizes, parts_of


@pytest.mark.parametrize("in_pairs", [False, True])
def test_every_image_is_in_one_part_beside_its_partner(in_pairs):
    swapped = torch.ones(1, dtype=torch.bool) if in_pairs else None
    for B in range(1, 12):
        images = torch.arange(B)
        batch = Inputs(images, images.unsqueeze(1) + 100, images + 200, swapped_N=swapped)
        for count in range(1, B + 1):
            parts = parts_of(batch, count)
            assert [len(part.images) for part, _ in parts] == part_sizes(B, count, in_pairs)
            assert len(parts) == min(count, (B + 1) // 2 if in_pairs else B)
            assert torch.cat([part.images for part, _ in parts]).sort().values.tolist() == list(range(B))
            for part, share in parts:
                assert share == len(part.images) / B
                assert torch.equal(part.kept_BK.flatten(), part.images + 100)
                assert torch.equal(part.target, part.images + 200)
                assert part.token_target is None
                if in_pairs:
                    assert torch.equal(part.images.flip(0), B - 1 - part.images)


def test_more_parts_than_images_or_pairs_are_refused():
    check_parts(8, 8, in_pairs=False)
    check_parts(4, 7, in_pairs=True)
    with pytest.raises(UserError, match=r"at most 8 \(8 images per rank\), found 9"):
        check_parts(9, 8, in_pairs=False)
    with pytest.raises(UserError, match=r"at most 4 \(8 images per rank, in pairs for --mix-token\), found 5"):
        check_parts(5, 8, in_pairs=True)
