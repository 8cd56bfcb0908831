-- The statements of a commit, in their order. `shards_in`, `ranges_in` and the like are Arrow tables of the caller.

-- name: bump
-- 1. Take the next sequence number: a write to the pipeline's row serialises all commits of the pipeline.
UPDATE _raypipe.pipeline SET commit_seq = commit_seq + 1 WHERE pipeline = $pipeline RETURNING commit_seq

-- name: committed_before
-- 3. What the ledger holds under this commit id.
SELECT seq, epoch_us(lo), epoch_us(hi), outcome FROM _raypipe.shards WHERE pipeline = $pipeline AND commit_id = $commit_id

-- name: tables
-- Output tables that exist, and how each is merged; the engine's own catalogue takes 30 ms to ask in a fresh connection.
SELECT output, created, merge FROM _raypipe.tables WHERE pipeline = $pipeline

-- name: table_created
-- A table exists from now on.
UPDATE _raypipe.tables SET created = true WHERE pipeline = $pipeline AND output = $output

-- name: live_meeting
-- 4. The live ranges that meet the group.
SELECT DISTINCT live.output, epoch_us(live.lo), epoch_us(live.hi), live.seq, live.definition, live.rows
FROM _raypipe.live JOIN ranges_in ON live.lo < ranges_in.hi AND live.hi > ranges_in.lo
WHERE live.pipeline = $pipeline AND live.lo < make_timestamp($hi) AND live.hi > make_timestamp($lo)

-- name: delete_quarantine
-- 6. Rows set aside by the replaced contributions.
DELETE FROM _raypipe.quarantine USING replaced_in
WHERE quarantine.pipeline = $pipeline AND quarantine.shard >= make_timestamp($lo) AND quarantine.shard < make_timestamp($hi)
  AND quarantine.shard >= replaced_in.lo AND quarantine.shard < replaced_in.hi

-- name: insert_quarantine
-- 6. Rows set aside by the new contributions.
INSERT INTO _raypipe.quarantine BY NAME
SELECT $pipeline AS pipeline, _shard AS shard, $seq AS seq, $run AS run, source, position, rule, error, raw, truncated FROM quarantine_in

-- name: insert_ledger
-- 6. The ledger.
INSERT INTO _raypipe.shards BY NAME
SELECT $pipeline AS pipeline, $seq AS seq, $run AS run, $epoch AS epoch, $commit_id AS commit_id, make_timestamp($now) AS committed, *
FROM ledger_in

-- name: insert_filtered
-- 6. What each filter and rule did.
INSERT INTO _raypipe.filtered BY NAME SELECT $pipeline AS pipeline, $seq AS seq, * FROM filtered_in

-- name: delete_live
-- 6. Live ranges that go, whole.
DELETE FROM _raypipe.live USING replaced_in
WHERE live.pipeline = $pipeline AND live.lo >= make_timestamp($lo) AND live.hi <= make_timestamp($hi)
  AND live.lo >= replaced_in.lo AND live.hi <= replaced_in.hi AND live.output IN (SELECT unnest($outputs::VARCHAR[]))

-- name: insert_live
-- 6. Live ranges that come.
INSERT INTO _raypipe.live BY NAME SELECT $pipeline AS pipeline, $seq AS seq, $run AS run, * FROM live_in

-- name: accept_definitions
-- 6. Live ranges that are fine as another definition made them: they stand for today's from now on.
UPDATE _raypipe.live SET definition = versions.version
FROM accepted_in, (SELECT unnest($outputs::VARCHAR[]) AS output, unnest($versions::BIGINT[]) AS version) AS versions
WHERE live.pipeline = $pipeline AND live.lo = accepted_in.lo AND live.hi = accepted_in.hi AND live.output = versions.output

-- name: accept_inputs
-- 6. Live ranges that keep what files made that are gone: they stand for the input as it is now.
UPDATE _raypipe.live SET input_fp = accepted_in.input_fp, files = accepted_in.files
FROM accepted_in WHERE live.pipeline = $pipeline AND live.lo = accepted_in.lo AND live.hi = accepted_in.hi

-- name: accept_parts
-- 6. Of compacted live ranges, the parts that stand for the input as it is now.
UPDATE _raypipe.parts SET input_fp = parts_in.input_fp, files = parts_in.files
FROM parts_in, (SELECT DISTINCT live.seq FROM _raypipe.live JOIN accepted_in USING (lo, hi) WHERE pipeline = $pipeline) AS whole
WHERE parts.pipeline = $pipeline AND parts.live_seq = whole.seq AND parts.lo = parts_in.lo AND parts.hi = parts_in.hi

-- name: live_within
-- Compaction: the live ranges that become one, each output's in order.
SELECT output, rows, output_fp, schema_number FROM _raypipe.live
WHERE pipeline = $pipeline AND lo >= make_timestamp($lo) AND hi <= make_timestamp($hi) ORDER BY output, lo

-- name: insert_parts
-- Compaction: what each of them was read from, by the commit that accounts for it; those that were compacted before bring their parts.
WITH merged AS (
    SELECT *, max(seq) OVER (PARTITION BY lo, hi) AS speaks FROM _raypipe.live
    WHERE pipeline = $pipeline AND lo >= make_timestamp($lo) AND hi <= make_timestamp($hi)
), parts AS (
    SELECT merged.output, coalesce(part.lo, merged.lo) AS lo, coalesce(part.hi, merged.hi) AS hi, coalesce(part.seq, merged.speaks) AS seq,
           coalesce(part.input_fp, merged.input_fp) AS input_fp, coalesce(part.files, merged.files) AS files,
           coalesce(part.rows, merged.rows) AS rows, coalesce(part.output_fp, merged.output_fp) AS output_fp,
           CASE WHEN part.rows IS NULL THEN merged.schema_number ELSE part.schema_number END AS schema_number,
           merged.output IN (SELECT unnest($kept::VARCHAR[])) AS stands
    FROM merged LEFT JOIN (FROM _raypipe.parts WHERE pipeline = $pipeline) AS part
      ON part.output = merged.output AND part.live_seq = merged.seq AND part.lo >= merged.lo AND part.hi <= merged.hi
)
INSERT INTO _raypipe.parts
SELECT $pipeline, output, $seq, lo, hi, seq, input_fp, files, CASE WHEN stands THEN rows END, CASE WHEN stands THEN output_fp END,
       CASE WHEN stands THEN schema_number END
FROM parts

-- name: parts_within
-- Compaction: those parts.
SELECT DISTINCT epoch_us(lo), epoch_us(hi), input_fp, files FROM _raypipe.parts
WHERE pipeline = $pipeline AND live_seq = $seq AND lo >= make_timestamp($lo) AND hi <= make_timestamp($hi) ORDER BY ALL

-- name: said_within
-- Compaction: what the ledger says of the parts, added up.
SELECT sum(read)::BIGINT, sum(expanded)::BIGINT, sum(loaded)::BIGINT, sum(filtered)::BIGINT, sum(duplicate)::BIGINT,
       sum(quarantined)::BIGINT, epoch_us(min(event_start)), epoch_us(max(event_end)), sum(seconds)
FROM _raypipe.shards SEMI JOIN (
    SELECT seq, lo, hi FROM _raypipe.parts
    WHERE pipeline = $pipeline AND live_seq = $seq AND lo >= make_timestamp($lo) AND hi <= make_timestamp($hi)
) AS part USING (seq, lo, hi)
WHERE pipeline = $pipeline AND outcome IN ('loaded', 'empty')

-- name: counts_within
-- Compaction: what each filter and rule did to the parts, added up.
SELECT kind, rule, sum(rows)::BIGINT FROM _raypipe.filtered SEMI JOIN (
    SELECT seq, lo FROM _raypipe.parts
    WHERE pipeline = $pipeline AND live_seq = $seq AND lo >= make_timestamp($lo) AND hi <= make_timestamp($hi)
) AS part USING (seq, lo)
WHERE pipeline = $pipeline GROUP BY kind, rule ORDER BY kind, rule

-- name: coverage_near
-- 6. Covered ranges that meet or touch the group.
SELECT output, epoch_us(lo), epoch_us(hi) FROM _raypipe.coverage
WHERE pipeline = $pipeline AND lo <= make_timestamp($hi) AND hi >= make_timestamp($lo)

-- name: delete_coverage
-- 6. Covered ranges that were merged into others.
DELETE FROM _raypipe.coverage USING coverage_out
WHERE coverage.pipeline = $pipeline AND coverage.output = coverage_out.output AND coverage.lo = coverage_out.lo AND coverage.hi = coverage_out.hi

-- name: insert_coverage
-- 6. Covered ranges that are new.
INSERT INTO _raypipe.coverage BY NAME SELECT $pipeline AS pipeline, output, lo, hi FROM coverage_in

-- name: clear_failed
-- 6. Failures that a commit has settled.
DELETE FROM _raypipe.failed USING ranges_in WHERE failed.pipeline = $pipeline AND failed.lo < ranges_in.hi AND failed.hi > ranges_in.lo

-- name: clear_late
-- 6. Late ranges that a commit has taken in.
DELETE FROM _raypipe.late USING ranges_in WHERE late.pipeline = $pipeline AND late.lo >= ranges_in.lo AND late.hi <= ranges_in.hi

-- name: insert_late
-- 6. A range that an older definition read: the newer one has to read it again.
INSERT INTO _raypipe.late SELECT $pipeline, lo, hi, 'superseded', $seq FROM ranges_in

-- name: schemas_of
-- The known column sets of an output.
SELECT number, columns FROM _raypipe.schemas WHERE pipeline = $pipeline AND output = $output

-- name: add_schema
-- A column set that is new.
INSERT INTO _raypipe.schemas VALUES ($pipeline, $output, $number, $columns)
