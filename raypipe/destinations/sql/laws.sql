-- Laws of raypipe's own tables: each statement finds what breaks one; nothing found means that it holds. Times come as microseconds.

-- name: unreadable
-- What nobody can make sense of: ranges that end before they start, documents that are no JSON, a pipeline without its row.
SELECT 'a range of ' || source || ' from ' || lo || ' to ' || hi || ' ends before it starts' AS odd FROM (
    SELECT 'live' AS source, lo, hi FROM _raypipe.live WHERE pipeline = $pipeline
    UNION ALL SELECT 'coverage', lo, hi FROM _raypipe.coverage WHERE pipeline = $pipeline
    UNION ALL SELECT 'shards', lo, hi FROM _raypipe.shards WHERE pipeline = $pipeline
    UNION ALL SELECT 'parts', lo, hi FROM _raypipe.parts WHERE pipeline = $pipeline
    UNION ALL SELECT 'late', lo, hi FROM _raypipe.late WHERE pipeline = $pipeline
    UNION ALL SELECT 'failed', lo, hi FROM _raypipe.failed WHERE pipeline = $pipeline
) WHERE lo >= hi
UNION ALL
SELECT 'the outputs of commit ' || seq || ' are no JSON' FROM _raypipe.shards WHERE pipeline = $pipeline AND NOT json_valid(outputs)
UNION ALL
SELECT 'the definitions of run ' || run || ' are no JSON' FROM _raypipe.runs WHERE pipeline = $pipeline AND NOT json_valid(definitions)
UNION ALL
SELECT 'how ' || output || ' is merged is no JSON of a merge' FROM _raypipe.tables
WHERE pipeline = $pipeline AND merge IS NOT NULL
  AND CASE WHEN json_valid(merge) THEN NOT json_exists(merge, '$.key') AND NOT json_exists(merge, '$.groups') ELSE true END
UNION ALL
SELECT 'column set ' || number || ' of ' || output || ' is no JSON' FROM _raypipe.schemas WHERE pipeline = $pipeline AND NOT json_valid(columns)
UNION ALL
SELECT 'there are tables or runs of the pipeline, and the pipeline has no row of its own'
WHERE $pipeline NOT IN (SELECT pipeline FROM _raypipe.pipeline)
  AND $pipeline IN (SELECT pipeline FROM _raypipe.runs UNION SELECT pipeline FROM _raypipe.tables)
ORDER BY odd

-- name: entries
-- The ledger, for its replay.
SELECT seq, epoch_us(lo), epoch_us(hi), outcome, outputs FROM _raypipe.shards WHERE pipeline = $pipeline

-- name: live_ranges
-- Live ranges, for their comparison with the replay.
SELECT output, epoch_us(lo), epoch_us(hi), seq FROM _raypipe.live WHERE pipeline = $pipeline ORDER BY output, lo

-- name: late_ranges
-- Late ranges, for their comparison with the replay.
SELECT epoch_us(lo), epoch_us(hi), seq, reason FROM _raypipe.late WHERE pipeline = $pipeline ORDER BY lo, seq

-- name: odd_entries
-- Ledger entries that no commit writes: unknown outcomes, times outside of the shard, counts that the outcome rules out.
SELECT seq, epoch_us(lo), epoch_us(hi), CASE
    WHEN outcome NOT IN ('loaded', 'empty', 'satisfied', 'superseded', 'accepted_stale', 'accepted_shrunk', 'compacted') THEN 'has the outcome ' || outcome
    WHEN (event_start IS NULL) <> (event_end IS NULL) OR event_start > event_end OR event_start < lo OR event_end >= hi
        THEN 'has event times outside of it'
    WHEN outcome = 'empty' AND loaded > 0 THEN 'is empty, and loaded ' || loaded || ' rows'
    WHEN outcome = 'loaded' AND read = 0 THEN 'is loaded, and nothing was read'
    END AS odd
FROM _raypipe.shards WHERE pipeline = $pipeline AND odd IS NOT NULL ORDER BY seq, lo

-- name: split_commits
-- Commits whose shards are not all of one run, one epoch and one moment.
SELECT seq FROM _raypipe.shards WHERE pipeline = $pipeline
GROUP BY seq HAVING count(DISTINCT (run, epoch, committed)) > 1 ORDER BY seq

-- name: overlapping_entries
-- Shards of one commit that share time.
SELECT seq, epoch_us(lo), epoch_us(hi) FROM (
    SELECT seq, lo, hi, max(hi) OVER (PARTITION BY seq ORDER BY lo, hi ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
    FROM _raypipe.shards WHERE pipeline = $pipeline
) WHERE reached > lo ORDER BY seq, lo

-- name: mixed_commits
-- Commits whose live ranges of one output were made by several versions of its definition, and not accepted as another since.
SELECT live.seq, live.output FROM _raypipe.live ANTI JOIN _raypipe.shards AS since
  ON since.pipeline = live.pipeline AND since.lo = live.lo AND since.hi = live.hi AND since.seq > live.seq AND since.outcome = 'accepted_stale'
WHERE live.pipeline = $pipeline GROUP BY ALL HAVING count(DISTINCT definition) > 1 ORDER BY seq

-- name: epochs_back
-- Commits of an owner of a run after a commit of its successor.
SELECT run, seq FROM (
    SELECT run, seq, epoch, max(epoch) OVER (PARTITION BY run ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
    FROM (SELECT DISTINCT run, seq, epoch FROM _raypipe.shards WHERE pipeline = $pipeline)
) WHERE epoch < reached ORDER BY seq

-- name: filtered_differs
-- Committed shards whose accounts say another number of filtered rows than their filters, and counts of no committed shard.
WITH entries AS (
    SELECT seq, lo, filtered FROM _raypipe.shards WHERE pipeline = $pipeline AND outcome IN ('loaded', 'empty', 'compacted')
), named AS (
    SELECT seq, lo, coalesce(sum(rows) FILTER (kind = 'filtered'), 0) AS found,
           count(*) FILTER (kind NOT IN ('filtered', 'broken') OR rows <= 0) AS odd, count(*) - count(DISTINCT (kind, rule)) AS doubled
    FROM _raypipe.filtered WHERE pipeline = $pipeline GROUP BY ALL
)
SELECT seq, epoch_us(lo), filtered, coalesce(found, 0)::BIGINT FROM entries FULL JOIN named USING (seq, lo)
WHERE filtered IS NULL OR filtered <> coalesce(found, 0) OR odd > 0 OR doubled > 0 ORDER BY seq, lo

-- name: quarantine_rules
-- Rules for which more rows are in quarantine than broke them.
WITH aside AS (
    SELECT seq, shard AS lo, rule, count(*) AS found FROM _raypipe.quarantine WHERE pipeline = $pipeline GROUP BY ALL
), broken AS (
    SELECT seq, lo, rule, rows FROM _raypipe.filtered WHERE pipeline = $pipeline AND kind = 'broken'
)
SELECT epoch_us(lo), rule, coalesce(rows, 0), found FROM aside LEFT JOIN broken USING (seq, lo, rule)
WHERE found > coalesce(rows, 0) ORDER BY lo, rule

-- name: quarantine_doubled
-- Rows of a source that a shard set aside more than once, where no step makes several rows of one.
SELECT epoch_us(shard), source, "position", count(*) FROM _raypipe.quarantine
SEMI JOIN (SELECT seq, lo AS shard FROM _raypipe.shards WHERE pipeline = $pipeline AND expanded = 0) USING (seq, shard)
WHERE pipeline = $pipeline AND source IS NOT NULL AND "position" IS NOT NULL
GROUP BY shard, source, "position" HAVING count(*) > 1 ORDER BY shard, source, "position"

-- name: untiled
-- Compacted live ranges that their parts do not make up, or whose accounts are not those of their parts.
WITH entries AS (
    SELECT seq, lo, hi, read, loaded, outcome FROM _raypipe.shards WHERE pipeline = $pipeline
), whole AS (
    SELECT entries.*, live.output FROM entries
    JOIN (SELECT seq, lo, hi, output FROM _raypipe.live WHERE pipeline = $pipeline) AS live USING (seq, lo, hi) WHERE outcome = 'compacted'
), tiles AS (
    SELECT whole.output, whole.seq, whole.lo, whole.hi, parts.lo AS part_lo, parts.hi AS part_hi, parts.files, entries.read, entries.loaded,
           lag(parts.hi, 1, whole.lo) OVER (PARTITION BY whole.output, whole.seq, whole.lo ORDER BY parts.lo) AS reached
    FROM whole JOIN _raypipe.parts ON parts.output = whole.output AND parts.live_seq = whole.seq AND parts.lo >= whole.lo AND parts.hi <= whole.hi
    LEFT JOIN entries ON entries.seq = parts.seq AND entries.lo = parts.lo AND entries.hi = parts.hi AND entries.outcome IN ('loaded', 'empty')
    WHERE parts.pipeline = $pipeline
)
SELECT whole.output, epoch_us(whole.lo), epoch_us(whole.hi) FROM whole LEFT JOIN tiles USING (output, seq, lo, hi)
GROUP BY whole.output, whole.seq, whole.lo, whole.hi, whole.read, whole.loaded
HAVING count(part_lo) < 2 OR NOT bool_and(part_lo = reached) OR max(part_hi) <> whole.hi OR bool_or(tiles.read IS NULL OR files < 0)
    OR sum(tiles.read) <> whole.read OR sum(tiles.loaded) <> whole.loaded
ORDER BY whole.lo

-- name: parts_of_live
-- What compacted live ranges were read from and hold, with what they say of it themselves.
SELECT live.output, epoch_us(live.lo), epoch_us(live.hi), live.input_fp, live.rows, live.output_fp,
       list(epoch_us(parts.lo) ORDER BY parts.lo), list(epoch_us(parts.hi) ORDER BY parts.lo), list(parts.input_fp ORDER BY parts.lo),
       list(parts.files ORDER BY parts.lo), list(parts.rows ORDER BY parts.lo) FILTER (parts.rows IS NOT NULL),
       list(parts.output_fp ORDER BY parts.lo) FILTER (parts.output_fp IS NOT NULL)
FROM _raypipe.live JOIN _raypipe.parts
  ON parts.pipeline = live.pipeline AND parts.output = live.output AND parts.live_seq = live.seq
 AND parts.lo >= live.lo AND parts.hi <= live.hi
WHERE live.pipeline = $pipeline GROUP BY live.output, live.lo, live.hi, live.input_fp, live.rows, live.output_fp ORDER BY live.lo, live.output

-- name: odd_runs
-- Runs in a state that no run gets into.
SELECT run, CASE
    WHEN kind NOT IN ('run', 'backfill', 'accept', 'compact') THEN 'has the kind ' || kind
    WHEN state NOT IN ('open', 'publishing', 'done', 'failed', 'cancelled') THEN 'has the state ' || state
    WHEN lo >= hi OR (lo IS NULL) <> (hi IS NULL) THEN 'has a window that is none'
    WHEN (state IN ('open', 'publishing')) <> (ended IS NULL) OR (ended IS NULL) <> (ended_seq IS NULL)
        THEN 'is ' || state || ', and its end says otherwise'
    WHEN epoch < 1 OR (ended IS NOT NULL AND epoch < 2) THEN 'never had its epoch ' || epoch
    WHEN outside < 0 THEN 'counts rows below zero'
    WHEN ended_seq > (SELECT commit_seq FROM _raypipe.pipeline WHERE pipeline = $pipeline) THEN 'ended after the last commit'
    END AS odd
FROM _raypipe.runs WHERE pipeline = $pipeline AND odd IS NOT NULL ORDER BY run

-- name: doubled_runs
-- Runs that are there more than once.
SELECT run, 'is there ' || count(*) || ' times' FROM _raypipe.runs WHERE pipeline = $pipeline GROUP BY run HAVING count(*) > 1

-- name: odd_definitions
-- Definitions whose versions are not numbered 1, 2, ..., or that no run brought, and live ranges of versions that are not known.
WITH numbered AS (
    SELECT output, version, run, row_number() OVER (PARTITION BY output ORDER BY version) AS place
    FROM _raypipe.definitions WHERE pipeline = $pipeline
)
SELECT output || ' version ' || version || ' stands at place ' || place AS odd FROM numbered WHERE version <> place
UNION ALL
SELECT output || ' version ' || version || ' is of run ' || run || ', which does not exist' FROM numbered
ANTI JOIN (SELECT run FROM _raypipe.runs WHERE pipeline = $pipeline) USING (run)
UNION ALL
SELECT DISTINCT 'live ranges of ' || output || ' were made by version ' || definition || ', which does not exist'
FROM (SELECT output, definition, definition AS version FROM _raypipe.live WHERE pipeline = $pipeline) ANTI JOIN numbered USING (output, version)
ORDER BY odd

-- name: odd_outputs
-- Live or covered ranges of tables that are not the pipeline's, tables of two, and contributions whose columns are not known.
SELECT output || ' is covered, and is no table of this pipeline' AS odd
FROM (SELECT output FROM _raypipe.coverage WHERE pipeline = $pipeline UNION SELECT output FROM _raypipe.live WHERE pipeline = $pipeline)
ANTI JOIN (SELECT output FROM _raypipe.tables WHERE pipeline = $pipeline) USING (output)
UNION ALL
SELECT output || ' is claimed ' || count(*) || ' times' FROM _raypipe.tables
WHERE output IN (SELECT output FROM _raypipe.tables WHERE pipeline = $pipeline) GROUP BY output HAVING count(*) > 1
UNION ALL
SELECT output || ' has contributions, and is noted as a table that was never created' FROM _raypipe.tables
WHERE pipeline = $pipeline AND NOT created
  AND output IN (SELECT output FROM _raypipe.live WHERE pipeline = $pipeline AND schema_number IS NOT NULL)
UNION ALL
SELECT DISTINCT output || ' has contributions with the column set ' || schema_number || ', which is not known'
FROM (SELECT output, schema_number, schema_number AS number FROM _raypipe.live WHERE pipeline = $pipeline AND schema_number IS NOT NULL)
ANTI JOIN (SELECT output, number FROM _raypipe.schemas WHERE pipeline = $pipeline) USING (output, number)
UNION ALL
SELECT output || ': the column set ' || number || ' stands at place ' || place FROM (
    SELECT output, number, row_number() OVER (PARTITION BY output ORDER BY number) AS place FROM _raypipe.schemas WHERE pipeline = $pipeline
) WHERE number <> place
UNION ALL
SELECT output || ': a live range counts rows or files below zero' FROM _raypipe.live WHERE pipeline = $pipeline AND (rows < 0 OR files < 0)
ORDER BY odd

-- name: failed_of_nobody
-- Failures of runs that do not exist.
SELECT epoch_us(lo), epoch_us(hi), run FROM _raypipe.failed
WHERE pipeline = $pipeline AND run NOT IN (SELECT run FROM _raypipe.runs WHERE pipeline = $pipeline) ORDER BY lo

-- name: contributions
-- What each live range says of each of its contributions, beside what the ledger says of all of them and the definitions of its
-- run, or of the run that accepted it since; those of a run that was taken over since may have been others.
WITH accepted AS (
    SELECT entry.seq, entry.lo, entry.hi, arg_max(runs.definitions, since.seq) AS definitions
    FROM _raypipe.shards AS entry JOIN _raypipe.shards AS since USING (pipeline, lo, hi)
    JOIN _raypipe.runs ON runs.pipeline = since.pipeline AND runs.run = since.run
    WHERE entry.pipeline = $pipeline AND since.outcome = 'accepted_stale' AND since.seq > entry.seq GROUP BY ALL
)
SELECT epoch_us(entry.lo) AS "from", epoch_us(entry.hi) AS "to", entry.output_fp, entry.outputs,
       coalesce(any_value(accepted.definitions), runs.definitions),
       entry.epoch = runs.epoch - (runs.ended IS NOT NULL)::BIGINT,
       list(live.output ORDER BY live.output), list(live.rows ORDER BY live.output), list(live.output_fp ORDER BY live.output),
       list(live.definition ORDER BY live.output)
FROM _raypipe.shards AS entry JOIN _raypipe.live USING (pipeline, seq, lo, hi) LEFT JOIN accepted USING (seq, lo, hi)
JOIN _raypipe.runs ON runs.pipeline = entry.pipeline AND runs.run = entry.run
WHERE entry.pipeline = $pipeline AND entry.outcome IN ('loaded', 'empty', 'compacted')
GROUP BY entry.seq, entry.lo, entry.hi, entry.output_fp, entry.outputs, entry.epoch, runs.epoch, runs.ended, runs.definitions ORDER BY entry.lo
