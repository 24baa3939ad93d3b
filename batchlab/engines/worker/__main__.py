"""Where a worker process begins: `python -m batchlab.engines.worker CONTROL SHARDS`, two sockets."""

from __future__ import annotations

from batchlab.engines.child.arrival import arrived


def main() -> None:
    """A worker's life: it works for the parent at the other end until nothing is left to do."""
    control, shards = arrived()

    from batchlab.arrow import without_pandas
    from batchlab.engines.loop import run_loop
    from batchlab.engines.worker.parent import Parent
    from batchlab.engines.worker.session import work_for

    without_pandas()
    run_loop(lambda: work_for(Parent(control, shards)))


if __name__ == "__main__":
    main()
