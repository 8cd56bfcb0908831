"""All mutants, the seeds that first show them, and the mistakes that are no mutants here, with the reason of each."""

from __future__ import annotations

from raypipe.testing.simulation import (
    mutants_of_claims,
    mutants_of_commits,
    mutants_of_compactions,
    mutants_of_drivers,
    mutants_of_plans,
)

MUTANTS = (
    *mutants_of_commits.MUTANTS, *mutants_of_plans.MUTANTS, *mutants_of_drivers.MUTANTS, *mutants_of_compactions.MUTANTS,
    *mutants_of_claims.MUTANTS,
)  # fmt: skip

SEEDS_MAX = 10_000  # a mutant that no seed below this shows is alive

FIRST_SEEDS = {
    "accounts_not_checked": 13,
    "adopted_by_reference": 65,
    "adopted_without_definition": 117,
    "adopted_without_input": 708,
    "adopted_without_observed": 72,
    "atomic_goes_on_after_a_failure": 134,
    "atomic_in_parts": 134,
    "atomic_runs_claim_no_live_ranges": 4,
    "atomic_runs_claim_nothing": 4,
    "atomic_runs_claim_what_is_asked": 4,
    "atomic_runs_meet": 4,
    "atomic_superseded_in_part": 776,
    "atomic_survivors_go_on": 208,
    "cancel_is_a_note": 0,
    "checksums_not_checked": 52,
    "claims_outlive_their_run": 6,
    "claims_refuse_nothing": 4,
    "close_and_failures_are_not_fenced": 13,
    "commit_id_of_the_run_alone": 464,
    "commit_id_without_the_run": 1,
    "compaction_drops_deletions": 2,
    "compaction_forgets_parts": 54,
    "compaction_keeps_what_came_last": 2,
    "compaction_loses_accounts": 2,
    "compaction_mixes_definitions": 13,
    "compaction_spans_gaps": 278,
    "compare_removed": 30,
    "conflicts_are_dropped": 2,
    "conflicts_go_along": 98,
    "counts_not_checked": 131,
    "coverage_fills_gaps": 50,
    "damage_ends_doubt": 2864,
    "damaged_work_is_dropped": 47,
    "delete_and_insert_apart": 0,
    "done_is_not_said": 0,
    "ended_runs_open_again": 0,
    "epoch_not_compared": 11,
    "failed_attempts_are_dropped": 16,
    "failures_count_as_done": 0,
    "fence_read_before_the_transaction": 11,
    "fence_removed": 2,
    "finished_work_is_free": 44,
    "garbage_asks_before_it_lists": 71,
    "garbage_of_open_runs": 9,
    "held_shards_are_dropped": 4,
    "index_keeps_stale_entries": 4,
    "input_not_checked_after_reading": 15,
    "late_by_count": 0,
    "ledger_in_its_own_transaction": 0,
    "listing_before_observing": 3228,
    "live_ranges_are_cut": 23,
    "marks_after_observing": 26,
    "nothing_is_late": 0,
    "observed_at_the_commit": 536,
    "older_definition_wins": 71,
    "overlap_by_equal_range": 2,
    "refused_work_of_others_fails": 8870,
    "released_before_the_commit": 1087,
    "replaced_ranges_stay": 3,
    "resume_by_watermark": 0,
    "revert_gets_its_old_number": 71,
    "satisfied_by_an_older_definition": 22,
    "satisfied_by_coverage_alone": 99,
    "shards_of_a_group_overlap": 1,
    "shrunk_counted_per_shard": 54,
    "shrunk_sources_empty_tables": 0,
    "take_over_keeps_the_epoch": 0,
    "tasks_are_not_waited_for": 0,
    "unknown_is_done": 0,
    "unknown_is_failed": 11,
    "unreadable_files_left_out": 23,
    "watermark_before_the_rows": 0,
    "watermark_is_the_last_end": 2,
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
