"""usearch on the rows of `vectors export` (sidecar/engine/benches/vectors.rs), for the table in NOTES.md.

Needs `pip install numpy usearch`; nothing else in the repository does. One thread, as the table's other lines.

    cargo bench -p offheap-engine --bench vectors -- export 100000 <folder> <seg-N.vec>...
    python bench/usearch_rows.py <folder>
"""

import sys
import time
from pathlib import Path

import numpy as np
from usearch.index import Index

K, DIM = 10, 384


def main(folder: Path) -> None:
    rows = np.fromfile(folder / "rows.f32", dtype=np.float32).reshape(-1, DIM)
    queries = np.fromfile(folder / "queries.f32", dtype=np.float32).reshape(-1, DIM)
    truth = np.fromfile(folder / "truth.u64", dtype=np.uint64).reshape(-1, K)
    print(f"{len(rows)} rows, {len(queries)} queries")
    print("| method | threads | built in s | MB | p50 ms | p99 ms | recall@10 |\n|---|---|---|---|---|---|---|")
    for dtype in ["f16", "i8"]:
        index = Index(ndim=DIM, metric="cos", dtype=dtype, connectivity=16, expansion_add=128)
        started = time.perf_counter()
        index.add(np.arange(len(rows), dtype=np.uint64), rows, threads=1)
        built = time.perf_counter() - started
        path = folder / f"{dtype}.usearch"
        index.save(path)
        megabytes = path.stat().st_size / 1e6
        path.unlink()
        for ef in [32, 64, 128, 256]:
            index.expansion_search = ef
            found, times = 0, []
            for _ in range(3):
                found = 0
                for query, ids in zip(queries, truth):
                    started = time.perf_counter()
                    hits = index.search(query, K, threads=1)
                    times.append((time.perf_counter() - started) * 1e3)
                    found += len(set(hits.keys.tolist()) & set(ids.tolist()))
            p50, p99 = np.quantile(times, [0.5, 0.99])
            recall = found / truth.size
            print(
                f"| usearch {dtype}, expansion {ef} | 1 | {built:.1f} | {megabytes:.0f}"
                f" | {p50:.3f} | {p99:.3f} | {recall:.4f} |"
            )


main(Path(sys.argv[1]))
