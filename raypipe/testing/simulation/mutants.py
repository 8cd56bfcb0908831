"""All mutants, the seeds that first show them, and the mistakes that are no mutants here, with the reason of each."""

from __future__ import annotations

from raypipe.testing.simulation import mutants_of_commits, mutants_of_compactions, mutants_of_drivers, mutants_of_plans

MUTANTS = (
    *mutants_of_commits.MUTANTS, *mutants_of_plans.MUTANTS, *mutants_of_drivers.MUTANTS, *mutants_of_compactions.MUTANTS,
)  # fmt: skip

SEEDS_MAX = 10_000  # a mutant that no seed below this shows is alive

FIRST_SEEDS = {
    "accounts_not_checked": 10,
    "adopted_by_reference": 24,
    "adopted_without_definition": 179,
    "adopted_without_input": 153,
    "adopted_without_observed": 24,
    "atomic_goes_on_after_a_failure": 180,
    "atomic_in_parts": 180,
    "atomic_superseded_in_part": 575,
    "atomic_survivors_go_on": 90,
    "cancel_is_a_note": 3,
    "checksums_not_checked": 83,
    "close_and_failures_are_not_fenced": 9,
    "commit_id_of_the_run_alone": 59,
    "commit_id_without_the_run": 0,
    "compare_removed": 8,
    "conflicts_are_dropped": 0,
    "conflicts_go_along": 132,
    "counts_not_checked": 60,
    "coverage_fills_gaps": 9,
    "damage_ends_doubt": 529,
    "damaged_work_is_dropped": 15,
    "delete_and_insert_apart": 1,
    "ended_runs_open_again": 3,
    "epoch_not_compared": 37,
    "failed_attempts_are_dropped": 1,
    "failures_count_as_done": 3,
    "fence_read_before_the_transaction": 59,
    "fence_removed": 11,
    "garbage_asks_before_it_lists": 134,
    "garbage_of_open_runs": 10,
    "index_keeps_stale_entries": 8,
    "input_not_checked_after_reading": 9,
    "late_by_count": 12,
    "ledger_in_its_own_transaction": 0,
    "listing_before_observing": 182,
    "live_ranges_are_cut": 8,
    "nothing_is_late": 3,
    "observed_at_the_commit": 170,
    "older_definition_wins": 50,
    "overlap_by_equal_range": 1,
    "refused_work_of_others_fails": 403,
    "released_before_the_commit": 2449,
    "replaced_ranges_stay": 8,
    "resume_by_watermark": 3,
    "revert_gets_its_old_number": 133,
    "satisfied_by_an_older_definition": 2,
    "satisfied_by_coverage_alone": 24,
    "shards_of_a_group_overlap": 1,
    "shrunk_counted_per_shard": 320,
    "shrunk_sources_empty_tables": 13,
    "take_over_keeps_the_epoch": 0,
    "tasks_are_not_waited_for": 0,
    "unknown_is_done": 2,
    "unknown_is_failed": 11,
    "unreadable_files_left_out": 5,
    "watermark_before_the_rows": 0,
    "watermark_is_the_last_end": 9,
    "widening_removed": 1,
}
"""Where a search begins, as `python -m raypipe.testing.simulation --mutants` told it; another simulation has other seeds."""

REDUNDANT = {
    "overlaps_not_refused": "the plan makes one shard of those that meet: both guards must go for the mistake to be seen",
    "cut_range_not_refused": "the plan widens a shard to what it meets: both guards must go, as in live_ranges_are_cut",
    "satisfied_unproven": "the plan has looked, and the compare refuses what changed since",
    "satisfied_not_compared": "what is live is only ever replaced by what was read later: the source would have to go back to an "
    "earlier state, for a slow run to put there what lies between",
    "state_not_compared": "cancel and close raise the epoch too: cancel_is_a_note takes both away",
    "ledger_not_asked": "the compare refuses what was committed before; the lookup is for the receipt",
    "run_is_alive_not_checked": "the epoch fences the former owner: a wrong take-over is harmless",
    "others_stay_open": "open runs of dead holders hold garbage back, and nothing else",
    "superseded_not_marked_late": "lateness is found by the fingerprint of the input, whatever is marked",
    "changed_input_is_retried": "it fails the shard, and the next run plans it anew",
    "compaction_not_compared": "all that is merged is read in the transaction itself, and must make up the range",
    "adopted_observed_differs": "the manifest says what was observed, and the compare refuses it: see adopted_without_observed",
}
"""Guards that others make redundant for what a reader sees. They stay so that it takes two mistakes."""

NOT_HERE = {
    "thomas_read_token": "a design that was given up: there are no read tokens",
    "gc_by_age, gc_live_before_closed": "no age decides and tables never refer to staged files: a commit copies their rows",
    "index_decides_lateness": "lateness compares fingerprints, whatever is indexed; late_by_count stands for it",
    "replay_twice_adds": "quarantined rows are not replayed yet",
    "compaction_unions_fingerprints": "input is a hash, of which no union can be made: see compaction_forgets_parts",
    "keyed_update_without_fallback, totals_without_subtraction": "the memory destination makes these tables "
    "of all contributions whenever they are read; tests/merges plays histories on a file, where only touched keys are made again",
}
"""Mistakes of the reference simulation that have no place in this code, and why."""
