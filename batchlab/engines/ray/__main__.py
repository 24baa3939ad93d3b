"""Where the bridge to a Ray cluster begins: `python -m batchlab.engines.ray CONTROL`, a socket."""

from __future__ import annotations

from batchlab.engines.child.arrival import arrived


def main() -> None:
    """The bridge's life."""
    [control] = arrived()

    from batchlab.engines.ray.bridge import serve

    serve(control)


if __name__ == "__main__":
    main()
