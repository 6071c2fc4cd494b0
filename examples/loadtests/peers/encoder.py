"""The encoder of both peers that have one."""

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules


def load_encoder(folder: str) -> SentenceTransformer:
    """Put the parts together as the model's card says: packages of its weights leave files out."""
    transformer = modules.Transformer(folder, max_seq_length=128)
    pooling = modules.Pooling(transformer.get_embedding_dimension(), "mean")
    return SentenceTransformer(modules=[transformer, pooling, modules.Normalize()], device="cpu")
