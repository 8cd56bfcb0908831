-- What a plan and `status` need, read in one transaction. Times come as microseconds.

-- name: pipeline_row
-- Sequence and watermark.
SELECT commit_seq, epoch_us(watermark) FROM _raypipe.pipeline WHERE pipeline = $pipeline

-- name: live
-- Live ranges in order.
SELECT output, epoch_us(lo), epoch_us(hi), seq, run, attempt, definition, input_fp, output_fp, rows, files
FROM _raypipe.live WHERE pipeline = $pipeline ORDER BY lo, output

-- name: parts
-- What compacted live ranges were read from, in order.
SELECT output, live_seq, epoch_us(lo), epoch_us(hi), input_fp, files FROM _raypipe.parts
WHERE pipeline = $pipeline AND live_seq IN (SELECT seq FROM _raypipe.live WHERE pipeline = $pipeline) ORDER BY lo

-- name: coverage
-- Covered ranges in order.
SELECT output, epoch_us(lo), epoch_us(hi) FROM _raypipe.coverage WHERE pipeline = $pipeline ORDER BY output, lo

-- name: failed
-- Shards that failed and were not committed since.
SELECT epoch_us(lo), epoch_us(hi), run, code, error FROM _raypipe.failed WHERE pipeline = $pipeline ORDER BY lo

-- name: definitions
-- Every definition, oldest first.
SELECT output, version, fingerprint, parts FROM _raypipe.definitions WHERE pipeline = $pipeline ORDER BY output, version

-- name: runs
-- The last runs and all that are open, newest first, with what each committed.
WITH counted AS (
    SELECT run, count(*) AS committed FROM _raypipe.shards WHERE pipeline = $pipeline AND outcome <> 'superseded' GROUP BY run
), failures AS (
    SELECT run, count(*) AS failed FROM _raypipe.failed WHERE pipeline = $pipeline GROUP BY run
)
SELECT run, kind, epoch_us(lo), epoch_us(hi), state, epoch, holder, epoch_us(started), epoch_us(heartbeat), epoch_us(ended),
       coalesce(committed, 0), coalesce(failed, 0), outside
FROM _raypipe.runs LEFT JOIN counted USING (run) LEFT JOIN failures USING (run)
WHERE pipeline = $pipeline
QUALIFY row_number() OVER (ORDER BY started DESC, run DESC) <= $limit OR state IN ('open', 'publishing')
ORDER BY started DESC, run DESC

-- name: accounts
-- Row accounts over the live shards. Of a range to which outputs were added later, the last commit speaks for all.
SELECT coalesce(sum(read), 0)::BIGINT, coalesce(sum(expanded), 0)::BIGINT, coalesce(sum(loaded), 0)::BIGINT,
       coalesce(sum(filtered), 0)::BIGINT, coalesce(sum(duplicate), 0)::BIGINT, coalesce(sum(quarantined), 0)::BIGINT
FROM _raypipe.shards
SEMI JOIN (SELECT max(seq) AS seq, lo, hi FROM _raypipe.live WHERE pipeline = $pipeline GROUP BY lo, hi) USING (seq, lo, hi)
WHERE pipeline = $pipeline AND outcome IN ('loaded', 'empty', 'compacted')

-- name: digest
-- What tells one state from another: all that a plan reads, as the number of its rows and two sums of their hashes.
SELECT count(*), sum(hash(one)), bit_xor(one) FROM (
    SELECT hash('pipeline', commit_seq, watermark) AS one FROM _raypipe.pipeline WHERE pipeline = $pipeline
    UNION ALL
    SELECT hash('live', output, lo, hi, seq, definition, input_fp, files) FROM _raypipe.live WHERE pipeline = $pipeline
    UNION ALL
    SELECT hash('parts', output, live_seq, lo, hi, input_fp, files) FROM _raypipe.parts WHERE pipeline = $pipeline
    UNION ALL
    SELECT hash('coverage', output, lo, hi) FROM _raypipe.coverage WHERE pipeline = $pipeline
    UNION ALL
    SELECT hash('failed', lo, hi, code) FROM _raypipe.failed WHERE pipeline = $pipeline
    UNION ALL
    SELECT hash('definitions', output, version, fingerprint) FROM _raypipe.definitions WHERE pipeline = $pipeline
)
