-- Opening, holding and ending runs.

-- name: has_schema
-- Is there state of raypipe in this file?
SELECT count(*) FROM duckdb_schemas() WHERE schema_name = '_raypipe' AND database_name = current_database()

-- name: format_version
-- The layout of the state.
SELECT version FROM _raypipe.format

-- name: add_pipeline
-- Make sure that the pipeline has its row.
INSERT INTO _raypipe.pipeline VALUES ($pipeline, 0, make_timestamp($start), NULL) ON CONFLICT DO NOTHING

-- name: set_start
-- Note where history starts now; the write serialises openings.
UPDATE _raypipe.pipeline SET start = make_timestamp($start) WHERE pipeline = $pipeline

-- name: owners
-- Who writes which table.
SELECT output, pipeline, created, merge FROM _raypipe.tables

-- name: claim_table
-- From now on this pipeline writes the table.
INSERT INTO _raypipe.tables VALUES ($output, $pipeline, false, NULL)

-- name: view_owners
-- Who keeps which view, and its SQL.
SELECT view, pipeline, sql FROM _raypipe.views

-- name: add_view
-- From now on the pipeline keeps the view, in this form.
INSERT INTO _raypipe.views VALUES ($view, $pipeline, $sql, false)

-- name: forget_view
-- The pipeline keeps the view no longer, or keeps another under its name.
DELETE FROM _raypipe.views WHERE pipeline = $pipeline AND view = $view

-- name: views_to_make
-- Views that do not stand yet, once all tables of the pipeline do.
SELECT view, sql FROM _raypipe.views
WHERE pipeline = $pipeline AND NOT made AND NOT EXISTS (FROM _raypipe.tables WHERE pipeline = $pipeline AND NOT created)

-- name: views_made
-- All views of the pipeline stand.
UPDATE _raypipe.views SET made = true WHERE pipeline = $pipeline

-- name: set_merge
-- How contributions become the table.
UPDATE _raypipe.tables SET merge = $merge WHERE pipeline = $pipeline AND output = $output

-- name: release_table
-- The pipeline no longer writes this table.
DELETE FROM _raypipe.tables WHERE pipeline = $pipeline AND output = $output

-- name: forget_live
-- Nothing makes up this table any more.
DELETE FROM _raypipe.live WHERE pipeline = $pipeline AND output = $output

-- name: forget_coverage
-- Nothing of this table is covered any more.
DELETE FROM _raypipe.coverage WHERE pipeline = $pipeline AND output = $output

-- name: unmake_table
-- The table is not there any more: the next contribution creates it.
UPDATE _raypipe.tables SET created = false WHERE pipeline = $pipeline AND output = $output

-- name: newest_definition
-- The newest definition of an output.
SELECT version, fingerprint FROM _raypipe.definitions WHERE pipeline = $pipeline AND output = $output ORDER BY version DESC LIMIT 1

-- name: add_definition
-- Number a definition that was not the newest.
INSERT INTO _raypipe.definitions VALUES ($pipeline, $output, $version, $fingerprint, $parts, $run, make_timestamp($now))

-- name: find_run
-- One run, as it stands.
SELECT state, epoch, holder, epoch_us(heartbeat), definitions FROM _raypipe.runs WHERE pipeline = $pipeline AND run = $run

-- name: add_run
-- Open a run.
INSERT INTO _raypipe.runs
VALUES ($pipeline, $run, $kind, make_timestamp($lo), make_timestamp($hi), 'open', 1, $holder, $definitions, $versions, $outside,
        make_timestamp($now), make_timestamp($now), NULL, NULL)

-- name: take_over
-- Become the owner of a run: what its former owner does from now on is fenced.
UPDATE _raypipe.runs
SET epoch = epoch + 1, holder = $holder, definitions = $definitions, versions = $versions, outside = $outside, heartbeat = make_timestamp($now)
WHERE pipeline = $pipeline AND run = $run AND epoch = $epoch AND state IN ('open', 'publishing')
RETURNING epoch

-- name: other_open_runs
-- Runs of the pipeline that have not ended, but this one.
SELECT run, holder, definitions FROM _raypipe.runs WHERE pipeline = $pipeline AND run <> $run AND state IN ('open', 'publishing')

-- name: beat
-- Say that the owner is alive, if it still is the owner. This write is the fence of every change.
UPDATE _raypipe.runs SET heartbeat = make_timestamp($now)
WHERE pipeline = $pipeline AND run = $run AND epoch = $epoch AND state IN ('open', 'publishing')
RETURNING epoch

-- name: end_run
-- End a run and raise its epoch: nothing of it lands afterwards.
UPDATE _raypipe.runs
SET state = $state, epoch = epoch + 1, ended = make_timestamp($now),
    ended_seq = (SELECT commit_seq FROM _raypipe.pipeline WHERE pipeline = $pipeline)
WHERE pipeline = $pipeline AND run = $run AND state IN ('open', 'publishing') AND epoch = coalesce($epoch, epoch)
RETURNING run

-- name: open_runs
-- Runs of the pipeline that have not ended.
SELECT run FROM _raypipe.runs WHERE pipeline = $pipeline AND state IN ('open', 'publishing') ORDER BY started, run

-- name: forget_failures
-- Newer failures replace older ones.
DELETE FROM _raypipe.failed
USING (SELECT make_timestamp(unnest($lo::BIGINT[])) AS lo, make_timestamp(unnest($hi::BIGINT[])) AS hi) AS newer
WHERE failed.pipeline = $pipeline AND failed.lo < newer.hi AND failed.hi > newer.lo

-- name: add_failures
-- Remember shards that failed.
INSERT INTO _raypipe.failed
SELECT $pipeline, make_timestamp(unnest($lo::BIGINT[])), make_timestamp(unnest($hi::BIGINT[])), $run, unnest($code::VARCHAR[]),
       unnest($error::VARCHAR[]), unnest($retryable::BOOLEAN[]), make_timestamp($now)

-- name: start_of_history
-- Where the low watermark counts from.
SELECT epoch_us(start) FROM _raypipe.pipeline WHERE pipeline = $pipeline

-- name: coverage_at
-- The covered range that holds an instant, per output.
SELECT output, epoch_us(lo), epoch_us(hi) FROM _raypipe.coverage
WHERE pipeline = $pipeline AND lo <= make_timestamp($at) AND hi > make_timestamp($at)

-- name: blank_quarantine
-- The texts of rows that were set aside long ago go; the rows stay, as the accounts say.
UPDATE _raypipe.quarantine SET raw = NULL, error = NULL
WHERE pipeline = $pipeline AND (raw IS NOT NULL OR error IS NOT NULL)
  AND seq IN (SELECT seq FROM _raypipe.shards WHERE pipeline = $pipeline AND committed < make_timestamp($before))

-- name: watermark
-- The low watermark.
SELECT epoch_us(watermark) FROM _raypipe.pipeline WHERE pipeline = $pipeline

-- name: my_outputs
-- The tables that the pipeline writes.
SELECT output FROM _raypipe.tables WHERE pipeline = $pipeline

-- name: set_watermark
-- Move the low watermark.
UPDATE _raypipe.pipeline SET watermark = make_timestamp($watermark) WHERE pipeline = $pipeline
