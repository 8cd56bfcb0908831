"""The model of a large cluster: all shards are committed, and what the driver spends is what workers lack."""

from __future__ import annotations

from perf.scale import Costs, largest_fed, play

CHEAP = Costs(commit_s=0.001, commit_a_shard_s=0.0, submit_s=0.0)


def test_workers_of_a_cheap_driver_hardly_wait():
    found = play(4, 200, 10.0, CHEAP)
    assert found.worker_share > 0.9
    assert found.driver_share < 0.1
    assert found.commits > 1


def test_workers_wait_for_a_driver_that_takes_longer_to_hand_out_than_they_work():
    found = play(50, 500, 1.0, Costs(commit_s=0.001, commit_a_shard_s=0.0, submit_s=0.1))
    assert found.driver_share > 0.9
    assert found.worker_share < 0.3  # ten of the fifty can be kept at work


def test_commits_that_take_long_are_made_seldom():
    slow = play(4, 200, 1.0, Costs(commit_s=2.0, commit_a_shard_s=0.0, submit_s=0.0))
    assert slow.commits < play(4, 200, 1.0, CHEAP).commits
    assert slow.visible_after_s > 1.0


def test_the_largest_cluster_that_is_fed_is_found_by_doubling():
    slow = Costs(commit_s=0.001, commit_a_shard_s=0.0, submit_s=0.1)
    assert largest_fed(1.0, slow, share=0.8, workers_max=64) <= 8
    assert largest_fed(1.0, CHEAP, share=0.8, workers_max=16) == 16
