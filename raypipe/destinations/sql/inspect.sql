-- Read-only questions of people: `status`, `quarantine`, `raypipe verify`. Times come as microseconds.

-- name: quarantine_counts
-- What is in quarantine, most first, with an example.
SELECT rule, count(*) AS "rows", epoch_us(min(shard)) AS "first", epoch_us(max(shard)) AS "last", arg_min(error, (shard, source, position)) AS error
FROM _raypipe.quarantine WHERE pipeline = $pipeline AND run = coalesce($run, run)
GROUP BY rule ORDER BY count(*) DESC, rule

-- name: quarantine_rows
-- Rows in quarantine, in order.
SELECT epoch_us(shard) AS shard, source, "position", rule, error, raw, truncated, run FROM _raypipe.quarantine
WHERE pipeline = $pipeline AND rule = coalesce($rule, rule)
  AND quarantine.shard >= coalesce(make_timestamp($lo), quarantine.shard)
  AND ($hi::BIGINT IS NULL OR quarantine.shard < make_timestamp($hi))
ORDER BY quarantine.shard, source, "position", rule LIMIT $limit

-- name: quarantine_all
-- Rows in quarantine with all that is known of them, in order.
SELECT shard, source, "position", rule, error, raw, truncated, quarantine.run, shards.committed
FROM _raypipe.quarantine LEFT JOIN (SELECT DISTINCT pipeline, seq, committed FROM _raypipe.shards) AS shards USING (pipeline, seq)
WHERE pipeline = $pipeline AND rule = coalesce($rule, rule)
  AND quarantine.shard >= coalesce(make_timestamp($lo), quarantine.shard)
  AND ($hi::BIGINT IS NULL OR quarantine.shard < make_timestamp($hi))
ORDER BY quarantine.shard, source, "position", rule

-- name: quarantine_shards
-- The shards that have rows in quarantine.
SELECT DISTINCT epoch_us(shard) FROM _raypipe.quarantine
WHERE pipeline = $pipeline AND rule = coalesce($rule, rule)
  AND quarantine.shard >= coalesce(make_timestamp($lo), quarantine.shard)
  AND ($hi::BIGINT IS NULL OR quarantine.shard < make_timestamp($hi))

-- name: ledger
-- The newest entries of the ledger.
SELECT seq, epoch_us(lo) AS "start", epoch_us(hi) AS "end", run, attempt, epoch, commit_id, outcome, input_fp, output_fp,
       read, expanded, loaded, filtered, duplicate, quarantined, seconds, epoch_us(committed) AS committed
FROM _raypipe.shards WHERE pipeline = $pipeline ORDER BY seq DESC, lo DESC LIMIT $limit

-- name: outputs
-- The tables that the pipeline writes.
SELECT output, merge FROM _raypipe.tables WHERE pipeline = $pipeline ORDER BY output

-- name: unbalanced
-- Ledger entries whose accounts do not balance.
SELECT seq, epoch_us(lo), epoch_us(hi) FROM _raypipe.shards
WHERE pipeline = $pipeline AND read + expanded <> loaded + filtered + duplicate + quarantined ORDER BY seq, lo

-- name: overlapping
-- Live ranges of one output that share time.
SELECT output, epoch_us(lo), epoch_us(hi) FROM (
    SELECT output, lo, hi, max(hi) OVER (PARTITION BY output ORDER BY lo, hi ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
    FROM _raypipe.live WHERE pipeline = $pipeline
) WHERE reached > lo ORDER BY lo

-- name: unledgered
-- Live ranges that the ledger does not know exactly once as loaded, empty or compacted, from their input or from what was accepted as it since.
WITH accepted AS (
    SELECT live.output, live.seq, live.lo, live.hi, arg_max(since.input_fp, since.seq) AS input_fp
    FROM _raypipe.live JOIN _raypipe.shards AS since USING (pipeline, lo, hi)
    WHERE pipeline = $pipeline AND since.outcome = 'accepted_shrunk' AND since.seq > live.seq GROUP BY ALL
)
SELECT live.output, epoch_us(live.lo), epoch_us(live.hi), count(shards.seq)
FROM _raypipe.live LEFT JOIN accepted USING (output, seq, lo, hi) LEFT JOIN _raypipe.shards
  ON shards.pipeline = live.pipeline AND shards.seq = live.seq AND shards.lo = live.lo AND shards.hi = live.hi
 AND shards.run = live.run AND shards.attempt = live.attempt AND shards.outcome IN ('loaded', 'empty', 'compacted')
 AND coalesce(accepted.input_fp, shards.input_fp) = live.input_fp
WHERE live.pipeline = $pipeline GROUP BY live.output, live.lo, live.hi HAVING count(shards.seq) <> 1 ORDER BY live.lo

-- name: sequence
-- The commits of the ledger: how many numbers, the first, the last, and the pipeline's own.
SELECT count(DISTINCT seq), coalesce(min(seq), 1), coalesce(max(seq), 0),
       (SELECT commit_seq FROM _raypipe.pipeline WHERE pipeline = $pipeline)
FROM _raypipe.shards WHERE pipeline = $pipeline

-- name: shared_numbers
-- Sequence numbers that stand for more than one commit, and commits that have more than one number.
SELECT 'commit ' || seq FROM _raypipe.shards WHERE pipeline = $pipeline GROUP BY seq HAVING count(DISTINCT commit_id) > 1
UNION ALL
SELECT 'commit id ' || commit_id FROM _raypipe.shards WHERE pipeline = $pipeline GROUP BY commit_id HAVING count(DISTINCT seq) > 1

-- name: after_end
-- Commits of a run after it ended, or of a run that does not exist, or of an epoch that it never had.
SELECT shards.run, shards.seq FROM _raypipe.shards LEFT JOIN _raypipe.runs ON runs.pipeline = shards.pipeline AND runs.run = shards.run
WHERE shards.pipeline = $pipeline AND (runs.run IS NULL OR shards.seq > runs.ended_seq OR shards.epoch > runs.epoch)
ORDER BY shards.seq

-- name: quarantine_differs
-- Live shards, and parts of compacted ones, whose accounts say another number of quarantined rows than there are, and rows of none.
WITH said AS (
    SELECT max(seq) AS seq, lo, hi FROM _raypipe.live WHERE pipeline = $pipeline GROUP BY lo, hi
), homes AS (
    SELECT coalesce(parts.seq, said.seq) AS seq, coalesce(parts.lo, said.lo) AS lo, coalesce(parts.hi, said.hi) AS hi
    FROM said LEFT JOIN (SELECT DISTINCT live_seq, seq, lo, hi FROM _raypipe.parts WHERE pipeline = $pipeline) AS parts
      ON parts.live_seq = said.seq AND parts.lo >= said.lo AND parts.hi <= said.hi
), alive AS (
    SELECT seq, lo, run, quarantined FROM _raypipe.shards SEMI JOIN homes USING (seq, lo, hi)
    WHERE pipeline = $pipeline AND outcome IN ('loaded', 'empty')
), aside AS (
    SELECT seq, shard AS lo, run, count(*) AS found FROM _raypipe.quarantine WHERE pipeline = $pipeline GROUP BY ALL
)
SELECT epoch_us(lo), coalesce(quarantined, 0), coalesce(found, 0) FROM alive FULL JOIN aside USING (seq, lo, run)
WHERE coalesce(quarantined, 0) <> coalesce(found, 0) ORDER BY lo

-- name: live_digests
-- What each live range of an output should hold, and the columns that it was made with; of compacted ones each part that stands alone.
SELECT epoch_us(coalesce(parts.lo, live.lo)), epoch_us(coalesce(parts.hi, live.hi)), coalesce(parts.rows, live.rows),
       coalesce(parts.output_fp, live.output_fp), CASE WHEN parts.rows IS NULL THEN live.schema_number ELSE parts.schema_number END
FROM _raypipe.live LEFT JOIN _raypipe.parts
  ON parts.pipeline = live.pipeline AND parts.output = live.output AND parts.live_seq = live.seq
 AND parts.lo >= live.lo AND parts.hi <= live.hi AND parts.rows IS NOT NULL
WHERE live.pipeline = $pipeline AND live.output = $output ORDER BY ALL

-- name: schemas
-- The column sets of an output.
SELECT number, columns FROM _raypipe.schemas WHERE pipeline = $pipeline AND output = $output ORDER BY number
