"""Every batch runs in a shape that was recorded at load, and padding changes no answer."""

import numpy as np
import pytest

from students.runtime.encoders.shapes import SIZES, ShapedForward

PAD = 7


class Recorder:
    """Records shapes; a replay returns the sum of each text's real tokens."""

    def __init__(self):
        self.recorded = []
        self.replayed = []

    def __call__(self, size, length):
        """Record one shape."""
        self.recorded.append((size, length))

        def replay(ids, mask):
            assert ids.shape == mask.shape == (size, length)
            assert (ids[mask == 0] == PAD).all()
            self.replayed.append((size, length))
            return (ids * mask).sum(axis=1, keepdims=True).astype(np.float32)

        return replay


def forward_of(recorder, max_length=100):
    """Logits by the recorder."""
    return ShapedForward(recorder, max_length=max_length, pad_id=PAD)


def test_every_shape_is_recorded_before_the_first_batch_and_none_after():
    """Five sizes by the lengths up to the longest text, which is one of them; largest first."""
    recorder = Recorder()
    forward = forward_of(recorder, max_length=48)
    assert recorder.recorded[0] == (256, 48)
    assert set(recorder.recorded) == {(b, n) for b in SIZES for n in (16, 32, 48)}
    before = list(recorder.recorded)
    forward(np.ones((3, 20), np.int64), np.ones((3, 20), np.int64))
    assert recorder.recorded == before


@pytest.mark.parametrize(
    ("shape", "padded"),
    [
        ((1, 1), (1, 16)),
        ((1, 16), (1, 16)),
        ((2, 17), (4, 32)),
        ((4, 64), (4, 64)),
        ((65, 65), (256, 100)),
        ((256, 100), (256, 100)),
    ],
)
def test_a_batch_runs_in_the_next_larger_shape(shape, padded):
    """At a boundary it fits, one above it takes the next; the logits are those of its texts."""
    recorder = Recorder()
    ids = np.random.default_rng(0).integers(1, 1000, shape)
    mask = np.ones(shape, np.int64)
    mask[0, shape[1] // 2 + 1 :] = 0
    logits = forward_of(recorder)(np.where(mask, ids, PAD), mask)
    assert recorder.replayed == [padded]
    np.testing.assert_array_equal(logits[:, 0], (ids * mask).sum(axis=1))


@pytest.mark.torch
def test_a_padded_batch_gives_the_logits_of_the_network():
    """A real encoder, padded in size and length, agrees with the batch as it was."""
    import torch
    from transformers import BertConfig, BertModel

    from students.runtime.encoders.network import EncoderNetwork, TorchForward

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    plain = TorchForward(EncoderNetwork(BertModel(config, add_pooling_layer=False), 16, 3))
    ids = np.random.default_rng(0).integers(1, 50, (3, 11))
    mask = np.ones((3, 11), np.int64)
    mask[1, 6:] = 0
    shaped = ShapedForward(lambda size, length: plain, max_length=32, pad_id=0)
    np.testing.assert_allclose(shaped(ids, mask), plain(ids, mask), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.torch
def test_recorded_graphs_give_the_logits_of_the_network_on_a_gpu():
    """On a GPU: every recorded shape agrees with the network run kernel by kernel."""
    import torch
    from transformers import BertConfig, BertModel

    from students.runtime.encoders.network import CudaGraphs, EncoderNetwork, TorchForward

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    torch.manual_seed(0)
    config = BertConfig(vocab_size=50, hidden_size=64, num_hidden_layers=2, num_attention_heads=2)
    network = EncoderNetwork(BertModel(config, add_pooling_layer=False), 64, 3)
    plain = TorchForward(network, "cuda")
    shaped = ShapedForward(CudaGraphs(network, "cuda"), max_length=64, pad_id=0)
    rng = np.random.default_rng(0)
    for shape in ((1, 5), (4, 16), (30, 40), (256, 64)):
        ids, mask = rng.integers(1, 50, shape), np.ones(shape, np.int64)
        np.testing.assert_allclose(shaped(ids, mask), plain(ids, mask), atol=0.03)
