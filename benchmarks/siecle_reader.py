"""The reader of the SIECLE file against lxml's own `iterparse` + clear over the same bytes: speed and memory.

Run: `.venv/bin/python benchmarks/siecle_reader.py [PUPILS]`. Each way in a process of its own, in turn, in one run.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

from lxml import etree

from cpro_siecle_import.adapters.packaging import ExportStream
from cpro_siecle_import.adapters.siecle_xml import SiecleReader
from cpro_test_support.siecle_samples import generate_pupils, write_siecle_xml

ROUNDS = 3


def main(pupils: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ElevesSansAdresses.xml"
        with path.open("wb") as file:
            write_siecle_xml(file, "0752387M", lambda: generate_pupils(pupils, 1))
        best: dict[str, tuple[float, int]] = {}
        for _ in range(ROUNDS):
            for way in ("reader", "iterparse"):
                seconds, grown = map(float, _alone(way, path).split())
                best[way] = min(best.get(way, (seconds, int(grown))), (seconds, int(grown)))
    rates = {way: pupils / seconds for way, (seconds, _) in best.items()}
    print(
        f"siecle-reader: pupils={pupils} reader_per_s={rates['reader']:.0f} iterparse_per_s={rates['iterparse']:.0f}"
        f" reader_vs_iterparse={rates['reader'] / rates['iterparse']:.2f} reader_rss_growth_mb={best['reader'][1]}"
        f" iterparse_rss_growth_mb={best['iterparse'][1]}"
    )


def _alone(way: str, path: Path) -> str:
    command = [sys.executable, __file__, "--one", way, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def one(way: str, path: Path) -> None:
    """Read the file once; print the seconds, and by how many megabytes the process grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    with path.open("rb") as stream:
        if way == "reader":
            for _ in SiecleReader(cast(ExportStream, stream)).batches():
                pass
        else:
            for _, element in etree.iterparse(stream, tag="ELEVE", resolve_entities=False, no_network=True):
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
    seconds = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(f"{seconds:.3f} {grown}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], Path(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
