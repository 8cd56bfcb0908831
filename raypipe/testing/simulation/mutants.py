"""All mutants, the seeds that first show them, and the mistakes that are no mutants here, with the reason of each."""

from __future__ import annotations

from raypipe.testing.simulation import mutants_of_commits, mutants_of_drivers, mutants_of_plans

MUTANTS = (*mutants_of_commits.MUTANTS, *mutants_of_plans.MUTANTS, *mutants_of_drivers.MUTANTS)

SEEDS_MAX = 20_000  # a mutant that no seed below this shows is alive

FIRST_SEEDS: dict[str, int] = {}
"""Where a search begins; made by `python -m raypipe.testing.simulation --mutants`. Another simulation has other seeds."""

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
    "adopted_observed_differs": "the manifest says what was observed, and the compare refuses it: see adopted_without_observed",
}
"""Guards that others make redundant for what a reader sees. They stay so that it takes two mistakes."""

NOT_HERE = {
    "thomas_read_token": "a design that was given up: there are no read tokens",
    "gc_by_age, gc_live_before_closed": "no age decides and tables never refer to staged files: a commit copies their rows",
    "index_decides_lateness": "lateness compares fingerprints, whatever is indexed; late_by_count stands for it",
    "replay_twice_adds": "quarantined rows are not replayed yet",
    "compaction_*": "there is no compaction yet: it will be one more ask in happenings, and its parts one more law in commit_laws",
    "keyed_update_without_fallback, totals_without_subtraction": "keyed and combined tables are not built yet",
}
"""Mistakes of the reference simulation that have no place in this code, and why."""
