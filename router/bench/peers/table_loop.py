"""What many would write: pandas, a scikit-learn pipeline or an encoder with a head, and a loop.

Run by `raisehand bench batch --peer-python PYTHON`, in an environment with pandas and scikit-learn.
The features are those of the linear student as far as scikit-learn has them: words, pairs and
character n-grams within words, hashed, sublinear, of unit length. With a folder (`--peer-model`) it
is sentence-transformers with that encoder, and a logistic head.
"""

import json
import resource
import sys
import time

import numpy as np
import pandas as pd

table, rows, labels, *folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]
rng = np.random.default_rng(0)
frame = pd.read_parquet(table).head(rows)

if folder:
    import sentence_transformers
    from sentence_transformers import SentenceTransformer, models
    from sklearn.linear_model import LogisticRegression

    what = f"sentence-transformers {sentence_transformers.__version__}"
    network = models.Transformer(folder[0], max_seq_length=128)
    mean = models.Pooling(network.get_embedding_dimension())  # as the model's card says
    encoder = SentenceTransformer(modules=[network, mean], device="cpu")
    few = encoder.encode(frame.text.head(4 * labels).tolist())
    head = LogisticRegression(max_iter=20).fit(few, np.arange(len(few)) % labels)

    def answer(texts: pd.Series) -> np.ndarray:
        """Class probabilities of some texts."""
        said: np.ndarray = head.predict_proba(encoder.encode(texts.tolist(), batch_size=256))
        return said

else:
    import sklearn
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline, make_union

    what = f"pandas {pd.__version__}, scikit-learn {sklearn.__version__}"
    features = make_union(
        HashingVectorizer(n_features=1 << 17, ngram_range=(1, 2), alternate_sign=False),
        HashingVectorizer(
            n_features=1 << 17, analyzer="char_wb", ngram_range=(3, 5), alternate_sign=False
        ),
    )
    model = make_pipeline(features, SGDClassifier(loss="log_loss", max_iter=1, tol=None))
    model.fit(frame.text.head(5_000), rng.integers(0, labels, len(frame.head(5_000))))
    answer = model.predict_proba

before, started = time.process_time(), time.perf_counter()
kept, sure = [], []
for start in range(0, len(frame), 10_000):
    p = answer(frame.text.iloc[start : start + 10_000])
    kept.append(p.argmax(axis=1))
    sure.append(p.max(axis=1))
frame["label"], frame["confidence"] = np.concatenate(kept), np.concatenate(sure)
unsure = frame.confidence < frame.confidence.quantile(0.05)
for row in frame[unsure].itertuples():
    frame.at[row.Index, "label"] = 0  # the teacher, at once
frame.to_parquet(f"{table}.peer.parquet")
cpu_s, wall_s = time.process_time() - before, time.perf_counter() - started
print(  # noqa: T201
    json.dumps(
        {
            "what": what,
            "rows": len(frame),
            "texts_per_s": round(len(frame) / wall_s),
            "texts_per_cpu_s": round(len(frame) / cpu_s),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
    )
)
