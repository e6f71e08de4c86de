"""A Ray cluster on this machine: a head that computes nothing, and two nodes with a made-up GPU each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

SMALL = 80 * 2**20
SIGNS_OF_LIFE = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_timeout_ms": 500}


@contextmanager
def machines(workers: int = 2, **more: Any) -> Iterator[Any]:
    """The cluster, until the end of the block; `more` is said of all its nodes."""
    pytest.importorskip("ray", reason="needs robustvideo[ray]")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "num_gpus": 0, "object_store_memory": SMALL, "include_dashboard": False, **more}
    made = Cluster(
        initialize_head=True, head_node_args=head | {"_system_config": SIGNS_OF_LIFE | {"health_check_failure_threshold": 3}}
    )
    for _ in range(workers):
        add(made, **more)
    try:
        yield made
    finally:
        made.shutdown()


def add(cluster: Any, **more: Any) -> None:
    """One more node."""
    cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=SMALL, include_dashboard=False, **more)


def raylets(cluster: Any) -> dict[int, Any]:
    """The nodes that compute, by their process."""
    return {node.all_processes["raylet"][0].process.pid: node for node in cluster.worker_nodes}
