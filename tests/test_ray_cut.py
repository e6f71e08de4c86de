"""A node whose cable is pulled: `pytest -m slow tests/test_ray_cut.py`, as root on Linux."""

import os
import shutil
import subprocess
import sys

import clusters
import pytest
from grids import contents, files, finish, model_file, start, until, words

HERE, THERE, SPACE = "10.77.0.1", "10.77.0.2", "vbench-cut"


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def cable():
    """Two network namespaces with a cable between them; gives its end on this side."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and ip(8), for network namespaces")
    try:
        ip("netns", "add", SPACE)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", "vbcut0", "type", "veth", "peer", "name", "vbcut1", "netns", SPACE)
        ip("addr", "add", f"{HERE}/24", "dev", "vbcut0")
        ip("link", "set", "vbcut0", "up")
        for what in (
            ("addr", "add", f"{THERE}/24", "dev", "vbcut1"),
            ("link", "set", "vbcut1", "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("-n", SPACE, *what)
        yield "vbcut0"
    finally:
        ip("netns", "delete", SPACE)


@pytest.mark.slow
@pytest.mark.ray
def test_a_node_that_cannot_be_reached_any_more_costs_no_cell(cable, tmp_path):
    attacks = ",".join(f"pgd:steps={steps}" for steps in range(3, 9))
    grid = f"{model_file(tmp_path)}:build:wait=0.5", "--attack", attacks, "--quiet"
    assert finish("run", *words(tmp_path / "calm", *grid)).returncode == 0
    with clusters.machines(workers=1, node_ip_address=HERE) as cluster:
        command = ["ip", "netns", "exec", SPACE, sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        command += ["--address", cluster.address, "--node-ip-address", THERE, "--num-cpus", "1", "--num-gpus", "1"]
        far = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            store = tmp_path / "store"
            driver = start("run", *words(store, *grid, "--executor", "ray", "--address", cluster.address))
            until(lambda: len(files(store, "leases")) == 2)
            ip("link", "set", cable, "down")
            _, said = driver.communicate(timeout=600)
        finally:
            far.terminate()
            far.wait()
    assert driver.returncode == 0, said
    assert contents(store) == contents(tmp_path / "calm")
