"""The interface over which slices are computed is there, has an address, and takes a key."""

import pytest

from daiic.service.settings import SettingsError
from daiic.worker.settings import WorkerSettings
from daiic.worker.slices.interface import address_of


def test_address_of_an_interface() -> None:
    assert address_of("lo") == "127.0.0.1"


def test_interface_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(SettingsError, match=r'"wg-none": there is no such .*\blo\b'):
        address_of("wg-none")


def test_other_machines_take_a_cluster_key() -> None:
    with pytest.raises(ValueError, match="set cluster_key_file"):
        WorkerSettings(shard_interface="wg0")
    assert WorkerSettings(shard_interface="wg0", cluster_key_file="key").shard_interface == "wg0"
    assert WorkerSettings(shard_interface="lo").shard_interface == "lo"


def test_vllm_computes_no_slices() -> None:
    with pytest.raises(ValueError, match="leave one of them out"):
        WorkerSettings(shard_interface="lo", engine="vllm")
