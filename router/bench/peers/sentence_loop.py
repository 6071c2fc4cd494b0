"""What many would write with an encoder: sentence-transformers, a logistic head, a loop.

Run by `raisehand bench batch --peer-python PYTHON --peer-model FOLDER`, in an environment with
pandas, scikit-learn and sentence-transformers.
"""

import json
import resource
import sys
import time

import numpy as np
import pandas as pd
import sentence_transformers
from sentence_transformers import SentenceTransformer, models
from sklearn.linear_model import LogisticRegression

table, rows, labels, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
rng = np.random.default_rng(0)
frame = pd.read_parquet(table).head(rows)
network = models.Transformer(folder, max_seq_length=128)
mean = models.Pooling(network.get_embedding_dimension())  # as the model's card says
encoder = SentenceTransformer(modules=[network, mean], device="cpu")
few = encoder.encode(frame.text.head(4 * labels).tolist())
head = LogisticRegression(max_iter=20).fit(few, np.arange(len(few)) % labels)
before, started = time.process_time(), time.perf_counter()
vectors = encoder.encode(frame.text.tolist(), batch_size=256)
p = head.predict_proba(vectors)
frame["label"], frame["confidence"] = p.argmax(axis=1), p.max(axis=1)
unsure = frame.confidence < frame.confidence.quantile(0.05)
for row in frame[unsure].itertuples():
    frame.at[row.Index, "label"] = 0  # the teacher, at once
frame.to_parquet(f"{table}.peer.parquet")
cpu_s, wall_s = time.process_time() - before, time.perf_counter() - started
print(  # noqa: T201
    json.dumps(
        {
            "what": f"sentence-transformers {sentence_transformers.__version__}",
            "rows": len(frame),
            "texts_per_s": round(len(frame) / wall_s),
            "texts_per_cpu_s": round(len(frame) / cpu_s),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
    )
)
