import torch

from dcnrun.tasks.segmentation.task import pixel_loss


def test_loss_counts_labelled_pixels_only():
    scores = torch.randn(2, 3, 4, 4, requires_grad=True)
    mask = torch.randint(0, 3, (2, 4, 4))
    mask[0, 0] = 255
    wanted = torch.nn.functional.cross_entropy(scores, mask, ignore_index=255)
    torch.testing.assert_close(pixel_loss(scores, mask), wanted)
    nothing = pixel_loss(scores, torch.full_like(mask, 255))
    assert float(nothing.detach()) == 0
    nothing.backward()
    assert scores.grad.isfinite().all()
